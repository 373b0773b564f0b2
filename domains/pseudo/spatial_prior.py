"""How often, and where in the image, each class occurs in a labelled domain; and the prior that follows (CBST-SP).

Shapes: K classes, H, W pixels, R x C cells that an image is divided into whatever its size.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CELLS = (32, 64)
"""Rows and columns. Interpolated, a cell smooths about as far as the 70 x 70 kernel of CBST-SP at 1052 x 1914."""


def count_places(label_HW: Tensor, num_classes: int) -> np.ndarray:
    """Pixels of each class in each cell of one image; counts of several images add up.

    Args:
        label_HW: uint8 class ids; 255, and ids that are no class, are left out.
        num_classes: K.

    Returns:
        int64 (K, R, C).
    """
    height, width = label_HW.shape
    row_H1 = (torch.arange(height) * CELLS[0] // height)[:, None]
    column_W = torch.arange(width) * CELLS[1] // width
    cell_HW = row_H1 * CELLS[1] + column_W
    cells = CELLS[0] * CELLS[1]
    label_HW = label_HW.long().clamp(max=num_classes)
    counts = torch.bincount((label_HW * cells + cell_HW).flatten(), minlength=(num_classes + 1) * cells)
    return counts.view(-1, *CELLS)[:num_classes].numpy()


def log_spatial_prior(counts_KRC: np.ndarray) -> Tensor:
    """How much more often than on average each class occurs at each place: the spatial prior of CBST-SP, as a log.

    `q_n(c)`, the frequency of class c at place n, divided by its mean over labelled pixels: the pixels that were
    counted, over those that the place would have if the class were spread evenly. One pixel is added to both, so that
    nothing is impossible where the source happens not to show it, and the prior is 0 at a place without labels and of a
    class that the source never shows. (The paper divides by the mean over places, which is the same where all have
    equally many labels. Where some have none, such as the rows of a bonnet, they say nothing of any class.)

    Args:
        counts_KRC: sum of `count_places` over a domain.

    Returns:
        float32 (K, R, C), to be added to logits.
    """
    counts = torch.from_numpy(counts_KRC).double()
    share = torch.from_numpy(shares(counts_KRC))[:, None, None]
    expected = share * counts.sum(0)
    return ((counts + 1) / (expected + 1)).log().float()


def with_prior(logits_Khw: Tensor, log_prior_KRC: Tensor) -> Tensor:
    """Logits whose softmax is `q_n(c) P_c`, normalised over classes again.

    The paper compares the bare product with its threshold; normalised, it is a probability like all that is selected
    by here, and ranks the pixels of a class by how clearly it wins.
    """
    prior = F.interpolate(log_prior_KRC[None], logits_Khw.shape[1:], mode="bilinear", align_corners=False)
    return logits_Khw + prior[0]


def shares(counts_KRC: np.ndarray) -> np.ndarray:
    """Share of the labelled pixels that each class holds, float64 (K,)."""
    pixels = counts_KRC.sum((1, 2))
    return pixels / max(1, pixels.sum())
