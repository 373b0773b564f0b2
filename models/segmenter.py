"""The segmentation network: image in, class scores and encoder features out.

Shapes: B batch, K classes, D E feature channels, H W pixels, h w feature grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.backbones import build_encoder
from models.deeplab import DilatedSum
from models.settings import SegmenterSettings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's red, green and blue in [0, 1]."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's red, green and blue in [0, 1]."""


class Prediction(NamedTuple):
    """What the network says of a batch of images.

    Attributes:
        logits_BKhw: class scores before softmax; `models.deeplab.upsample` brings them to full size.
        features_BDhw: output of the encoder, which the side heads read.
        middle_BEhw: output of the encoder's third stage, which may have a grid of its own, for an auxiliary classifier
            (AdaptSegNet's second level).
    """

    logits_BKhw: Tensor
    features_BDhw: Tensor
    middle_BEhw: Tensor


class Segmenter(nn.Module):
    """DeepLab-v2 with normalisation inside, so that weights and normalisation cannot be parted.

    Args:
        settings: backbone, width, stride and dilations.
        num_classes: K.
        mean: what is subtracted from red, green and blue in [0, 1].
        std: what they are then divided by.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        settings: SegmenterSettings,
        num_classes: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.register_buffer("mean", torch.empty(1, 3, 1, 1))
        self.register_buffer("std", torch.empty(1, 3, 1, 1))
        self.normalise_with(mean, std)
        self.num_classes = num_classes
        self.encoder = build_encoder(settings)
        self.classifier = DilatedSum(self.encoder.channels, num_classes, settings.dilations)

    def normalise_with(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Subtract `mean` from red, green and blue in [0, 1], and divide by `std`, from now on."""
        for name, values in (("mean", mean), ("std", std)):
            self.get_buffer(name).copy_(torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, image_B3HW: Tensor) -> Prediction:
        """Score every feature cell.

        Args:
            image_B3HW: RGB, floating point, in [0, 1].

        Returns:
            Scores and features, both on the feature grid.

        Raises:
            ValueError: if the image is not a batch of three floating-point channels.
        """
        if image_B3HW.ndim != 4 or image_B3HW.shape[1] != 3 or not image_B3HW.is_floating_point():
            raise ValueError(
                "image must be floating point of shape (B, 3, H, W) with values in [0, 1], "
                f"got {image_B3HW.dtype} of shape {tuple(image_B3HW.shape)}"
            )
        *_, middle_BEhw, features_BDhw = self.encoder.levels((image_B3HW - self.mean) / self.std)
        return Prediction(self.classifier(features_BDhw), features_BDhw, middle_BEhw)

    def parameter_groups(self, lr: float, head_multiplier: float = 10.0) -> list[dict[str, Any]]:
        """Groups for an optimiser: the encoder at `lr`, the classifier at `head_multiplier` times that."""
        return [
            {"name": "encoder", "params": list(self.encoder.parameters()), "lr": lr},
            {"name": "classifier", "params": list(self.classifier.parameters()), "lr": lr * head_multiplier},
        ]


def set_train_mode(
    module: nn.Module, batchnorm: Literal["train", "eval"], affine: Literal["trained", "frozen"] = "trained"
) -> None:
    """Put a network in training mode, its batch normalisation in the given one.

    In "eval" mode the layers apply their running statistics and leave them as they are (CBST, CRST, DRSL); with
    "frozen" affine parameters their scale and shift get no gradient (AdaptSegNet, CRST).
    `Module.train()` undoes the mode: call the function in its place, e.g. after every evaluation.
    """
    module.train()
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.train(batchnorm == "train")
            for parameter in layer.parameters():
                parameter.requires_grad_(affine == "trained")
