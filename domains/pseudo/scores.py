"""Low-resolution logits brought to the size of their image, a part at a time, and scores from several views.

Shapes: K classes, H W pixels, h w feature grid, r rows of a strip, R C chosen rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def upsampled_strips(logits_Khw: Tensor, size: tuple[int, int], rows: int = 64) -> Iterator[tuple[slice, Tensor]]:
    """Upsample logits bilinearly (align_corners=True), a strip of rows at a time.

    Args:
        logits_Khw: logits at feature resolution; half precision is upcast to float32 first.
        size: H, W of the full image.
        rows: height of a strip; the last may be lower.

    Yields:
        The slice of rows and the logits_KrW of these rows.

    Raises:
        ValueError: if a logit is not finite or `rows` is below 1.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    if not torch.isfinite(logits_Khw).all():
        raise ValueError("logits hold NaN or infinity: the network diverged, no pseudo-label can be trusted")
    low_height, (height, width) = logits_Khw.shape[1], size
    wide_KhW = F.interpolate(logits_Khw[None].float(), size=(low_height, width), mode="bilinear", align_corners=True)[0]
    above_H, below_H, weight_H = _neighbours(torch.arange(height, device=logits_Khw.device), height, low_height)
    for first in range(0, height, rows):
        strip = slice(first, min(first + rows, height))
        yield strip, torch.lerp(wide_KhW[:, above_H[strip]], wide_KhW[:, below_H[strip]], weight_H[strip, None])


def upsampled_at(logits_Khw: Tensor, size: tuple[int, int], rows_R: Tensor, columns_C: Tensor) -> Tensor:
    """The same upsampling at the crossings of some rows and columns alone.

    Args:
        logits_Khw: logits at feature resolution; half precision is upcast to float32 first.
        size: H, W of the full image.
        rows_R: rows in [0, H - 1], also between two pixels.
        columns_C: columns in [0, W - 1], likewise.

    Returns:
        Logits K x R x C.
    """
    logits_Khw = logits_Khw.float()
    left_C, right_C, weight_C = _neighbours(columns_C, size[1], logits_Khw.shape[2])
    above_R, below_R, weight_R = _neighbours(rows_R, size[0], logits_Khw.shape[1])
    wide_KhC = torch.lerp(logits_Khw[..., left_C], logits_Khw[..., right_C], weight_C)
    return torch.lerp(wide_KhC[:, above_R], wide_KhC[:, below_R], weight_R[:, None])


def _neighbours(place: Tensor, length: int, low_length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Grid points before and after places of a longer axis (align_corners=True), and the weight of those after."""
    # In float64: a row that falls on a grid row must not slip to the one before.
    exact = place.double() * ((low_length - 1) / max(length - 1, 1))
    before = exact.long().clamp(max=low_length - 1)
    return before, (before + 1).clamp(max=low_length - 1), (exact - before).float()


def score_strips(views: Sequence[Tensor], size: tuple[int, int], rows: int = 64) -> Iterator[tuple[slice, Tensor]]:
    """Strips of scores of one image, its probabilities averaged over views.

    Args:
        views: logits_Khw of each view of the image (scales may differ), a mirrored view mirrored back.
        size: H, W of the full image.
        rows: height of a strip.

    Yields:
        The slice of rows and their score_KrW: the logits of a single view, else log of the summed softmax.

    Raises:
        ValueError: if there is no view, or as `upsampled_strips` does.
    """
    if not views:
        raise ValueError("an image needs at least one view, got none")
    for strips in zip(*(upsampled_strips(view, size, rows) for view in views), strict=True):
        yield strips[0][0], score_of_views([logits_KrW for _, logits_KrW in strips])


def score_of_views(views: Sequence[Tensor]) -> Tensor:
    """Score of the same pixels seen several times: the logits of a single view, else log of the summed softmax.

    Args:
        views: logits with the classes first, one or more of the same shape.
    """
    return views[0] if len(views) == 1 else torch.stack([view.log_softmax(0) for view in views]).logsumexp(0)
