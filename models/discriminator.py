"""Discriminators that tell from a map over classes which domain it was predicted on.

Shapes: B batch, K classes, H W pixels, h w their own grid. Scores are logits: above 0 means "source".
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

SLOPE = 0.2
"""Of the leaky rectifiers, in both papers."""


class PatchDiscriminator(nn.Module):
    """Five 4x4 convolutions of stride 2 (AdaptSegNet, Tsai et al. 2018): a score sees 94 x 94 pixels.

    Args:
        num_classes: K.
        width: channels after the first convolution; they double three times.
    """

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        channels = [num_classes, width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, kernel_size=4, stride=2, padding=1))

    def forward(self, map_BKHW: Tensor) -> Tensor:
        """Scores B x 1 x h x w, a 32nd of the size; H and W of at least 32."""
        return self.layers(map_BKHW)


class AsppDiscriminator(nn.Module):
    """Convolution, four parallel dilated ones, convolution (Structure Enhancement): a score sees 20 x 20 pixels.

    The paper gives the layers and the rates 1 to 4; widths, strides and the joining of the branches are ours.

    Args:
        num_classes: K.
        width: channels after the first convolution; each branch has twice as many.
    """

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_classes, width, kernel_size=4, stride=2, padding=1)
        self.branches = nn.ModuleList(
            nn.Conv2d(width, 2 * width, kernel_size=3, dilation=rate, padding=rate) for rate in (1, 2, 3, 4)
        )
        self.last = nn.Conv2d(8 * width, 1, kernel_size=1)
        self.rectify = nn.LeakyReLU(SLOPE)

    def forward(self, map_BKHW: Tensor) -> Tensor:
        """Scores B x 1 x h x w, half the size."""
        hidden = self.rectify(self.first(map_BKHW))
        return self.last(self.rectify(torch.cat([branch(hidden) for branch in self.branches], dim=1)))


def frozen(network: nn.Module) -> Callable[..., Any]:
    """The network as a fixed function: gradients reach its input, never its weights, and its buffers stay.

    Works on a network that is wrapped for data-parallel training too, since it leaves the wrapper out: switching
    `requires_grad` off for a while would upset the wrapper's count of gradients.
    """
    module = unwrapped(network)
    fixed = {name: value.detach() for name, value in module.named_parameters()}
    fixed |= {name: value.clone() for name, value in module.named_buffers()}
    return lambda *inputs: functional_call(module, fixed, inputs)


def unwrapped(network: nn.Module) -> nn.Module:
    """The network itself, where it may be wrapped for data-parallel training."""
    module = getattr(network, "module", network)
    assert isinstance(module, nn.Module)
    return module
