"""Points drawn per class and image, and the coordinates to read their embeddings at (DRSL, sampling rules).

Shapes: B batch, K classes, H W pixels, h w reduced label grid, P = K * per_class points. Label 255 is
ignored.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Generator, Tensor

from losses.ignore import IGNORE
from losses.numeric import check_choice, uniform_index

Sampler = Literal["systematic", "uniform"]
LabelReduction = Literal["nearest", "majority"]
_RANDOM_BITS = 40


class Points(NamedTuple):
    """Sampled positions; class c owns the entries [c * per_class, (c + 1) * per_class) of an image."""

    index_BP: Tensor
    """int64 position in the flattened label grid, row-major; 0 for padding."""
    label_BP: Tensor
    """int64 class id; 255 = padding."""


def stratified_points(
    label_Bhw: Tensor,
    num_classes: int,
    per_class: int,
    generator: Generator,
    method: Sampler = "systematic",
) -> Points:
    """Draw min(per_class, count) distinct points of every class and image, every point equally likely.

    The result has a static shape, padded with label 255, so nothing waits for the device.

    Args:
        label_Bhw: class ids, 255 = ignore; ids from `num_classes` on are never drawn.
        num_classes: K, at most 255.
        per_class: most points of a class in one image.
        generator: source of randomness, on any device.
        method: "systematic" takes evenly spaced pixels of a class in raster order from one random offset per
            class and image: spread over the image, and the cheapest; "uniform" draws independently, without
            replacement.

    Returns:
        `Points` with P = K * per_class entries an image.

    Raises:
        ValueError: if `method` is unknown, or `num_classes` or `per_class` is out of range.
    """
    check_choice("method", method, get_args(Sampler))
    if not 1 <= num_classes <= IGNORE:
        raise ValueError(f"num_classes must be between 1 and {IGNORE}, got {num_classes}")
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}")
    shuffle = generator if method == "uniform" else None
    sorted_BL, order_BL = _group_by_class(label_Bhw.flatten(1), shuffle)
    classes_K = torch.arange(num_classes, device=label_Bhw.device)
    edges = torch.arange(num_classes + 1, device=label_Bhw.device, dtype=sorted_BL.dtype)
    bounds = torch.searchsorted(sorted_BL, edges.repeat(len(label_Bhw), 1))
    start_BK1, count_BK1 = bounds[:, :-1, None], bounds.diff(dim=1).unsqueeze(2)
    taken_BK1 = count_BK1.clamp(max=per_class)
    step = torch.arange(per_class, device=label_Bhw.device)
    if method == "systematic":
        # In integers, so that ranks are distinct and below the count without any rounding.
        offset_BK1 = uniform_index(count_BK1, generator)
        rank = (step * count_BK1 + offset_BK1) // taken_BK1.clamp(min=1)
    else:
        rank = step
    drawn_BP = (step < taken_BK1).flatten(1)
    position_BP = (start_BK1 + rank).flatten(1).where(drawn_BP, 0)
    label_BP = classes_K.repeat_interleave(per_class).where(drawn_BP, IGNORE)
    return Points(order_BL.gather(1, position_BP).where(drawn_BP, 0), label_BP)


def _group_by_class(label_BL: Tensor, shuffle: Generator | None) -> tuple[Tensor, Tensor]:
    """Sort the pixels of each image by class, in raster order or shuffled within a class."""
    if shuffle is None:
        # One byte keys: a radix sort of a single pass.
        return label_BL.to(torch.uint8).sort(dim=1, stable=True)
    noise_BL = torch.randint(1 << _RANDOM_BITS, label_BL.shape, generator=shuffle, device=shuffle.device)
    noise_BL = noise_BL.to(label_BL.device)
    key_BL, order_BL = ((label_BL.long() << _RANDOM_BITS) | noise_BL).sort(dim=1)
    return key_BL >> _RANDOM_BITS, order_BL


def reduce_labels(label_BHW: Tensor, ratio: int, how: LabelReduction = "nearest", min_share: float = 0.75) -> Tensor:
    """Bring labels to the embedding grid, which is `ratio` times coarser.

    Args:
        label_BHW: class ids, 255 = ignore.
        ratio: reduction rho, >= 1; must divide H and W.
        how: "nearest" takes the pixel nearest to each grid point with the corners of both grids aligned, as
            the embeddings are; "majority" takes the id that covers most of each ratio x ratio cell (ignore
            competes too, ties go to the lower id).
        min_share: for "majority": a winner that covers less of its cell than this becomes 255.

    Returns:
        label_Bhw with h = H / ratio, w = W / ratio, of the dtype given.

    Raises:
        ValueError: if `how` is unknown or `ratio` does not divide the size.
    """
    check_choice("how", how, get_args(LabelReduction))
    height, width = label_BHW.shape[1:]
    if ratio < 1 or height % ratio or width % ratio:
        raise ValueError(f"label reduction {ratio} must be at least 1 and divide the size {height}x{width}")
    if how == "majority":
        return _majority(label_BHW, ratio, min_share)
    row_h = torch.linspace(0, height - 1, height // ratio, device=label_BHW.device).round().long()
    column_w = torch.linspace(0, width - 1, width // ratio, device=label_BHW.device).round().long()
    return label_BHW[:, row_h[:, None], column_w]


def _majority(label_BHW: Tensor, ratio: int, min_share: float) -> Tensor:
    cells = label_BHW.unflatten(2, (-1, ratio)).unflatten(1, (-1, ratio)).transpose(2, 3).flatten(3)
    value, _ = cells.sort(dim=3)
    place = torch.arange(ratio * ratio, device=label_BHW.device)
    begins = value.diff(dim=3, prepend=value[..., :1]) != 0
    run = place - (place * begins).cummax(dim=3).values + 1
    longest, where = run.max(dim=3, keepdim=True)
    winner = value.gather(3, where)
    return winner.where(longest >= min_share * ratio * ratio, IGNORE).squeeze(3)


def point_coordinates(index_BP: Tensor, height: int, width: int) -> Tensor:
    """Coordinates at which `grid_sample(..., align_corners=True)` reads a map at label grid positions.

    Sampling there equals upsampling the map bilinearly (align_corners=True) to the label grid and gathering,
    whatever the map's own size, without ever forming the large map.

    Args:
        index_BP: positions in the flattened label grid.
        height: rows of the label grid.
        width: columns of the label grid.

    Returns:
        float32 (B, P, 2): x, y in [-1, 1].
    """
    x_BP = index_BP % width * (2 / max(width - 1, 1)) - 1
    y_BP = index_BP // width * (2 / max(height - 1, 1)) - 1
    return torch.stack((x_BP, y_BP), dim=2)
