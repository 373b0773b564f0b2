from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from losses.distance import squared_distances
from losses.ignore import IGNORE
from losses.triplet import TripletDistance, triplet_to_modes


def slow_triplet(distance: np.ndarray, label: np.ndarray, margin: float, kind: TripletDistance) -> float:
    if kind == "euclidean":
        distance = np.sqrt(distance)
    losses = []
    for d, c in zip(distance, label, strict=True):
        if c != IGNORE:
            negative = min(d[k].min() for k in range(len(d)) if k != c)
            losses.append(max(0.0, d[c].min() - negative + margin))
    return float(sum(losses)) / max(len(losses), 1)


def example() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    distance = torch.rand(9, 4, 3, generator=generator, dtype=torch.float64) * 4
    label = torch.randint(4, (9,), generator=generator)
    label[[2, 5]] = IGNORE
    return distance, label


@pytest.mark.parametrize("kind", ["squared", "euclidean"])
@pytest.mark.parametrize("margin", [0.0, 0.5, 3.0])
def test_equals_the_slow_definition(kind: TripletDistance, margin: float) -> None:
    distance, label = example()
    wanted = slow_triplet(distance.numpy(), label.numpy(), margin, kind)
    assert triplet_to_modes(distance, label, margin, kind).item() == pytest.approx(wanted)


def test_hand_computed_point() -> None:
    distance = torch.tensor([[[9.0, 4.0], [1.0, 16.0]]])
    assert triplet_to_modes(distance, torch.tensor([0]), 1.0) == 4 - 1 + 1
    assert triplet_to_modes(distance, torch.tensor([0]), 1.0, "euclidean") == 2 - 1 + 1
    assert triplet_to_modes(distance, torch.tensor([1]), 1.0) == 0


def test_one_mode_is_the_single_prototype_triplet() -> None:
    generator = torch.Generator().manual_seed(4)
    embedding = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    prototype = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.tensor([0, 1, 2, 3, 0, 1])
    far = torch.cdist(embedding, prototype) ** 2
    own = far[torch.arange(6), label]
    other = (far + 1e9 * torch.nn.functional.one_hot(label, 4)).min(1).values
    wanted = (own - other + 1).clamp(min=0).mean()
    loss = triplet_to_modes(squared_distances(embedding, prototype.unsqueeze(1)), label, 1.0)
    assert loss.item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("kind", ["squared", "euclidean"])
def test_gradient_is_right(kind: TripletDistance) -> None:
    distance, label = example()
    distance.requires_grad_()
    assert torch.autograd.gradcheck(lambda d: triplet_to_modes(d, label, 0.7, kind), distance)


@pytest.mark.parametrize("kind", ["squared", "euclidean"])
def test_satisfied_margin_gives_zero_loss_and_gradient(kind: TripletDistance) -> None:
    distance = torch.full((3, 4, 2), 9.0)
    label = torch.tensor([0, 2, 3])
    distance[torch.arange(3), label] = 1.0
    distance.requires_grad_()
    loss = triplet_to_modes(distance, label, 2.0, kind)
    (gradient,) = torch.autograd.grad(loss, distance)
    assert loss == 0
    assert gradient.eq(0).all()


def test_only_the_nearest_modes_receive_gradient() -> None:
    distance = torch.tensor([[[2.0, 1.0], [1.5, 3.0], [5.0, 6.0]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(triplet_to_modes(distance, torch.tensor([0]), 1.0), distance)
    assert gradient.tolist() == [[[0, 1], [-1, 0], [0, 0]]]


def test_euclidean_gradient_is_finite_on_top_of_a_mode() -> None:
    embedding = torch.ones(1, 3, requires_grad=True)
    modes = torch.stack((torch.ones(1, 3), torch.ones(1, 3) * 1.1))
    loss = triplet_to_modes(squared_distances(embedding, modes), torch.tensor([0]), 1.0, "euclidean")
    (gradient,) = torch.autograd.grad(loss, embedding)
    assert loss.item() == pytest.approx(1 - 0.1 * math.sqrt(3), abs=1e-3)
    assert gradient.isfinite().all()


def test_ignored_points_contribute_nothing() -> None:
    distance, label = example()
    kept = label != IGNORE
    alone = triplet_to_modes(distance[kept], label[kept], 1.0)
    assert triplet_to_modes(distance, label, 1.0).item() == pytest.approx(alone.item())
    distance.requires_grad_()
    nothing = triplet_to_modes(distance, torch.full((9,), IGNORE), 1.0)
    (gradient,) = torch.autograd.grad(nothing, distance)
    assert nothing == 0
    assert gradient.eq(0).all()


def test_bad_values_are_refused() -> None:
    distance, label = example()
    with pytest.raises(ValueError, match="distance must be one of squared, euclidean"):
        triplet_to_modes(distance, label, 1.0, "cosine")  # pyright: ignore
    with pytest.raises(ValueError, match="margin must be at least 0, got -1"):
        triplet_to_modes(distance, label, -1)
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        triplet_to_modes(distance[:, :1], label, 1.0)
