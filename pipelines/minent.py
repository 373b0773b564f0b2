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
from pipelines.terms.entropy import Entropy
from pipelines.terms.labels import SourceLabels

if TYPE_CHECKING:
    from pipelines.terms.base import Term


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

    def ingredients(self) -> list[Term]:
        """Cross-entropy on the source and the entropy of the target's predictions."""
        return [SourceLabels(self.auxiliary), Entropy(self.entropy, self.entropy_auxiliary)]


PRESETS = {**presets(MinEnt), **published(MinEnt)}


def main() -> None:
    """Entry point of the command line."""
    cli.main(MinEnt, PRESETS)
