"""Cross-entropy against labels: of the source alone, or of both domains, the target's by pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipelines.terms.base import Term

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.terms.base import Step

Reduction = Literal["per_domain", "joint"]
"""Mean of a segmentation loss: one a domain, or one over the labelled pixels of both."""


@dataclass(frozen=True)
class SourceLabels(Term):
    """Cross-entropy of the source predictions and the ground truth, of every level."""

    auxiliary: float = 0.0
    """Weight of the auxiliary classifier's, where there is one."""

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Mean over labelled pixels, one a level."""
        from losses.segmentation import cross_entropy

        source, names = step["source"], ("seg_source", "seg_auxiliary")
        label = source.labels_BHW
        return {name: cross_entropy(level, label) for name, level in zip(names, source.levels, strict=False)}

    def weights(self) -> dict[str, float]:
        """The main classifier's counts once."""
        return {"seg_auxiliary": self.auxiliary}


@dataclass(frozen=True)
class Labels(Term):
    """Cross-entropy against source ground truth and target pseudo-labels, hard or soft (CBST, Zou et al. 2018)."""

    reduction: Reduction = "per_domain"
    """One mean a domain, or one over the labelled pixels of both (CRST's code), which lets a domain count as much as
    it has labels."""

    @property
    def decides(self) -> tuple[object, ...]:
        """The reduction where it is not the usual one: stages of runs before it was a setting stay theirs."""
        return () if self.reduction == "per_domain" else (self.reduction,)

    def losses(self, step: Step) -> dict[str, Tensor]:
        """One part a domain, or one."""
        from losses.ignore import IGNORE
        from losses.segmentation import cross_entropy, soft_cross_entropy

        both, source, target = step["both"], step["source"], step["target"]
        if self.reduction == "joint" and target.soft_BKHW is None:
            return {"seg_joint": cross_entropy(both.logits_BKHW, both.labels_BHW)}
        found = {"seg_source": cross_entropy(source.logits_BKHW, source.labels_BHW)}
        if target.soft_BKHW is None:
            found["seg_target"] = cross_entropy(target.logits_BKHW, target.labels_BHW)
        else:
            found["seg_target"] = soft_cross_entropy(target.logits_BKHW, target.soft_BKHW, target.labels_BHW)
        if self.reduction == "per_domain":
            return found
        share = (source.labels_BHW != IGNORE).sum() / (both.labels_BHW != IGNORE).sum().clamp(min=1)
        return {"seg_joint": share * found["seg_source"] + (1 - share) * found["seg_target"]}
