"""Decoder that reconstructs the image from the encoder's features (Structure Enhancement; decoder of UNIT, Liu 2017).

Shapes: B batch, D feature channels, h w feature grid, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCKS = 4
"""Residual blocks; UNIT has one shared and three of each domain, here all are shared."""
SLOPE = 0.01


class Decoder(nn.Module):
    """Projection, residual blocks with instance normalisation, transposed convolutions, tanh.

    UNIT decodes 256 channels at stride 4; the projection and as many upsampling steps as the stride needs are ours.

    Args:
        in_channels: D.
        width: channels of the residual blocks (256 in UNIT); every upsampling halves them.
        stride: pixels between two feature cells, a power of 2.
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, kernel_size=1)]
        layers += [Residual(width) for _ in range(BLOCKS)]
        for _ in range(int(log2(stride))):
            after = max(1, width // 2)
            layers += [
                nn.ConvTranspose2d(width, after, kernel_size=3, stride=2, padding=1, output_padding=1),
                nn.LeakyReLU(SLOPE),
            ]
            width = after
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, kernel_size=1))

    def forward(self, features_BDhw: Tensor, size: Sequence[int]) -> Tensor:
        """Reconstructed RGB image in [-1, 1], shape (B, 3, H, W) with `size` = (H, W)."""
        image = self.layers(features_BDhw)
        # Pooling that rounds up makes 65 cells of 512 pixels, and 520 pixels of those.
        if image.shape[2:] != torch.Size(size):
            image = functional.interpolate(image, size=list(size), mode="bilinear", align_corners=False)
        return image.tanh()


class Residual(nn.Module):
    """Two 3x3 convolutions with instance normalisation beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.InstanceNorm2d(width),
        )

    def forward(self, input_BCHW: Tensor) -> Tensor:
        """Same shape as the input."""
        return input_BCHW + self.layers(input_BCHW)
