"""CRST: confidence-regularised self-training (Zou et al., ICCV 2019), of the network or of the labels.

Class-balanced self-training that keeps the network from being surer of the target than its pseudo-labels deserve: by a
term of the loss, the divergence from the uniform distribution (MRKLD) or the negative entropy (MRENT), or by soft
pseudo-labels, whose entropy is part of the problem that they solve (LRENT).

Run `python pipelines/crst.py --help` for every setting.
"""

from __future__ import annotations

if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import crst

    crst.main()

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt

from orchestrator import cli
from pipelines.benchmarks import THREE_SCALES
from pipelines.cbst import Cbst
from pipelines.selftraining import presets, published
from pipelines.terms.confidence import Confidence, Regulariser
from pipelines.terms.labels import Labels

if TYPE_CHECKING:
    from pipelines.terms.base import Term


@dataclass(frozen=True, kw_only=True)
class Crst(Cbst):
    """CRST as the paper describes it."""

    name: ClassVar[str] = "crst"

    regulariser: Regulariser = "mrkld"
    """Term on labelled target pixels, divergence from the uniform distribution (mrkld) or negative entropy (mrent);
    or soft labels (lrent)."""
    alpha: Annotated[float, Ge(0)] = 0.1
    """Weight of the term (paper: 0.1)."""
    label_alpha: Annotated[float, Gt(0)] = 0.25
    """Weight of the entropy of soft labels: they are proportional to (P / k)^(1 / label_alpha) (paper: 0.25)."""
    alpha_source: Annotated[float, Ge(0)] = 0.0
    """Weight of the same term on source pixels (public code: `mr_weight_src`, 0)."""
    square_alpha: bool = False
    """Multiply by the weight twice, as the public code does: 0.01 in its best run."""

    @property
    def title(self) -> str:
        """The name shown in tables, with the regulariser."""
        return f"CRST ({self.regulariser.upper()})"

    @property
    def softness(self) -> float:
        """Softness of the pseudo-labels."""
        return self.label_alpha if self.regulariser == "lrent" else 0.0

    def ingredients(self) -> list[Term]:
        """Cross-entropy on both domains, and the regulariser on the target's labelled pixels."""
        regulariser = Confidence(self.regulariser, self.alpha, self.alpha_source, self.square_alpha)
        return [Labels(self.reduction), regulariser]


PRESETS = {**presets(Crst), **published(Crst, protocol=THREE_SCALES)}


def main() -> None:
    """Entry point of the command line."""
    cli.main(Crst, PRESETS)
