"""Windows that slide over an image, and their logits put together on the grid of the whole.

Shapes: K classes, H W pixels of the image, a b of a window, h w feature grid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from domains.pseudo.scores import upsampled_at

Box = tuple[slice, slice]
"""Rows and columns of a window."""


def windows(size: tuple[int, int], window: Sequence[int] = (), stride: Sequence[int] = ()) -> list[Box]:
    """Windows that cover an image, all of one size; the last of a row or column ends at the border.

    Args:
        size: H, W of the image.
        window: height and width in pixels, cut to those of the image; empty: one window, the whole image.
        stride: pixels from one window to the next, down and to the right, at most those of the window.
    """
    if not window:
        return [(slice(0, size[0]), slice(0, size[1]))]
    rows, columns = (list(_steps(*axis)) for axis in zip(size, window, stride, strict=True))
    return list(itertools.product(rows, columns))


def _steps(length: int, window: int, stride: int) -> Iterable[slice]:
    window = min(window, length)
    for number in range(math.ceil((length - window) / stride) + 1):
        start = min(number * stride, length - window)
        yield slice(start, start + window)


def stitched(parts: Iterable[tuple[Box, Tensor]], size: tuple[int, int]) -> Tensor:
    """Logits of the whole image from those of its windows.

    The grid of the whole has the spacing of a window's; corner cells lie on corner pixels in both. Each window's
    logits are interpolated bilinearly at the cells of that grid that fall in it, and where windows overlap the mean of
    their logits is taken, each with the same weight. Holds no more than the result and one window.

    Args:
        parts: windows as `windows` gives them, each with its logits, K on its own grid.
        size: H, W of the image.

    Returns:
        Logits K x h x w, float32; those of a single window as they are.
    """
    parts = iter(parts)
    box, logits_Khw = next(parts)
    if box == (slice(0, size[0]), slice(0, size[1])):
        return logits_Khw
    rows_h, columns_w = (
        torch.linspace(0, length - 1, _cells(length, extent.stop - extent.start, cells), dtype=torch.float64)
        for length, extent, cells in zip(size, box, logits_Khw.shape[1:], strict=True)
    )
    total_Khw = torch.zeros(len(logits_Khw), len(rows_h), len(columns_w))
    count_hw = torch.zeros(total_Khw.shape[1:])
    for (rows, columns), logits in itertools.chain([(box, logits_Khw)], parts):
        (down, at_rows), (right, at_columns) = _inside(rows_h, rows), _inside(columns_w, columns)
        extent = (rows.stop - rows.start, columns.stop - columns.start)
        total_Khw[:, down, right] += upsampled_at(logits, extent, at_rows, at_columns)
        count_hw[down, right] += 1
    return total_Khw / count_hw


def _cells(length: int, window: int, cells: int) -> int:
    """Cells of the whole axis at the spacing of a window's."""
    if window >= length:
        return cells
    if cells == 1:
        return math.ceil(length / window)
    return round((length - 1) * (cells - 1) / (window - 1)) + 1


def _inside(places: Tensor, extent: slice) -> tuple[slice, Tensor]:
    """Cells that fall on the pixels of a window, and where in the window they lie.

    A pixel reaches half its size to either side of its centre, so that no cell falls between two windows.
    """
    edges = torch.tensor([extent.start - 0.5, extent.stop - 0.5], dtype=torch.float64)
    first, end = torch.searchsorted(places, edges).tolist()
    return slice(first, end), (places[first:end] - extent.start).clamp(0, extent.stop - extent.start - 1)
