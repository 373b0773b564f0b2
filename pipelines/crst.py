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
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from orchestrator import cli
from pipelines.benchmarks import THREE_SCALES
from pipelines.cbst import Cbst
from pipelines.selftraining import presets, published, total

if TYPE_CHECKING:
    from torch import Generator

    from domains.batches.batch import Batch
    from orchestrator.contract.method import Networks, Steps


@dataclass(frozen=True, kw_only=True)
class Crst(Cbst):
    """CRST as the paper describes it."""

    name: ClassVar[str] = "crst"

    regulariser: Literal["mrkld", "mrent", "lrent"] = "mrkld"
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

    def adaptation_uses(self) -> tuple[object, ...]:
        """The regulariser too."""
        own = (self.regulariser, self.alpha, self.alpha_source, self.square_alpha)
        return (*super().adaptation_uses(), *own)

    def adaptation(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Cross-entropy on both domains and the regulariser on the target's labelled pixels."""
        from losses.entropy import kl_to_uniform, negative_entropy

        if self.regulariser == "lrent":  # what it changes are the labels
            yield from super().adaptation(nets, batch, draw)
            return
        regularise = kl_to_uniform if self.regulariser == "mrkld" else negative_entropy
        both = self.segment_both(nets, batch, draw, self.reduction)
        logits, label, sources = both.logits_BKHW, both.label_BHW, both.sources
        terms = {**both.terms, self.regulariser: regularise(logits[sources:], label[sources:])}
        if self.alpha_source > 0:
            terms[f"{self.regulariser}_source"] = regularise(logits[:sources], label[:sources])
        power = 2 if self.square_alpha else 1
        weights = {self.regulariser: self.alpha**power, f"{self.regulariser}_source": self.alpha_source**power}
        yield ("segmenter",), total(terms, **weights), terms


PRESETS = {**presets(Crst), **published(Crst, protocol=THREE_SCALES)}


def main() -> None:
    """Entry point of the command line."""
    cli.main(Crst, PRESETS)
