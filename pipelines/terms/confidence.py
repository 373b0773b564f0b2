"""Confidence regularisation on labelled pixels (CRST, Zou et al. 2019), against overconfidence in pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipelines.terms.base import Term

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.terms.base import Step

Regulariser = Literal["mrkld", "mrent", "lrent"]


@dataclass(frozen=True)
class Confidence(Term):
    """Divergence from the uniform distribution (mrkld) or negative entropy (mrent), on the target's labelled pixels."""

    kind: Regulariser
    """With lrent there is no such loss: what it changes are the pseudo-labels."""
    weight: float
    weight_source: float = 0.0
    """Of the same on the source; 0: not computed."""
    squared: bool = False
    """Multiply by the weights twice, as the public code does."""

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Means over the labelled pixels."""
        from losses.entropy import kl_to_uniform, negative_entropy

        if self.kind == "lrent":
            return {}
        regularise = kl_to_uniform if self.kind == "mrkld" else negative_entropy
        source, target = step["source"], step["target"]
        found = {self.kind: regularise(target.logits_BKHW, target.labels_BHW)}
        if self.weight_source > 0:
            found[f"{self.kind}_source"] = regularise(source.logits_BKHW, source.labels_BHW)
        return found

    def weights(self) -> dict[str, float]:
        """As set, or their squares."""
        power = 2 if self.squared else 1
        return {self.kind: self.weight**power, f"{self.kind}_source": self.weight_source**power}
