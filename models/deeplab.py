"""The DeepLab-v2 classifier (Chen et al. 2017) and the upsampling that goes with it.

Shapes: B batch, C D channels, K classes, h w feature grid, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DilatedSum(nn.Module):
    """Sum of parallel 3x3 convolutions that look at different distances.

    With K outputs it is the classifier of DeepLab-v2, with d outputs the embedding block of DRSL. Every
    branch counts; public code of the field that returns from within the loop sums the first two only.

    Args:
        in_channels: channels of the features.
        out_channels: classes, or length of the embedding.
        dilations: dilation, and zero padding, of each branch, in feature cells.
    """

    def __init__(self, in_channels: int, out_channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_branch(in_channels, out_channels, dilation) for dilation in dilations)

    def forward(self, features_BDhw: Tensor) -> Tensor:
        """Summed responses, shape (B, out_channels, h, w)."""
        return reduce(torch.add, (branch(features_BDhw) for branch in self.branches))


def _branch(in_channels: int, out_channels: int, dilation: int) -> nn.Conv2d:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, dilation=dilation, padding=dilation)
    nn.init.normal_(convolution.weight, std=0.01)
    nn.init.zeros_(convolution.bias)  # pyright: ignore[reportArgumentType]
    return convolution


def upsample(logits_BKhw: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate bilinearly to `size` = (H, W) such that corner cells fall on corner pixels."""
    return F.interpolate(logits_BKhw, size=list(size), mode="bilinear", align_corners=True)
