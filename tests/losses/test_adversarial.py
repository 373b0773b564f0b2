"""Adversarial losses against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from losses.adversarial import discriminator_loss, domain_loss


def scores(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def slow(score: float, is_source: bool, kind: str) -> float:
    if kind == "least_squares":
        return (score - float(is_source)) ** 2
    probability = 1 / (1 + math.exp(-score))
    return -math.log(probability if is_source else 1 - probability)


@pytest.mark.parametrize("kind", ["vanilla", "least_squares"])
@pytest.mark.parametrize("is_source", [True, False])
def test_equals_the_slow_definition_and_its_gradient(kind, is_source):
    score = scores(2, 1, 3, 4)
    wanted = np.mean([slow(value, is_source, kind) for value in score.flatten().tolist()])
    assert domain_loss(score, is_source, kind).item() == pytest.approx(wanted, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: domain_loss(x, is_source, kind), score.requires_grad_())


def test_undecided_discriminator_pays_the_logarithm_of_two():
    nothing = torch.zeros(1, 1, 2, 2)
    assert discriminator_loss(nothing, nothing).item() == pytest.approx(math.log(2))
    assert discriminator_loss(nothing + 1, nothing, "least_squares").item() == 0


def test_each_domain_counts_half_whatever_its_size():
    source, target = scores(1, 1, 2, 2), scores(1, 1, 5, 7)
    wanted = (domain_loss(source, True) + domain_loss(target, False)) / 2
    assert discriminator_loss(source, target).item() == pytest.approx(wanted.item())


def test_deceiving_gradient_does_not_vanish_where_the_discriminator_is_sure():
    sure = torch.full((1,), -30.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(domain_loss(sure, True), sure)
    assert gradient.item() == pytest.approx(-1)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="least_squares"):
        domain_loss(torch.zeros(1), True, "hinge")  # type: ignore[arg-type]
