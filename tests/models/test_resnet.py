"""The dilated encoder against the ResNet of transformers, whose weights it reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.resnet.configuration_resnet import ResNetConfig
from transformers.models.resnet.modeling_resnet import ResNetModel

import models.resnet
from models.resnet import DEPTHS, Encoder, stage_channels
from models.settings import SegmenterSettings

BACKBONES = tuple(DEPTHS)


def encoder(backbone: Any = "resnet10", width: int = 4, **fields: Any) -> Encoder:
    return Encoder(SegmenterSettings(backbone=backbone, width=width, **fields)).eval()


def reference(backbone: str, output_stride: int = 32, ceil_pool: bool = False) -> ResNetModel:
    """The network of transformers, its last stages made over from stride to dilation."""
    wide = backbone == "resnet50"
    config = ResNetConfig(
        embedding_size=4,
        hidden_sizes=[16, 32, 64, 128] if wide else [4, 8, 16, 32],
        depths={"resnet18": [2, 2, 2, 2], "resnet50": [3, 4, 6, 3]}[backbone],
        layer_type="bottleneck" if wide else "basic",
    )
    network = ResNetModel(config).eval()
    network.embedder.pooler.ceil_mode = ceil_pool
    for index, dilation in {8: {2: 2, 3: 4}, 16: {3: 2}, 32: {}}[output_stride].items():
        for layer in convolutions(network.encoder.stages[index]):
            layer.stride = (1, 1)
            if layer.kernel_size == (3, 3):
                layer.dilation = layer.padding = (dilation, dilation)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            scatter(layer)
    return network


def scatter(layer: nn.BatchNorm2d) -> None:
    """Give every tensor of a normalisation values of its own, so that none can stand for another."""
    for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 1.5)


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_at_stride_32_features_equal_those_of_transformers(backbone: str):
    theirs = reference(backbone)
    ours = encoder(backbone, output_stride=32, ceil_pool=False)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    image = torch.randn(2, 3, 64, 96)
    assert torch.equal(ours(image), theirs(image).last_hidden_state)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
@pytest.mark.parametrize("stride", [8, 16])
def test_dilated_features_equal_those_of_transformers_made_over(backbone: str, stride: int):
    theirs = reference(backbone, stride, ceil_pool=True)
    ours = encoder(backbone, output_stride=stride)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    image = torch.randn(1, 3, 40, 64)
    assert torch.equal(ours(image), theirs(image).last_hidden_state)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_in_training_gradients_and_statistics_equal_those_of_transformers(backbone: str):
    theirs = reference(backbone).train()
    ours = encoder(backbone, output_stride=32, ceil_pool=False).train()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    image = torch.randn(2, 3, 64, 64)
    ours(image).square().sum().backward()
    theirs(image).last_hidden_state.square().sum().backward()
    for name, weight in theirs.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(ours.get_parameter(name).grad, weight.grad)
    for name, statistic in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), statistic)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_weights_load_into_the_network_of_transformers(backbone: str):
    ours, theirs = encoder(backbone), reference(backbone)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(theirs.state_dict()[name], tensor) for name, tensor in ours.state_dict().items())


def test_building_a_network_does_not_import_transformers():
    code = (
        "import sys; from models.build import build_segmenter; from models.settings import SegmenterSettings; "
        "build_segmenter(SegmenterSettings(backbone='resnet10', width=1), 2, seed=0); "
        "sys.exit('transformers' in sys.modules)"
    )
    root = Path(models.resnet.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


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
    network = encoder(backbone, output_stride=stride)
    for index, dilation in enumerate(expected):
        layers = convolutions(network.get_submodule(f"encoder.stages.{index}"))
        spatial = [layer for layer in layers if layer.kernel_size == (3, 3)]
        assert {layer.dilation for layer in spatial} == {(dilation, dilation)}
        assert {layer.padding for layer in spatial} == {(dilation, dilation)}
        pointwise = [layer for layer in layers if layer.kernel_size == (1, 1)]
        assert all(layer.dilation == (1, 1) and layer.padding == (0, 0) for layer in pointwise)


def test_last_stage_sees_a_lattice_of_its_dilation():
    # One basic block: two 3x3 convolutions of dilation 4 reach 8 cells, in steps of 4.
    stage = encoder(width=1).get_submodule("encoder.stages.3")
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
    weight = encoder(width=16).get_parameter("encoder.stages.2.layers.0.layer.0.convolution.weight")
    fan_out = weight.shape[0] * 9
    assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert weight.mean().item() == pytest.approx(0, abs=0.05 * (2 / fan_out) ** 0.5)


def test_normalisations_start_as_identities():
    norms = [layer for layer in encoder("resnet50").modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 53
    assert all(torch.all(layer.weight == 1) and torch.all(layer.bias == 0) for layer in norms)


def test_channels_last_stays_channels_last_and_changes_no_value():
    network, image = encoder("resnet18"), torch.randn(2, 3, 40, 64)
    expected = network(image)
    features = network.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last))  # pyright: ignore[reportCallIssue]
    assert features.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(features, expected)
