"""The dilated encoder against the network that it is made from."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import nn
from transformers.models.resnet.configuration_resnet import ResNetConfig
from transformers.models.resnet.modeling_resnet import ResNetModel

from models.resnet import Encoder, stage_channels
from models.settings import Backbone, SegmenterSettings

BACKBONES = get_args(Backbone)


def encoder(backbone: Any = "resnet10", width: int = 4, **fields: Any) -> Encoder:
    return Encoder(SegmenterSettings(backbone=backbone, width=width, **fields)).eval()


def reference(backbone: str) -> ResNetModel:
    depths = {"resnet18": [2, 2, 2, 2], "resnet50": [3, 4, 6, 3]}[backbone]
    wide = backbone == "resnet50"
    return ResNetModel(
        ResNetConfig(
            embedding_size=4,
            hidden_sizes=[16, 32, 64, 128] if wide else [4, 8, 16, 32],
            depths=depths,
            layer_type="bottleneck" if wide else "basic",
        )
    ).eval()


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_at_stride_32_features_equal_those_of_transformers(backbone: str):
    theirs = reference(backbone)
    ours = encoder(backbone, output_stride=32, ceil_pool=False)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    image = torch.randn(2, 3, 64, 96)
    assert torch.equal(ours(image), theirs(image).last_hidden_state)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
@pytest.mark.parametrize("stride", [8, 16])
def test_weights_of_the_plain_network_load_into_the_dilated_one(backbone: str, stride: int):
    theirs, ours = reference(backbone), encoder(backbone, output_stride=stride)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    image = torch.randn(1, 3, 64, 64)
    # Up to stage 2 the networks are the same, but for the pooling.
    ours.embedder.pooler.ceil_mode = False
    stages = theirs(image, output_hidden_states=True).hidden_states
    assert torch.equal(ours.encoder.stages[0](ours.embedder(image)), stages[1])
    assert torch.equal(ours.encoder.stages[1](stages[1]), stages[2])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_has_the_stride_and_channels_it_says(backbone: str):
    network = encoder(backbone, width=2, ceil_pool=False)
    features = network(torch.randn(1, 3, 40, 64))
    assert features.shape == (1, network.channels, 5, 8)
    assert network.channels == 2 * 8 * (4 if backbone in ("resnet50", "resnet101") else 1)


@pytest.mark.parametrize(("pixels", "cells"), [(512, 65), (720, 91), (1024, 129), (1280, 161)])
def test_ceil_pooling_gives_the_grid_of_deeplab(pixels: int, cells: int):
    with torch.device("meta"):
        features = encoder()(torch.empty(1, 3, 64, pixels))
    assert features.shape[2:] == (9, cells)


@pytest.mark.parametrize(("stride", "cells"), [(8, 8), (16, 4), (32, 2)])
def test_without_ceil_pooling_stride_divides_the_size(stride: int, cells: int):
    assert encoder(output_stride=stride, ceil_pool=False)(torch.randn(1, 3, 64, 64)).shape[2:] == (
        cells,
        cells,
    )


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
@pytest.mark.parametrize(("stride", "expected"), [(8, [1, 1, 2, 4]), (16, [1, 1, 1, 2]), (32, [1, 1, 1, 1])])
def test_every_3x3_convolution_of_a_stage_has_its_dilation(backbone: str, stride: int, expected: list[int]):
    stages = encoder(backbone, output_stride=stride).encoder.stages
    for stage, dilation in zip(stages, expected, strict=True):
        convolutions = [layer for layer in stage.modules() if isinstance(layer, nn.Conv2d)]
        spatial = [layer for layer in convolutions if layer.kernel_size == (3, 3)]
        assert {layer.dilation for layer in spatial} == {(dilation, dilation)}
        assert {layer.padding for layer in spatial} == {(dilation, dilation)}
        pointwise = [layer for layer in convolutions if layer.kernel_size == (1, 1)]
        assert all(layer.dilation == (1, 1) and layer.padding == (0, 0) for layer in pointwise)


def test_last_stage_sees_a_lattice_of_its_dilation():
    # One basic block: two 3x3 convolutions of dilation 4 reach 8 cells, in steps of 4.
    stage = encoder(width=1).encoder.stages[3]
    for weight in stage.parameters():
        nn.init.constant_(weight, 0.1)
    cells = torch.ones(1, 4, 25, 25, requires_grad=True)
    stage(cells)[0, 0, 12, 12].backward()
    seen = cells.grad[0].sum(dim=0).nonzero() - 12  # pyright: ignore[reportOptionalSubscript]
    assert sorted(set(seen.flatten().tolist())) == [-8, -4, 0, 4, 8]
    assert len(seen) == 25


def test_standard_trunk_has_42_and_a_half_million_parameters():
    with torch.device("meta"):
        network = Encoder(SegmenterSettings())
    assert sum(weight.numel() for weight in network.parameters()) == 42_500_160
    assert network.channels == 2048


def test_stage_channels_double():
    assert stage_channels("resnet101", 64) == [256, 512, 1024, 2048]
    assert stage_channels("resnet34", 64) == [64, 128, 256, 512]


def test_convolutions_start_with_kaiming_normal_weights():
    weight = encoder(width=16).encoder.stages[2].layers[0].layer[1].convolution.weight
    fan_out = weight.shape[0] * 9
    assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
