"""MinEnt: direct entropy minimisation on the target (ADVENT, Vu et al., CVPR 2019).

Run `python pipelines/minent.py --help` for every setting.
"""

from __future__ import annotations

if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import minent

    minent.main()

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from orchestrator import cli
from orchestrator.contract.settings import TrainSettings
from pipelines.alignment import Alignment, presets, published
from pipelines.presets import adversarial_training

if TYPE_CHECKING:
    from torch import Generator

    from domains.batches.batch import Batch
    from orchestrator.contract.method import Networks, Steps


@dataclass(frozen=True, kw_only=True)
class MinEnt(Alignment):
    """MinEnt with the weights of the public configuration."""

    name: ClassVar[str] = "minent"

    adapt: TrainSettings = field(default_factory=lambda: adversarial_training(120_000))
    entropy: Annotated[float, Ge(0)] = 1e-3
    """Weight of the normalised entropy of target predictions."""
    entropy_auxiliary: Annotated[float, Ge(0)] = 2e-4
    """The same for the auxiliary classifier."""

    @property
    def title(self) -> str:
        """The name shown in tables."""
        return "MinEnt"

    def adaptation_uses(self) -> tuple[object, ...]:
        """The weights of the entropies too."""
        return (*super().adaptation_uses(), self.entropy, self.entropy_auxiliary)

    def adaptation(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Cross-entropy on the source and the entropy of the target's predictions."""
        from losses.entropy import normalised_entropy

        assert batch.target is not None
        loss, terms = self.supervised(self.segment(nets, batch.source.image, draw).levels, batch.source.label)
        levels = self.segment(nets, batch.target.image, draw).levels
        weights = {"entropy": self.entropy, "entropy_auxiliary": self.entropy_auxiliary}
        for (name, weight), logits in zip(weights.items(), levels, strict=False):
            terms[name] = normalised_entropy(logits)
            loss = loss + weight * terms[name]
        yield self.segmenting, loss, terms


PRESETS = {**presets(MinEnt), **published(MinEnt)}


def main() -> None:
    """Entry point of the command line."""
    cli.main(MinEnt, PRESETS)
