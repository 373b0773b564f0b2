"""Several optimisers in one step: each network by its own true gradients, in fp16 as in fp32."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

from orchestrator.contract.method import Method
from orchestrator.contract.settings import OptimiserSettings
from orchestrator.train.optim import Updates, make_optimiser, make_schedule, rate

NAMES = ("first", "second", "third")


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {name: nn.Linear(3, 2) for name in NAMES}


def optimisers(nets: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
    return {name: torch.optim.SGD(net.parameters(), lr=0.1) for name, net in nets.items()}


def step(nets, updates, scaler=None, poison: str = "") -> dict[str, torch.Tensor]:
    """Each network has a loss of its own and steps after it; returns the norms that were told."""
    found = {}
    for number, name in enumerate(NAMES):
        loss = nets[name](torch.full((4, 3), 2.0**number)).square().sum()
        if name == poison:
            loss = loss * torch.inf
        (scaler.scale(loss) if scaler else loss).backward()
        found |= updates.prepare([name])
        updates.apply([name])
    updates.renew_scale()
    return found


def weights(nets: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    return {name: net.weight.detach().clone() for name, net in nets.items()}  # type: ignore[union-attr]


def scaler() -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_scaled_losses_lead_to_the_same_weights_for_every_network(clip):
    plain = networks()
    scaled = copy.deepcopy(plain)
    scale = scaler()
    full, half = Updates(plain, optimisers(plain), None, clip), Updates(scaled, optimisers(scaled), scale, clip)
    for _ in range(3):
        step(plain, full)
        step(scaled, half, scale)
    for name in NAMES:
        torch.testing.assert_close(weights(scaled)[name], weights(plain)[name], rtol=1e-5, atol=1e-6)
    assert scale.get_scale() == 1024


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("poison", NAMES)
def test_network_whose_gradients_overflow_is_left_alone_and_the_scale_is_halved_once(clip, poison):
    nets, scale = networks(), scaler()
    plain = copy.deepcopy(nets)
    before = weights(nets)
    step(nets, Updates(nets, optimisers(nets), scale, clip), scale, poison)
    step(plain, Updates(plain, optimisers(plain), None, clip))
    assert scale.get_scale() == 512
    for name in NAMES:
        expected = before if name == poison else weights(plain)
        torch.testing.assert_close(weights(nets)[name], expected[name], rtol=1e-5, atol=1e-6)


def test_norms_are_those_before_clipping():
    nets = networks()
    updates = Updates(nets, optimisers(nets), None, clip=1e-3)
    found = step(nets, updates)
    assert list(found) == [f"gradient of {name}" for name in NAMES]
    assert min(value.item() for value in found.values()) > 0.1


def test_networks_that_step_together_are_clipped_together():
    nets = networks()
    updates = Updates(nets, optimisers(nets), None, clip=0.5)
    before = weights(nets)
    sum(net(torch.ones(4, 3)).square().sum() for net in nets.values()).backward()  # type: ignore[union-attr]
    updates.prepare(NAMES)
    norm = torch.nn.utils.get_total_norm([p.grad for net in nets.values() for p in net.parameters()])  # type: ignore[misc]
    assert norm.item() == pytest.approx(0.5, rel=1e-4)
    updates.apply(NAMES)
    assert all(not torch.equal(weights(nets)[name], before[name]) for name in NAMES)
    assert all(p.grad is None for net in nets.values() for p in net.parameters())


def test_network_without_weights_steps_with_the_others():
    nets: dict[str, nn.Module] = {"pool": nn.Identity()}
    updates = Updates(nets, {"pool": torch.optim.SGD([torch.zeros(1)], lr=1)}, scaler(), 0.5)
    assert updates.prepare(["pool"]) == {}
    updates.apply(["pool"])


def rates(settings: OptimiserSettings, steps: int) -> list[float]:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=settings.lr)
    schedule, found = make_schedule(optimiser, settings, steps), []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    return found


def test_warm_up_multiplies_the_schedule_by_a_line_that_rises_to_one():
    found = rates(OptimiserSettings(lr=2.0, power=0.9, warmup_steps=4, warmup_ratio=0.1), 10)
    rising = [0.1, 0.325, 0.55, 0.775, *[1.0] * 6]
    assert found == pytest.approx([2 * factor * (1 - step / 10) ** 0.9 for step, factor in enumerate(rising)])


@pytest.mark.parametrize("schedule", ["poly", "constant", "constant_linear"])
def test_rate_without_warm_up_is_that_of_the_schedules_of_torch(schedule):
    settings = OptimiserSettings(lr=1.0, schedule=schedule)
    assert rates(settings, 9) == pytest.approx([rate(settings, done, 9) for done in range(9)])


@pytest.mark.parametrize("warmup_steps", [0, 4])
def test_schedule_goes_on_from_its_state_as_json(warmup_steps):
    settings = OptimiserSettings(lr=1.0, warmup_steps=warmup_steps)
    optimisers = [torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0) for _ in range(2)]
    made = [make_schedule(optimiser, settings, 10) for optimiser in optimisers]
    for optimiser in optimisers:
        optimiser.step()
    for _ in range(3):
        made[0].step()
    made[1].load_state_dict(json.loads(json.dumps(made[0].state_dict())))
    made[0].step()
    made[1].step()
    assert made[1].last_epoch == made[0].last_epoch == 4
    if warmup_steps:
        assert made[1].get_last_lr() == made[0].get_last_lr()


class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.position_embeddings = nn.Parameter(torch.ones(2))
        self.composition_bias = nn.Parameter(torch.ones(2))
        self.linear, self.norm, self.batch = nn.Linear(2, 2), nn.LayerNorm(2), nn.BatchNorm1d(2)


def test_decay_leaves_normalisation_and_positions_alone_where_it_is_told_to():
    network, settings = Patches(), OptimiserSettings(weight_decay=0.1, decay_norms=False)
    names = {id(p): name for name, p in network.named_parameters()}
    decay = {
        names[id(p)]: group["weight_decay"]
        for group in make_optimiser(Method(), "any", network, settings).param_groups
        for p in group["params"]
    }
    assert decay.keys() == set(names.values())
    assert {name for name, value in decay.items() if value} == {"linear.weight", "linear.bias", "composition_bias"}
    (group,) = make_optimiser(Method(), "any", network, OptimiserSettings(weight_decay=0.1)).param_groups
    assert (group["weight_decay"], len(group["params"])) == (0.1, len(names))
