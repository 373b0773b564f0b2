"""The average of a network's weights, against its closed form."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models.ema import ramped, update_average


def network(value: float) -> nn.Module:
    """A network of which every number is `value`, counts too."""
    made = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).double()
    for tensor in made.state_dict().values():
        tensor.fill_(value)
    return made


def values(module: nn.Module) -> dict[str, float]:
    """The one value of every tensor."""
    return {name: float(tensor.unique()) for name, tensor in module.state_dict().items()}


def test_average_is_the_sum_with_powers_of_the_decay():
    average, decay, steps = network(7.0), 0.9, 5
    for step in range(1, steps + 1):
        update_average(average, network(float(step)), decay)
    wanted = decay**steps * 7 + sum((1 - decay) * decay ** (steps - step) * step for step in range(1, steps + 1))
    for name, parameter in average.named_parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, wanted), msg=name)


def test_average_of_the_ramp_is_the_plain_mean_of_the_start_and_all_steps():
    average = network(10.0)
    for step in range(1, 5):
        update_average(average, network(float(step)), ramped(0.999, step))
    assert values(average)["0.weight"] == pytest.approx((10 + 1 + 2 + 3 + 4) / 5)
    assert [ramped(0.7, step) for step in (1, 2, 3, 9)] == pytest.approx([0.5, 2 / 3, 0.7, 0.7])


@pytest.mark.parametrize(("buffers", "running", "count"), [("copied", 4, 4), ("averaged", 7, 4), ("left", 8, 8)])
def test_running_statistics_are_copied_averaged_or_left(buffers, running, count):
    average = network(8.0)
    update_average(average, network(4.0), 0.75, buffers)
    found = values(average)
    assert (found["1.running_mean"], found["1.running_var"]) == (running, running)
    assert found["1.num_batches_tracked"] == count
    assert found["1.weight"] == 7


def test_all_is_kept_or_nothing_to_the_last_bit():
    torch.manual_seed(0)
    average, other = nn.Linear(5, 4), nn.Linear(5, 4)
    before = copy.deepcopy(average.state_dict())
    update_average(average, other, 1.0)
    assert all(torch.equal(value, before[name]) for name, value in average.state_dict().items())
    update_average(average, other, 0.0)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in average.state_dict().items())


def test_network_that_is_followed_stays_as_it_is_and_gets_no_gradient():
    average, other = network(1.0), network(2.0)
    update_average(average, other, 0.5)
    assert set(values(other).values()) == {2.0}
    assert all(p.is_leaf and p.grad is None for p in (*average.parameters(), *other.parameters()))


@pytest.mark.parametrize("other", [nn.Linear(2, 3), nn.Conv2d(2, 3, 1), nn.Sequential(nn.Conv2d(2, 4, 1))])
def test_network_of_another_build_is_refused(other):
    with pytest.raises(ValueError, match="an average of Sequential cannot follow"):
        update_average(nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)), other, 0.5)
