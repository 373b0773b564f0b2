"""AdaptSegNet: adversarial alignment in output space (Tsai et al., CVPR 2018), on one level or two.

A discriminator learns to tell softmax maps of the source from those of the target; the segmenter learns to make target
maps that it takes for the source's. The two learn in turn.

Run `python pipelines/adaptsegnet.py --help` for every setting.
"""

from __future__ import annotations

if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import adaptsegnet

    adaptsegnet.main()

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from models.settings import DiscriminatorSettings
from orchestrator import cli
from orchestrator.contract.settings import OptimiserSettings
from pipelines.alignment import Alignment, adversary, presets, published
from pipelines.terms.adversarial import Adversarial, Objective, probabilities
from pipelines.terms.labels import SourceLabels

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.terms.base import Term


@dataclass(frozen=True, kw_only=True)
class AdaptSegNet(Alignment):
    """The two-level model of the paper; `auxiliary` 0 is the single-level one."""

    name: ClassVar[str] = "adaptsegnet"

    discriminator: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    adversaries: OptimiserSettings = field(default_factory=adversary)
    """Optimiser of the discriminators."""
    adversarial: Annotated[float, Ge(0)] = 1e-3
    """Weight of the adversarial loss (least squares, single level: 0.01)."""
    adversarial_auxiliary: Annotated[float, Ge(0)] = 2e-4
    """The same for the auxiliary classifier."""
    objective: Objective = "vanilla"
    """Adversarial loss: binary cross-entropy, or LS-GAN's mean square."""

    @property
    def title(self) -> str:
        """The name shown in tables."""
        return "AdaptSegNet" if self.auxiliary > 0 else "AdaptSegNet (single level)"

    def ingredients(self) -> list[Term]:
        """Cross-entropy on the source, and a discriminator a level."""
        return [
            SourceLabels(self.auxiliary),
            Adversarial(
                self.discriminator,
                weight=(self.adversarial, self.adversarial_auxiliary),
                optimiser=self.adversaries,
                objective=self.objective,
                levels=len(self.segmenting),
                shown=self.shown,
            ),
        ]

    @staticmethod
    def shown(logits_BKHW: Tensor) -> Tensor:
        """What a discriminator sees of a prediction: its probabilities."""
        return probabilities(logits_BKHW)


SHORT = {
    "discriminator": DiscriminatorSettings(width=16),
    "adversaries": adversary(lr=1e-3),
    "adversarial": 0.03,
    "adversarial_auxiliary": 0.006,
}
"""Of the presets: a discriminator in proportion to their networks, and one that has something to say within a
hundred steps. At the published weights, made for a thousand times as many, it changes nothing."""

PRESETS = {**presets(AdaptSegNet, **SHORT), **published(AdaptSegNet)}


def main() -> None:
    """Entry point of the command line."""
    cli.main(AdaptSegNet, PRESETS)
