"""Entropy losses against slow definitions and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from losses.entropy import kl_to_uniform, negative_entropy, normalised_entropy, self_information
from losses.ignore import IGNORE


def example() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    label = torch.randint(3, (2, 4, 5), generator=generator)
    label[:, 1] = IGNORE
    return logits, label


def probabilities(scores: np.ndarray) -> list[float]:
    odds = [math.exp(score) for score in scores]
    return [value / sum(odds) for value in odds]


def test_terms_equal_their_slow_definitions():
    logits, label = example()
    uniform, entropy, everywhere = [], [], []
    for b, y, x in np.ndindex(*label.shape):
        prob = probabilities(logits[b, :, y, x].numpy())
        everywhere.append(-sum(p * math.log(p) for p in prob) / math.log(3))
        if label[b, y, x] != IGNORE:
            uniform.append(-sum(math.log(p) for p in prob) / 3)
            entropy.append(sum(p * math.log(p) for p in prob))
    assert kl_to_uniform(logits, label).item() == pytest.approx(np.mean(uniform), rel=1e-12)
    assert negative_entropy(logits, label).item() == pytest.approx(np.mean(entropy), rel=1e-12)
    assert normalised_entropy(logits).item() == pytest.approx(np.mean(everywhere), rel=1e-12)


def test_uniform_prediction_is_where_both_regularisers_are_least():
    label = torch.zeros(1, 2, 2, dtype=torch.long)
    flat = torch.zeros(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert kl_to_uniform(flat, label).item() == pytest.approx(math.log(4))
    assert negative_entropy(flat, label).item() == pytest.approx(-math.log(4))
    assert normalised_entropy(flat).item() == pytest.approx(1)
    for loss in (kl_to_uniform, negative_entropy):
        (gradient,) = torch.autograd.grad(loss(flat, label), flat)
        assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("loss", [kl_to_uniform, negative_entropy])
def test_gradient_is_right_and_zero_at_ignored_pixels(loss):
    logits, label = example()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, label), logits)
    (gradient,) = torch.autograd.grad(loss(logits, label), logits)
    assert gradient[:, :, 1].eq(0).all()
    assert gradient[:, :, 0].ne(0).any()
    (gradient,) = torch.autograd.grad(loss(logits, torch.full_like(label, IGNORE)), logits)
    assert gradient.eq(0).all()


def test_gradient_of_entropy_is_right_and_finite_where_a_class_is_certain():
    logits, _ = example()
    assert torch.autograd.gradcheck(normalised_entropy, logits.requires_grad_())
    certain = torch.tensor([[1e4], [0.0]]).reshape(1, 2, 1, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(normalised_entropy(certain), certain)
    assert torch.isfinite(gradient).all()


def test_self_information_adds_up_to_entropy():
    logits, _ = example()
    maps = self_information(logits)
    assert maps.sum(1).mean().item() == pytest.approx(normalised_entropy(logits).item(), rel=1e-12)
    half = self_information(torch.zeros((1, 2, 1, 1), dtype=torch.float64))
    assert half.flatten().tolist() == pytest.approx([0.5, 0.5])
    assert torch.autograd.gradcheck(self_information, logits.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("gap", [0.0, 1.0, 20.0, 104.0, 800.0, 1e4, -1e4])
def test_self_information_and_its_gradient_are_those_of_two_classes_however_far_apart(gap, dtype):
    def log_sigmoid(x: float) -> float:
        return min(x, 0) - math.log1p(math.exp(-abs(x)))

    # With p = 1 / (1 + exp(-gap)): d(-p log p) / dgap = -(1 + log p) p (1 - p), and the other class by symmetry.
    log_first, log_second = log_sigmoid(gap), log_sigmoid(-gap)
    both = math.exp(log_first + log_second)
    values = [-math.exp(log) * log / math.log(2) for log in (log_first, log_second)]
    slopes = [-(1 + log_first) * both / math.log(2), (1 + log_second) * both / math.log(2)]
    logits = torch.tensor([gap, 0.0], dtype=dtype).reshape(1, 2, 1, 1).requires_grad_()
    maps = self_information(logits)
    assert maps.dtype == dtype
    near = {"rel": 8 * torch.finfo(dtype).eps, "abs": 8 * torch.finfo(dtype).eps}
    assert maps.flatten().tolist() == pytest.approx(values, **near)
    for number, slope in enumerate(slopes):
        (gradient,) = torch.autograd.grad(maps[:, number].sum(), logits, retain_graph=True)
        assert gradient.flatten().tolist() == pytest.approx([slope, -slope], **near)


@pytest.mark.parametrize("measure", [normalised_entropy, self_information])
def test_one_class_has_no_entropy_to_measure_by(measure):
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        measure(torch.zeros(1, 1, 2, 2))
