from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from losses.ignore import IGNORE
from losses.mixture import ModePooling, Posterior, mixture_cross_entropy


def slow_mixture(
    distance: np.ndarray, label: np.ndarray, sigma2: float, posterior: Posterior, modes: ModePooling
) -> float:
    losses = []
    for d, c in zip(distance, label, strict=True):
        if c == IGNORE:
            continue
        likelihood = np.exp(-d / (2 * sigma2))
        p = likelihood.max(1) if modes == "max" else likelihood.sum(1)
        if posterior == "normalised":
            losses.append(-math.log(p[c] / p.sum()))
        elif posterior == "raw":
            losses.append(-math.log(p[c]))
        else:
            losses.append(-math.log(math.exp(p[c]) / np.exp(p).sum()))
    return sum(losses) / max(len(losses), 1)


def example() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    distance = torch.rand(8, 4, 3, generator=generator, dtype=torch.float64) * 4
    label = torch.randint(4, (8,), generator=generator)
    label[3] = IGNORE
    return distance, label


VARIANTS = [(p, m) for p in ("normalised", "raw", "softmax_of_prob") for m in ("max", "sum")]


@pytest.mark.parametrize(("posterior", "modes"), VARIANTS)
@pytest.mark.parametrize("sigma2", [0.25, 0.5])
def test_equals_the_slow_definition(posterior: Posterior, modes: ModePooling, sigma2: float) -> None:
    distance, label = example()
    wanted = slow_mixture(distance.numpy(), label.numpy(), sigma2, posterior, modes)
    loss = mixture_cross_entropy(distance, label, sigma2, posterior, modes)
    assert loss.item() == pytest.approx(wanted)


@pytest.mark.parametrize(("posterior", "modes"), VARIANTS)
def test_gradient_is_right(posterior: Posterior, modes: ModePooling) -> None:
    distance, label = example()
    distance.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda d: mixture_cross_entropy(d, label, 0.5, posterior, modes),
        distance,
    )


def test_floor_of_unit_vectors_with_antipodal_wrong_modes() -> None:
    distance = torch.full((1, 19, 3), 4.0, dtype=torch.float64)
    distance[0, 6] = 0
    loss = mixture_cross_entropy(distance, torch.tensor([6]))
    assert loss.item() == pytest.approx(math.log(1 + 18 * math.exp(-4)))
    assert loss.item() == pytest.approx(0.28, abs=0.01)


@pytest.mark.parametrize("modes", ["max", "sum"])
def test_adding_a_constant_to_all_distances_changes_nothing(modes: ModePooling) -> None:
    distance, label = example()
    loss = mixture_cross_entropy(distance, label, modes=modes)
    moved = mixture_cross_entropy(distance + 7.0, label, modes=modes)
    assert moved.item() == pytest.approx(loss.item())


@pytest.mark.parametrize("posterior", ["normalised", "raw", "softmax_of_prob"])
def test_modes_that_are_not_selected_get_no_gradient(posterior: Posterior) -> None:
    distance, label = example()
    distance.requires_grad_()
    loss = mixture_cross_entropy(distance, label, posterior=posterior)
    (gradient,) = torch.autograd.grad(loss, distance)
    selected = torch.zeros_like(gradient).scatter(2, distance.argmin(2, keepdim=True), 1).bool()
    assert gradient[~selected].eq(0).all()
    assert gradient[selected].ne(0).any()


def test_far_points_do_not_underflow() -> None:
    distance = torch.full((1, 3, 2), 1000.0)
    distance[0, 1] = 1003.0
    distance.requires_grad_()
    loss = mixture_cross_entropy(distance, torch.tensor([1]))
    (gradient,) = torch.autograd.grad(loss, distance)
    assert loss.item() == pytest.approx(3 + math.log(2 + math.exp(-3)), rel=1e-4)
    assert gradient.abs().sum() > 0.5


def test_ignored_points_contribute_nothing() -> None:
    distance, label = example()
    kept = label != IGNORE
    alone = mixture_cross_entropy(distance[kept], label[kept])
    assert mixture_cross_entropy(distance, label).item() == pytest.approx(alone.item())
    distance.requires_grad_()
    nothing = mixture_cross_entropy(distance, torch.full((8,), IGNORE))
    (gradient,) = torch.autograd.grad(nothing, distance)
    assert nothing == 0
    assert gradient.eq(0).all()


def test_bad_values_are_refused() -> None:
    distance, label = example()
    with pytest.raises(ValueError, match="posterior must be one of"):
        mixture_cross_entropy(distance, label, posterior="softmax")  # pyright: ignore
    with pytest.raises(ValueError, match="modes must be one of max, sum"):
        mixture_cross_entropy(distance, label, modes="mean")  # pyright: ignore
    with pytest.raises(ValueError, match="sigma2 must be greater than 0, got 0"):
        mixture_cross_entropy(distance, label, sigma2=0)
