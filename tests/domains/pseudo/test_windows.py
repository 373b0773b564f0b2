"""Windows cover the image; logits put together from them are those of the whole where these can be known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from domains.pseudo.windows import Box, stitched, windows

SIZES = [((64, 128), (64, 64), (32, 32)), ((97, 131), (33, 49), (16, 24)), ((97, 131), (33, 49), (33, 49))]
SIZES += [((50, 40), (64, 20), (32, 20)), ((9, 9), (8, 8), (1, 1)), ((17, 30), (8, 8), (8, 8))]


def cells(length: int) -> int:
    """Of a network of stride 8 whose corner cells lie on corner pixels."""
    return (length - 1) // 8 + 1


def field(box: Box, of_place) -> Tensor:
    """What such a network gives for a window if each logit is a function of the cell's place in the image."""
    rows, columns = (
        np.linspace(extent.start, extent.stop - 1, cells(extent.stop - extent.start))
        if extent.stop - extent.start > 8
        else np.array([float(extent.start)])
        for extent in box
    )
    return torch.tensor(of_place(*np.meshgrid(rows, columns, indexing="ij")), dtype=torch.float32)


@pytest.mark.parametrize(("size", "window", "stride"), SIZES)
def test_windows_of_one_size_cover_every_pixel_and_none_leaves_the_image(size, window, stride):
    covered = np.zeros(size, dtype=int)
    boxes = windows(size, window, stride)
    for rows, columns in boxes:
        assert 0 <= rows.start < rows.stop <= size[0]
        assert 0 <= columns.start < columns.stop <= size[1]
        assert (rows.stop - rows.start, columns.stop - columns.start) == tuple(map(min, window, size))
        covered[rows, columns] += 1
    assert covered.min() >= 1
    assert len(set(map(repr, boxes))) == len(boxes)


def test_places_of_windows_worked_out_by_hand():
    rows = [slice(0, 4), slice(2, 6), slice(3, 7)]
    columns = [slice(0, 5), slice(5, 10)]
    assert windows((7, 10), (4, 5), (2, 5)) == [(row, column) for row in rows for column in columns]
    assert windows((7, 10)) == windows((7, 10), (7, 99), (3, 50)) == [(slice(0, 7), slice(0, 10))]


def test_logits_of_a_window_that_covers_the_image_are_taken_as_they_are():
    logits = torch.randn(3, 5, 7)
    for window in ((), (40, 60), (99, 99)):
        (box,) = windows((40, 60), window, (20, 20) if window else ())
        assert stitched([(box, logits)], (40, 60)) is logits


@pytest.mark.parametrize(("size", "window", "stride"), SIZES)
def test_constant_logits_stay_constant_with_any_overlap(size, window, stride):
    parts = [(box, field(box, lambda y, x: np.stack([0 * y + 3, 0 * x - 7]))) for box in windows(size, window, stride)]
    found = stitched(parts, size)
    torch.testing.assert_close(found, torch.tensor([3.0, -7.0])[:, None, None].expand(found.shape))


@pytest.mark.parametrize(("size", "window", "stride"), SIZES[:3])
def test_a_plane_over_the_image_comes_back_on_the_grid_of_the_whole(size, window, stride):
    """Bilinear interpolation is exact for it; a cell beyond a window's last pixel centre takes what that pixel has."""

    def plane(y, x):
        return np.stack([y + 2 * x, 5 - y])

    found = stitched([(box, field(box, plane)) for box in windows(size, window, stride)], size)
    rows, columns = (np.linspace(0, length - 1, count) for length, count in zip(size, found.shape[1:], strict=True))
    expected = plane(*np.meshgrid(rows, columns, indexing="ij"))
    error = np.abs(found.numpy() - expected)
    assert error.max() <= 0.5 * (1 + 2) + 1e-3  # half a pixel along both axes
    assert np.median(error) < 1e-3
    assert abs(found.shape[1] - cells(size[0])) <= 1


def test_overlap_is_the_mean_of_the_windows_with_one_weight_each():
    """Two windows of 17 pixels, 8 apart: cells at pixels 0, 8, 16 of each."""
    left, right = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[10.0, 20.0, 30.0]]])
    boxes = windows((1, 25), (1, 17), (1, 8))
    found = stitched(zip(boxes, (left, right), strict=True), (1, 25))
    torch.testing.assert_close(found, torch.tensor([[[1.0, (2 + 10) / 2, (3 + 20) / 2, 30.0]]]))


def test_stitching_equals_a_loop_over_cells():
    size, draw = (41, 57), torch.Generator().manual_seed(0)
    boxes = windows(size, (25, 33), (9, 12))
    parts = [(box, torch.randn(2, 4, 5, generator=draw)) for box in boxes]
    found = stitched(parts, size)
    height, width = found.shape[1:]
    expected = np.zeros(found.shape)
    for i in range(height):
        for j in range(width):
            y, x = i * (size[0] - 1) / (height - 1), j * (size[1] - 1) / (width - 1)
            values = []
            for (rows, columns), logits in parts:
                if rows.start - 0.5 <= y < rows.stop - 0.5 and columns.start - 0.5 <= x < columns.stop - 0.5:
                    down = min(max(y - rows.start, 0), 24) * 3 / 24
                    right = min(max(x - columns.start, 0), 32) * 4 / 32
                    values.append(bilinear(logits.numpy(), down, right))
            expected[:, i, j] = np.mean(values, axis=0)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def bilinear(grid: np.ndarray, y: float, x: float) -> np.ndarray:
    top, left = min(int(y), grid.shape[1] - 2), min(int(x), grid.shape[2] - 2)
    a, b = y - top, x - left
    upper = (1 - b) * grid[:, top, left] + b * grid[:, top, left + 1]
    lower = (1 - b) * grid[:, top + 1, left] + b * grid[:, top + 1, left + 1]
    return (1 - a) * upper + a * lower
