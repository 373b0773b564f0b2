"""First weights as a function of the seed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.build import build_mmdl_head, build_segmenter
from models.settings import MmdlSettings, SegmenterSettings

TINY = SegmenterSettings(backbone="resnet10", width=4, dilations=(1, 2))
BUILDERS = {
    "segmenter": lambda seed: build_segmenter(TINY, 5, seed),
    "mmdl": lambda seed: build_mmdl_head(MmdlSettings(embed_dim=6), TINY, 5, seed),
}


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_one_seed_gives_one_network(build):
    first = build(3)
    torch.rand(5)
    assert same(first, build(3))


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_another_seed_gives_another_network(build):
    assert not same(build(3), build(4))


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_the_global_generator_is_left_as_it_was(build):
    before = torch.get_rng_state()
    build(3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_head_fits_the_features_of_the_segmenter(backbone):
    settings = SegmenterSettings(backbone=backbone, width=2, dilations=(1, 3))
    features = build_segmenter(settings, 5, seed=0)(torch.rand(1, 3, 32, 32)).features_BDhw
    head = build_mmdl_head(MmdlSettings(embed_dim=6), settings, 5, seed=0)
    assert head(features, torch.zeros(1, 2, 2)).distance_BPKM.shape == (1, 2, 5, 3)
    assert [branch.dilation for branch in head.embed.branches] == [(1, 1), (3, 3)]
