"""Losses that keep a translation true, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from losses.cycle import cycle_loss, identity_loss


def images(number: int) -> Tensor:
    return torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(number), dtype=torch.float64)


@pytest.mark.parametrize("loss", [cycle_loss, identity_loss])
def test_equals_the_slow_definition_and_its_gradient(loss):
    a, b, c, d = map(images, range(4))
    wanted = np.mean([abs(x - y) for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)])
    wanted += np.mean([abs(x - y) for x, y in zip(c.flatten().tolist(), d.flatten().tolist(), strict=True)])
    assert loss(a, b, c, d).item() == pytest.approx(wanted, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x, y: loss(x, b, y, d), (a.requires_grad_(), c.requires_grad_()))


@pytest.mark.parametrize("loss", [cycle_loss, identity_loss])
def test_an_image_that_came_back_costs_nothing_and_a_shift_costs_its_size(loss):
    source, target = images(0), images(1)
    assert loss(source, source, target, target).item() == 0
    assert loss(source + 0.25, source, target, target).item() == pytest.approx(0.25)
    assert loss(source + 0.25, source, target - 0.5, target).item() == pytest.approx(0.75)


def test_half_precision_is_compared_in_single():
    low = images(0).bfloat16()
    assert cycle_loss(low, low, low, low).dtype == torch.float32


def test_images_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        cycle_loss(images(0), images(1)[:1], images(2), images(3))
