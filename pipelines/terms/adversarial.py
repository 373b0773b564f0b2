"""Adversarial alignment: discriminators tell source maps from target maps, the segmenter deceives them (Tsai 2018).

Shapes: B images, K classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.settings import DiscriminatorSettings
from orchestrator.contract.settings import OptimiserSettings
from pipelines.terms.base import Term, total

if TYPE_CHECKING:
    from torch import Tensor

    from orchestrator.contract.method import Method, Networks, Steps
    from pipelines.terms.base import Step

Objective = Literal["vanilla", "least_squares"]
NAMES = ("discriminator", "discriminator_auxiliary")
"""Of the networks, one a level."""


def probabilities(logits_BKHW: Tensor) -> Tensor:
    """Softmax over the classes, in float32 at least."""
    from losses.numeric import at_least_float32

    return at_least_float32(logits_BKHW).softmax(1)


@dataclass(frozen=True)
class Adversarial(Term):
    """A discriminator a level: the segmenter learns against fixed ones, then these on what it made."""

    discriminator: DiscriminatorSettings
    weight: tuple[float, ...]
    """Of the segmenter's loss, one a level, the main classifier first; those of levels that are not there are idle."""
    optimiser: OptimiserSettings
    """Of the discriminators."""
    objective: Objective = "vanilla"
    """Binary cross-entropy, or LS-GAN's mean square."""
    levels: int = 1
    """1: the main classifier alone; 2: the auxiliary too."""
    shown: Callable[[Tensor], Tensor] = probabilities
    """What a discriminator sees of logits B x K x H x W, in the same shape."""

    @property
    def rivals(self) -> tuple[str, ...]:
        """The discriminators."""
        return NAMES[: self.levels]

    @property
    def decides(self) -> tuple[object, ...]:
        """The rest is told by the method's name and by the networks and optimisers of the stage."""
        return (self.discriminator, *self.weight, self.objective)

    def networks(self, method: Method, num_classes: int) -> Networks:
        """A discriminator for each level."""
        from models.build import build_discriminator

        return {
            name: build_discriminator(self.discriminator, num_classes, method.seed + number)
            for number, name in enumerate(self.rivals)
        }

    def optimisers(self) -> tuple[tuple[str, OptimiserSettings], ...]:
        """The discriminators learn by their own optimiser."""
        return tuple((name, self.optimiser) for name in self.rivals)

    def losses(self, step: Step) -> dict[str, Tensor]:
        """How far target maps are from being taken for the source's, by each discriminator as it is."""
        from losses.adversarial import domain_loss
        from models.discriminator import frozen

        maps = [self.shown(level) for level in step["target"].levels[: self.levels]]
        return {
            loss: domain_loss(frozen(step.nets[name])(seen), is_source=True, kind=self.objective)
            for loss, name, seen in zip(self.weights(), self.rivals, maps, strict=False)
        }

    def weights(self) -> dict[str, float]:
        """One a level."""
        names = (name.replace("discriminator", "adversarial") for name in NAMES)
        return dict(zip(names, self.weight, strict=False))

    def turns(self, step: Step) -> Steps:
        """One update of all discriminators, on maps of both domains."""
        from losses.adversarial import discriminator_loss

        found = {}
        pairs = zip(self.rivals, step["source"].levels, step["target"].levels, strict=False)
        for name, source, target in pairs:
            real, made = self.shown(source.detach()), self.shown(target.detach())
            found[name] = discriminator_loss(step.nets[name](real), step.nets[name](made), self.objective)
        yield self.rivals, total(found, {}), found
