"""Weights in place of pretrained ones that are not here: random, of the same shape, and as well-tempered.

A random ResNet whose batch normalisation keeps its first averages doubles the variance of its features in every block
and overflows in half precision; here the averages are those of an image.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from models.backbones import build_encoder
from models.settings import SegmenterSettings, family_of
from models.weights import WEIGHTS

SIDE = 129
"""Side in pixels of the image that the averages come from."""


def write_placeholder_weights(settings: SegmenterSettings, folder: Path) -> bool:
    """Write weights that `settings.weights` can name.

    Args:
        settings: backbone and width; others than ResNets need no placeholder, since they keep no averages.
        folder: made where it is missing.

    Returns:
        Whether there are any.
    """
    if family_of(settings.backbone) != "resnet":
        return False
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        encoder = build_encoder(settings).train()
        for layer in encoder.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the plain mean of what is seen, which is one batch
        with torch.no_grad():
            encoder(torch.randn(2, 3, SIDE, SIDE))
    folder.mkdir(parents=True, exist_ok=True)
    save_file({f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}, folder / WEIGHTS)
    return True
