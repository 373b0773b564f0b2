from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from losses.ignore import IGNORE
from losses.sampling import Sampler, point_coordinates, reduce_labels, stratified_points

both_methods = pytest.mark.parametrize("method", ["systematic", "uniform"])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def example() -> Tensor:
    """Two images with frequent, rare and absent classes, ignored pixels and ids beyond the 6 classes."""
    share = torch.tensor([0.6, 0.02, 0.0, 0.1, 0.2, 0.01])
    ids = torch.cat((torch.arange(6), torch.tensor([IGNORE, 30])))
    weight = torch.cat((share, torch.tensor([0.05, 0.02])))
    label = ids[torch.multinomial(weight, 2 * 20 * 30, replacement=True, generator=seeded(7))]
    return label.reshape(2, 20, 30)


@both_methods
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_draws_the_exact_count_of_distinct_points_of_each_class(method: Sampler, dtype: torch.dtype) -> None:
    label = example().to(dtype)
    points = stratified_points(label, 6, 40, seeded(), method)
    assert points.index_BP.shape == points.label_BP.shape == (2, 240)
    for image, index, drawn in zip(label.flatten(1), *points, strict=True):
        for c in range(6):
            chosen = index[drawn == c]
            assert len(chosen) == min(40, int((image == c).sum()))
            assert len(chosen.unique()) == len(chosen)
            assert image[chosen].eq(c).all()
        assert set(drawn.tolist()) <= {0, 1, 3, 4, 5, IGNORE}
        assert index[drawn == IGNORE].eq(0).all()


@both_methods
def test_a_class_owns_a_fixed_range_of_the_points(method: Sampler) -> None:
    points = stratified_points(example(), 6, 5, seeded(), method)
    grouped = points.label_BP.reshape(2, 6, 5)
    for c in range(6):
        assert set(grouped[:, c].flatten().tolist()) <= {c, IGNORE}


@both_methods
def test_every_pixel_of_a_class_is_equally_likely(method: Sampler) -> None:
    label = torch.tensor([0] * 7 + [1] * 13 + [IGNORE] * 5)[torch.randperm(25, generator=seeded(1))]
    points = stratified_points(label.repeat(6000, 1, 1), 2, 5, seeded(), method)
    times = torch.bincount(points.index_BP[points.label_BP != IGNORE], minlength=25) / 6000
    assert (times[label == 0] - 5 / 7).abs().max() < 0.03
    assert (times[label == 1] - 5 / 13).abs().max() < 0.03
    assert times[label == IGNORE].eq(0).all()


def test_systematic_points_are_spread_evenly() -> None:
    points = stratified_points(torch.zeros(1, 10, 100, dtype=torch.uint8), 1, 10, seeded())
    assert points.index_BP.diff(dim=1).eq(100).all()


def test_uniform_points_vary_independently() -> None:
    points = stratified_points(torch.zeros(4000, 1, 4, dtype=torch.uint8), 1, 2, seeded(), "uniform")
    pairs = points.index_BP.sort(dim=1).values
    share = torch.bincount(pairs[:, 0] * 4 + pairs[:, 1], minlength=16) / 4000
    assert share[[1, 2, 3, 6, 7, 11]].tolist() == pytest.approx([1 / 6] * 6, abs=0.03)


@both_methods
def test_image_without_labels_yields_padding_only(method: Sampler) -> None:
    points = stratified_points(torch.full((1, 4, 4), IGNORE, dtype=torch.uint8), 3, 2, seeded(), method)
    assert points.label_BP.eq(IGNORE).all()
    assert points.index_BP.eq(0).all()


@both_methods
def test_generator_alone_decides_the_draw(method: Sampler) -> None:
    first, again, other = (stratified_points(example(), 6, 9, seeded(s), method).index_BP for s in (3, 3, 4))
    assert first.equal(again)
    assert not first.equal(other)


def test_bad_sampler_values_are_refused() -> None:
    label = example()
    with pytest.raises(ValueError, match="method must be one of systematic, uniform"):
        stratified_points(label, 6, 5, seeded(), "sobol")  # pyright: ignore
    with pytest.raises(ValueError, match="num_classes must be between 1 and 255, got 256"):
        stratified_points(label, 256, 5, seeded())
    with pytest.raises(ValueError, match="per_class must be at least 1, got 0"):
        stratified_points(label, 6, 0, seeded())


def test_ratio_one_keeps_the_labels() -> None:
    label = example()
    assert reduce_labels(label, 1).equal(label)
    assert reduce_labels(label, 1, "majority").equal(label)


@pytest.mark.parametrize("ratio", [2, 5, 10])
def test_nearest_label_lies_where_the_aligned_grid_point_lies(ratio: int) -> None:
    row, column = torch.meshgrid(torch.arange(20), torch.arange(30), indexing="ij")
    size = (20 // ratio, 30 // ratio)
    for place, extent, axis in ((row, 20, 0), (column, 30, 1)):
        grid = np.linspace(0, extent - 1, size[axis])
        reduced = reduce_labels(place[None], ratio)[0]
        assert reduced.shape == size
        line = reduced[:, 0] if axis == 0 else reduced[0]
        assert np.abs(line.numpy() - grid).max() <= 0.5 + 1e-9


def slow_majority(label: np.ndarray, ratio: int, min_share: float) -> np.ndarray:
    height, width = label.shape
    result = np.full((height // ratio, width // ratio), IGNORE)
    for y, x in np.ndindex(*result.shape):
        cell = label[y * ratio : (y + 1) * ratio, x * ratio : (x + 1) * ratio]
        values, counts = np.unique(cell, return_counts=True)
        if counts.max() >= min_share * ratio**2:
            result[y, x] = values[counts.argmax()]
    return result


@pytest.mark.parametrize("ratio", [2, 5])
@pytest.mark.parametrize("min_share", [0.0, 0.5, 0.75, 1.0])
def test_majority_equals_the_slow_definition(ratio: int, min_share: float) -> None:
    label = example()
    reduced = reduce_labels(label, ratio, "majority", min_share)
    for image, small in zip(label, reduced, strict=True):
        assert small.tolist() == slow_majority(image.numpy(), ratio, min_share).tolist()


def test_reduction_keeps_the_dtype() -> None:
    label = example().to(torch.uint8)
    assert reduce_labels(label, 2).dtype == reduce_labels(label, 2, "majority").dtype == torch.uint8


def test_bad_reduction_values_are_refused() -> None:
    with pytest.raises(ValueError, match="how must be one of nearest, majority"):
        reduce_labels(example(), 2, "mean")  # pyright: ignore
    with pytest.raises(ValueError, match="label reduction 4 must be at least 1 and divide the size 20x30"):
        reduce_labels(example(), 4)


@pytest.mark.parametrize("grid", [(20, 30), (64, 128), (1, 9), (5, 1)])
def test_grid_sample_equals_upsampling_and_gathering(grid: tuple[int, int]) -> None:
    height, width = grid
    feature = torch.randn(2, 6, 9, 17, generator=seeded())
    index = torch.randint(height * width, (2, 50), generator=seeded())
    whole = F.interpolate(feature, size=grid, mode="bilinear", align_corners=True)
    wanted = whole.flatten(2).gather(2, index.unsqueeze(1).expand(-1, 6, -1))
    place = point_coordinates(index, height, width)
    sampled = F.grid_sample(feature, place.unsqueeze(1), mode="bilinear", align_corners=True).squeeze(2)
    assert place.dtype == torch.float32
    assert (sampled - wanted).abs().max() < 1e-5


def test_corners_have_coordinates_of_one() -> None:
    place = point_coordinates(torch.tensor([[0, 3, 11]]), 3, 4)
    assert place.tolist() == [[[-1, -1], [1, -1], [1, 1]]]
