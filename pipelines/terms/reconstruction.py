"""Reconstruction of the image from the encoder's features (Structure Enhancement): they keep what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from orchestrator.contract.settings import OptimiserSettings
from pipelines.terms.base import Term

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from orchestrator.contract.method import Method, Networks
    from pipelines.terms.base import Step, View


@dataclass(frozen=True)
class Reconstruction(Term):
    """L1 between the images of both domains and what a decoder that they share makes of their features."""

    learns: ClassVar[tuple[str, ...]] = ("decoder",)

    weight: float
    reduction: Literal["mean", "sum"]
    """Over the values of an image."""
    pixel_scale: float
    """Grey values that a difference of 1 in [-1, 1] stands for."""
    width: int
    """Channels of the decoder's residual blocks."""
    optimiser: OptimiserSettings
    """Of the decoder."""

    @property
    def decides(self) -> tuple[object, ...]:
        """All but the optimiser, which the stage has."""
        return (self.weight, self.reduction, self.pixel_scale, self.width)

    def networks(self, method: Method, num_classes: int) -> Networks:
        """The decoder."""
        from models.build import build_decoder

        return {"decoder": build_decoder(method.model, self.width, method.seed)}

    def optimisers(self) -> tuple[tuple[str, OptimiserSettings], ...]:
        """The decoder learns by its own optimiser."""
        return (("decoder", self.optimiser),)

    def losses(self, step: Step) -> dict[str, Tensor]:
        """The sum over both domains."""
        decoder, source, target = step.nets["decoder"], step["source"], step["target"]
        return {"reconstruction": self._difference(decoder, source) + self._difference(decoder, target)}

    def weights(self) -> dict[str, float]:
        """As set."""
        return {"reconstruction": self.weight}

    def _difference(self, decoder: Module, seen: View) -> Tensor:
        from losses.numeric import at_least_float32

        image = decoder(seen.prediction.features_BDhw, seen.image_B3HW.shape[2:])
        difference = (at_least_float32(image) - (2 * seen.image_B3HW - 1)).abs() * self.pixel_scale
        return difference.mean() if self.reduction == "mean" else difference.sum() / len(difference)
