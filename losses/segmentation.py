"""Pixel-wise cross-entropy (DRSL, Eq. 1 and 2; with soft labels CRST's LRENT).

Shapes: B batch, K classes, H W pixels. Label 255 is ignored.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from losses.ignore import IGNORE
from losses.numeric import at_least_float32, check_choice, masked_mean

Reduction = Literal["valid", "all"]


def cross_entropy(logits_BKHW: Tensor, label_BHW: Tensor, reduction: Reduction = "valid") -> Tensor:
    """Cross-entropy of a labelled (Eq. 1) or pseudo-labelled (Eq. 2) batch.

    Eq. 1 and 2 differ in the origin of the label only: a pixel without a pseudo-label carries 255. To divide
    by the valid pixels of both domains together, concatenate them and call once.

    Args:
        logits_BKHW: unnormalised scores, any float; half precision is upcast to float32.
        label_BHW: class ids in [0, K), 255 = ignore.
        reduction: "valid" divides by the number of labelled pixels (DRSL, CRST); "all" by the number of
            pixels (mmseg, DAFormer), so that few labels mean a small loss.

    Returns:
        A scalar >= 0; exactly 0 with zero gradient if every pixel is ignored.

    Raises:
        ValueError: if `reduction` is unknown.
    """
    check_choice("reduction", reduction, get_args(Reduction))
    label_BHW = label_BHW.long()
    # Summed by hand: the fused reduction of this kernel is not deterministic on CUDA.
    loss_BHW = F.cross_entropy(at_least_float32(logits_BKHW), label_BHW, ignore_index=IGNORE, reduction="none")
    if reduction == "all":
        return loss_BHW.mean()
    return loss_BHW.sum() / (label_BHW != IGNORE).sum().clamp(min=1)


def soft_cross_entropy(logits_BKHW: Tensor, soft_BKHW: Tensor, label_BHW: Tensor) -> Tensor:
    """Cross-entropy against soft labels: mean over selected pixels of `-sum_c y_c log p_c` (CRST, LRENT).

    Args:
        logits_BKHW: unnormalised scores, any float; half precision is upcast to float32.
        soft_BKHW: probabilities y, at the label's resolution.
        label_BHW: the labels these stand for; 255 leaves a pixel out.

    Returns:
        A scalar, at least the entropy of the soft labels; exactly 0 with zero gradient if every pixel is left out.
    """
    log_prob_BKHW = at_least_float32(logits_BKHW).log_softmax(1)
    return masked_mean(-(soft_BKHW * log_prob_BKHW).sum(1), label_BHW != IGNORE)
