"""Several optimisers in one step: each network by its own true gradients, in fp16 as in fp32."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from orchestrator.train.optim import Updates

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
