"""AdvEnt: adversarial alignment of entropy maps (ADVENT, Vu et al., CVPR 2019).

AdaptSegNet whose discriminators see the weighted self-information of each class in place of its probability.

Run `python pipelines/advent.py --help` for every setting.
"""

from __future__ import annotations

if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import advent

    advent.main()

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from orchestrator import cli
from orchestrator.contract.settings import TrainSettings
from pipelines.adaptsegnet import SHORT, AdaptSegNet
from pipelines.alignment import presets, published
from pipelines.presets import adversarial_training

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AdvEnt(AdaptSegNet):
    """AdvEnt with the weights of the public configuration, which are AdaptSegNet's."""

    name: ClassVar[str] = "advent"

    adapt: TrainSettings = field(default_factory=lambda: adversarial_training(120_000))

    @property
    def title(self) -> str:
        """The name shown in tables."""
        return "AdvEnt"

    @staticmethod
    def shown(logits_BKHW: Tensor) -> Tensor:
        """What a discriminator sees of a prediction: its self-information."""
        from losses.entropy import self_information

        return self_information(logits_BKHW)


PRESETS = {**presets(AdvEnt, **SHORT), **published(AdvEnt)}


def main() -> None:
    """Entry point of the command line."""
    cli.main(AdvEnt, PRESETS)
