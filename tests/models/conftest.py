"""Tests of the networks draw the same numbers every time, and share tiny random ResNets as others write them.

Those have modules of their own, so that our naming is checked by what they compute.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.resnet.configuration_resnet import ResNetConfig
from transformers.models.resnet.modeling_resnet import ResNetModel


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


DEPTHS = {"resnet18": [2, 2, 2, 2], "resnet50": [3, 4, 6, 3]}
WIDTH = 4


class TorchvisionBlock(nn.Module):
    """A residual block under the names of torchvision and timm."""

    def __init__(self, before: int, after: int, stride: int, wide: bool) -> None:
        super().__init__()
        inner = after // 4 if wide else after
        plan = [(before, inner, 1), (inner, inner, 3), (inner, after, 1)] if wide else [(before, after, 3)]
        plan += [] if wide else [(after, after, 3)]
        strided = 1 if wide else 0
        self.count = len(plan)
        for number, (i, o, kernel) in enumerate(plan):
            step = stride if number == strided else 1
            self.add_module(f"conv{number + 1}", nn.Conv2d(i, o, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{number + 1}", nn.BatchNorm2d(o))
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.downsample(x) if self.downsample else x
        for number in range(1, self.count + 1):
            x = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(x))
            x = F.relu(x) if number < self.count else x
        return F.relu(x + shortcut)


class TorchvisionResNet(nn.Module):
    """Stride 32, with the classifier that weights come with; returns the features before it."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        wide = backbone == "resnet50"
        self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        before = WIDTH
        for stage, depth in enumerate(DEPTHS[backbone]):
            after = WIDTH * 2**stage * (4 if wide else 1)
            strides = [2 if stage else 1] + [1] * (depth - 1)
            blocks = [TorchvisionBlock(before if not n else after, after, s, wide) for n, s in enumerate(strides)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            before = after
        self.fc = nn.Linear(before, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x


def scatter(network: nn.Module) -> None:
    """Values of its own for every tensor of a normalisation, so that none can stand for another."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)


class Public:
    """Networks of stride 32 whose first stage has four channels (sixteen in wide blocks), in evaluation mode."""

    width = WIDTH

    def torchvision(self, backbone: str) -> TorchvisionResNet:
        network = TorchvisionResNet(backbone).eval()
        scatter(network)
        return network

    def transformers(self, backbone: str, kind: type = ResNetModel) -> Any:
        wide = backbone == "resnet50"
        config = ResNetConfig(
            embedding_size=WIDTH,
            hidden_sizes=[WIDTH * 2**stage * (4 if wide else 1) for stage in range(4)],
            depths=DEPTHS[backbone],
            layer_type="bottleneck" if wide else "basic",
        )
        network = kind(config).eval()
        scatter(network)
        return network

    def caffe(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """As AdaptSegNet's initial network names them: no counters, and a classifier of another size."""
        kept = {f"Scale.{k}": v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
        kept["Scale.layer5.conv2d_list.0.weight"] = torch.zeros(21, 8, 3, 3)
        return kept


@pytest.fixture
def public() -> Public:
    return Public()
