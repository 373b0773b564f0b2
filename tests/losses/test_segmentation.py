from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from losses.ignore import IGNORE
from losses.segmentation import Reduction, cross_entropy, soft_cross_entropy


def slow_cross_entropy(logits: np.ndarray, label: np.ndarray, reduction: Reduction) -> float:
    total, valid = 0.0, 0
    for b, y, x in np.ndindex(*label.shape):
        if label[b, y, x] != IGNORE:
            scores = logits[b, :, y, x]
            total -= scores[label[b, y, x]] - math.log(sum(math.exp(s) for s in scores))
            valid += 1
    return float(total) / (label.size if reduction == "all" else max(valid, 1))


def example() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    label = torch.randint(3, (2, 4, 5), generator=generator)
    label[:, 1] = IGNORE
    return logits, label


@pytest.mark.parametrize("reduction", ["valid", "all"])
def test_equals_the_slow_definition(reduction: Reduction) -> None:
    logits, label = example()
    wanted = slow_cross_entropy(logits.numpy(), label.numpy(), reduction)
    assert cross_entropy(logits, label, reduction).item() == pytest.approx(wanted, rel=1e-12)


def test_uniform_logits_cost_the_logarithm_of_the_class_count() -> None:
    label = torch.tensor([[[0, 3, IGNORE, IGNORE]]])
    assert cross_entropy(torch.zeros(1, 5, 1, 4), label).item() == pytest.approx(math.log(5))
    assert cross_entropy(torch.zeros(1, 5, 1, 4), label, "all").item() == pytest.approx(math.log(5) / 2)


@pytest.mark.parametrize("reduction", ["valid", "all"])
def test_gradient_is_right_and_zero_at_ignored_pixels(reduction: Reduction) -> None:
    logits, label = example()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, label, reduction), logits)
    (gradient,) = torch.autograd.grad(cross_entropy(logits, label, reduction), logits)
    assert gradient[:, :, 1].eq(0).all()
    assert gradient[:, :, 0].ne(0).all()


@pytest.mark.parametrize("reduction", ["valid", "all"])
def test_batch_without_labels_costs_nothing_and_moves_nothing(reduction: Reduction) -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = cross_entropy(logits, torch.full((1, 2, 2), IGNORE), reduction)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss == 0
    assert gradient.eq(0).all()


def test_joint_mean_is_the_call_on_the_concatenated_batch() -> None:
    logits, label = example()
    label[1, 2:] = IGNORE
    per_domain = cross_entropy(logits[:1], label[:1]), cross_entropy(logits[1:], label[1:])
    valid = (label != IGNORE).flatten(1).sum(1)
    joint = (per_domain[0] * valid[0] + per_domain[1] * valid[1]) / valid.sum()
    assert cross_entropy(logits, label).item() == pytest.approx(joint.item())


def test_byte_labels_and_half_precision_logits_give_a_float32_loss() -> None:
    logits, label = example()
    loss = cross_entropy(logits.bfloat16(), label.to(torch.uint8))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(cross_entropy(logits.bfloat16().double(), label).item(), rel=1e-5)


def test_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="reduction must be one of valid, all"):
        cross_entropy(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1), "mean")  # pyright: ignore


def soft_example() -> tuple[Tensor, Tensor, Tensor]:
    logits, label = example()
    soft = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).softmax(1)
    return logits, soft, label


def test_soft_labels_of_one_class_cost_what_hard_ones_cost() -> None:
    logits, label = example()
    soft = torch.nn.functional.one_hot(label.where(label != IGNORE, 0), 3).permute(0, 3, 1, 2).double()
    torch.testing.assert_close(soft_cross_entropy(logits, soft, label), cross_entropy(logits, label))


def test_soft_cross_entropy_equals_the_slow_definition() -> None:
    logits, soft, label = soft_example()
    total, count = 0.0, 0
    for b, y, x in np.ndindex(*label.shape):
        if label[b, y, x] != IGNORE:
            scores = logits[b, :, y, x].numpy()
            log_prob = scores - math.log(np.exp(scores).sum())
            total -= float((soft[b, :, y, x].numpy() * log_prob).sum())
            count += 1
    assert soft_cross_entropy(logits, soft, label).item() == pytest.approx(total / count, rel=1e-12)


def test_soft_gradient_is_prediction_minus_label_and_zero_where_left_out() -> None:
    logits, soft, label = soft_example()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_cross_entropy(x, soft, label), logits)
    (gradient,) = torch.autograd.grad(soft_cross_entropy(logits, soft, label), logits)
    chosen = (label != IGNORE).unsqueeze(1)
    torch.testing.assert_close(gradient, (logits.softmax(1) - soft) * chosen / chosen.sum())
    nothing = soft_cross_entropy(logits, soft, torch.full_like(label, IGNORE))
    assert nothing == 0
    assert torch.autograd.grad(nothing, logits)[0].eq(0).all()
