"""Entropy of target predictions, which needs no labels (MinEnt; ADVENT, Vu et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.terms.base import Term

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.terms.base import Step


@dataclass(frozen=True)
class Entropy(Term):
    """Normalised entropy of the target's predictions, of every level."""

    weight: float
    weight_auxiliary: float
    """Of the auxiliary classifier's, where there is one."""

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Means over all pixels, one a level."""
        from losses.entropy import normalised_entropy

        return {
            name: normalised_entropy(level) for name, level in zip(self.weights(), step["target"].levels, strict=False)
        }

    def weights(self) -> dict[str, float]:
        """One a level."""
        return {"entropy": self.weight, "entropy_auxiliary": self.weight_auxiliary}
