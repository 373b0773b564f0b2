"""No loss may read a value back or size a tensor by data: either would stop the device at every step.

A fake tensor has a shape but no data, so any such step raises.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from losses.consistency import mode_consistency
from losses.distance import nearest_mode, squared_distances
from losses.mixture import mixture_cross_entropy
from losses.sampling import point_coordinates, reduce_labels, stratified_points
from losses.segmentation import cross_entropy
from losses.triplet import triplet_to_modes


def distances() -> tuple[Tensor, Tensor]:
    embedding = torch.randn(12, 4, requires_grad=True)
    return squared_distances(embedding, torch.randn(5, 3, 4)), torch.randint(5, (12,))


def consistency(generator: Generator) -> Tensor:
    embedding = torch.randn(6, 4, requires_grad=True)
    group = torch.zeros(6, dtype=torch.int64)
    return sum(
        (
            mode_consistency(embedding, group, group, embedding, group, group, 1.0, generator, negative)
            for negative in ("random", "hardest")
        ),
        start=torch.zeros(()),
    )


LOSSES: dict[str, Callable[[Generator], Tensor]] = {
    "cross_entropy": lambda _: cross_entropy(
        torch.randn(1, 3, 4, 4, requires_grad=True), torch.zeros(1, 4, 4, dtype=torch.int64)
    ),
    "triplet": lambda _: triplet_to_modes(*distances(), margin=1.0, distance="euclidean"),
    "mixture": lambda _: mixture_cross_entropy(*distances()),
    "consistency": consistency,
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_need_no_data(name: str) -> None:
    generator = Generator()
    with FakeTensorMode():
        LOSSES[name](generator).backward()


def test_sampling_needs_no_data() -> None:
    generator = Generator()
    with FakeTensorMode():
        label = torch.zeros(2, 8, 8, dtype=torch.uint8)
        systematic = stratified_points(reduce_labels(label, 2), 3, 5, generator)
        uniform = stratified_points(reduce_labels(label, 2, "majority"), 3, 5, generator, "uniform")
        for points in (systematic, uniform):
            assert points.label_BP.shape == (2, 15)
            assert point_coordinates(points.index_BP, 4, 4).shape == (2, 15, 2)
        assert nearest_mode(torch.zeros(15, 3, 2), uniform.label_BP[0]).shape == (15,)


def test_a_loss_that_reads_a_value_would_be_caught() -> None:
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        torch.ones(3).sum().item()
