"""Discriminators: shapes, what a score sees, and being used without being touched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.build import build_discriminator
from models.discriminator import AsppDiscriminator, PatchDiscriminator, frozen
from models.settings import DiscriminatorSettings


@pytest.mark.parametrize(("kind", "grid"), [("patch", (4, 6)), ("aspp", (64, 96))])
def test_scores_lie_on_their_own_grid(kind, grid):
    network = build_discriminator(DiscriminatorSettings(layers=kind, width=4), num_classes=5, seed=0)
    assert network(torch.rand(2, 5, 128, 192)).shape == (2, 1, *grid)


@pytest.mark.parametrize(
    ("network", "field"), [(PatchDiscriminator(3, 4), 94), (AsppDiscriminator(3, 4), 20)], ids=["patch", "aspp"]
)
def test_a_score_sees_a_square_of_the_stated_size(network, field):
    image = torch.rand(1, 3, 256, 256, requires_grad=True)
    score = network(image)
    (gradient,) = torch.autograd.grad(score[0, 0, score.shape[2] // 2, score.shape[3] // 2], image)
    rows, columns = gradient[0].abs().sum(0).nonzero().unbind(1)
    assert int(rows.max() - rows.min()) + 1 == field
    assert int(columns.max() - columns.min()) + 1 == field


@pytest.mark.parametrize("kind", ["patch", "aspp"])
def test_widths_are_those_of_the_papers(kind):
    convolutions = [
        module
        for module in build_discriminator(DiscriminatorSettings(layers=kind), 19, 0).modules()
        if isinstance(module, nn.Conv2d)
    ]
    widths = [module.out_channels for module in convolutions]
    assert widths == ([64, 128, 256, 512, 1] if kind == "patch" else [64, 128, 128, 128, 128, 1])
    if kind == "aspp":
        assert [module.dilation[0] for module in convolutions[1:5]] == [1, 2, 3, 4]


def test_first_weights_are_a_function_of_the_seed():
    one, same, other = (build_discriminator(DiscriminatorSettings(width=4), 5, seed) for seed in (0, 0, 1))
    first, again, different = (next(network.parameters()) for network in (one, same, other))
    assert torch.equal(first, again)
    assert not torch.equal(first, different)


def test_settings_refuse_what_cannot_be():
    with pytest.raises(ValueError, match="width"):
        DiscriminatorSettings(width=0)
    with pytest.raises(ValueError, match="layers"):
        DiscriminatorSettings(layers="pixel")  # type: ignore[arg-type]


def test_frozen_network_passes_gradients_on_and_keeps_none():
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    image = torch.rand(2, 2, 4, 4, requires_grad=True)
    score = frozen(network)(image)
    score.square().mean().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    reference = torch.rand(2, 2, 4, 4)
    assert torch.equal(frozen(network)(reference), network(reference))
