"""CBST: class-balanced self-training (Zou et al., ECCV 2018).

A network is trained on the source. Then, round by round, it labels the most confident share of each class in the
target and is trained on both domains: DRSL with every weight of its own at 0, and what the methods that regularise it
build on. With `pseudo.spatial_prior` it is CBST-SP.

Run `python pipelines/cbst.py --help` for every setting.
"""

from __future__ import annotations

if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import cbst

    cbst.main()

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from orchestrator import cli
from pipelines.benchmarks import THREE_SCALES
from pipelines.selftraining import SelfTraining, presets, published
from pipelines.terms.labels import Labels, Reduction

if TYPE_CHECKING:
    from pipelines.terms.base import Term


@dataclass(frozen=True, kw_only=True)
class Cbst(SelfTraining):
    """CBST with the settings of CRST's public code, which it shares."""

    name: ClassVar[str] = "cbst"

    reduction: Reduction = "per_domain"
    """Segmentation loss: one mean a domain, or one mean over the labelled pixels of both (public code)."""

    @property
    def title(self) -> str:
        """The name shown in tables."""
        return "CBST-SP" if self.pseudo.spatial_prior else "CBST"

    def ingredients(self) -> list[Term]:
        """Cross-entropy on source ground truth and target pseudo-labels."""
        return [Labels(self.reduction)]


PRESETS = {**presets(Cbst), **published(Cbst, protocol=THREE_SCALES)}


def main() -> None:
    """Entry point of the command line."""
    cli.main(Cbst, PRESETS)
