"""Networks that translate images between two domains (CycleGAN, Zhu et al. 2017): generators and PatchGANs.

Shapes: B batch, C channels, H W pixels, h w the PatchGAN's own grid. Images are RGB in [0, 1], as everywhere; that
the networks work in [-1, 1] is part of them.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from models.discriminator import SLOPE

EDGE = 3
"""Pixels that the first and the last convolution of a generator look to each side."""


class Generator(nn.Module):
    """Convolution, strided convolutions, residual blocks, transposed convolutions, convolution (paper, Sec. 7.2).

    c7s1-64, d128, d256, R256 x N, u128, u64, c7s1-3 with reflection padding and instance normalisation. No pixel moves:
    a translation has the geometry of its image, whatever its size.

    Args:
        width: channels after the first convolution; every halving of the size doubles them.
        blocks: residual blocks (paper: 6 for 128 x 128 pixels, 9 for 256 x 256 and more).
        halvings: strided convolutions (paper: 2).
    """

    def __init__(self, width: int = 64, blocks: int = 9, halvings: int = 2) -> None:
        super().__init__()
        self.stride = 2**halvings
        channels = [width * 2**level for level in range(halvings + 1)]
        layers: list[nn.Module] = [nn.ReflectionPad2d(EDGE), nn.Conv2d(3, width, 2 * EDGE + 1, bias=False)]
        layers += _normalised(width)
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), *_normalised(after)]
        layers += [MirroredResidual(channels[-1]) for _ in range(blocks)]
        for before, after in pairwise(channels[::-1]):
            layers.append(nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1, bias=False))
            layers += _normalised(after)
        layers += [nn.ReflectionPad2d(EDGE), nn.Conv2d(width, 3, 2 * EDGE + 1)]
        self.layers = nn.Sequential(*layers)
        self.apply(_start)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """The translation of each image, B x 3 x H x W in [0, 1]; H and W of at least 8, and of 2 cells (8)."""
        height, width = image_B3HW.shape[2:]
        # Sizes that the stride does not divide are mirrored up to it at the right and the bottom, and cut again.
        missing = (0, -width % self.stride, 0, -height % self.stride)
        moved = self.layers(F.pad(2 * image_B3HW - 1, missing, mode="reflect")).tanh()
        return (moved[:, :, :height, :width] + 1) / 2


class MirroredResidual(nn.Module):
    """Two 3x3 convolutions with instance normalisation beside the identity; borders are mirrored."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=False),
            *_normalised(width),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=False),
            nn.InstanceNorm2d(width),
        )

    def forward(self, input_BCHW: Tensor) -> Tensor:
        """Same shape as the input."""
        return input_BCHW + self.layers(input_BCHW)


class PatchGan(nn.Module):
    """4x4 convolutions that tell patches of real images from those of translated ones (PatchGAN, Isola et al. 2017).

    C64-C128-C256-C512 and one score a patch: of stride 2 but for the last two. With three strided layers a score sees
    70 x 70 pixels, with two 34, with one 16.

    Args:
        width: channels after the first convolution; they double up to eight times that.
        layers: strided convolutions.
    """

    def __init__(self, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        channels = [3, *(width * 2 ** min(level, 3) for level in range(layers + 1))]
        found: list[nn.Module] = []
        for level, (before, after) in enumerate(pairwise(channels)):
            first, stride = level == 0, 2 if level < layers else 1
            found.append(nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=first))
            found += [*([] if first else [nn.InstanceNorm2d(after)]), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*found, nn.Conv2d(channels[-1], 1, 4, padding=1))
        self.apply(_start)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Scores B x 1 x h x w, for images of at least 3 * 2^layers pixels a side; 1 stands for "real"."""
        return self.layers(2 * image_B3HW - 1)


def _normalised(channels: int) -> list[nn.Module]:
    # It subtracts the mean of each channel: the convolutions before it have no bias.
    return [nn.InstanceNorm2d(channels), nn.ReLU()]


def _start(module: nn.Module) -> None:
    """Weights from a normal distribution of deviation 0.02 (paper, Sec. 7.1)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def smallest_side(halvings: int, layers: int) -> int:
    """Pixels a side below which a generator or a PatchGAN of these depths has nothing to normalise over."""
    return max(2 * 2**halvings, EDGE + 1, 3 * 2**layers)
