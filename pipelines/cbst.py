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
from pipelines.selftraining import Reduction, SelfTraining, presets, published, total

if TYPE_CHECKING:
    from torch import Generator

    from domains.batches.batch import Batch
    from orchestrator.contract.method import Networks, Steps


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

    def adaptation_uses(self) -> tuple[object, ...]:
        """The reduction too, where it is not the usual one: stages of runs before it was a setting stay theirs."""
        return (*super().adaptation_uses(), *([self.reduction] if self.reduction != "per_domain" else []))

    def adaptation(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Cross-entropy on source ground truth and target pseudo-labels."""
        terms = self.segment_both(nets, batch, draw, self.reduction).terms
        yield ("segmenter",), total(terms), terms


PRESETS = {**presets(Cbst), **published(Cbst, protocol=THREE_SCALES)}


def main() -> None:
    """Entry point of the command line."""
    cli.main(Cbst, PRESETS)
