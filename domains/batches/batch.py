"""What a step of training is given: images and labels of one micro-batch, each kind of target a type of its own.

Shapes: B images, H x W crop, K classes. Images are uint8 until they are on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LabelledImages:
    """Source images with ground truth."""

    image: Tensor
    """B x 3 x H x W; uint8 from the data set, float32 in [0, 1] on the device."""
    label: Tensor
    """B x H x W int64 class ids, 255 ignore."""


@dataclass(frozen=True)
class Images:
    """Target images. There is no label field: training cannot reach target ground truth."""

    image: Tensor
    """As in `LabelledImages`."""


@dataclass(frozen=True)
class PseudoLabelledImages:
    """Target images with the labels that the run gave them itself."""

    image: Tensor
    """As in `LabelledImages`."""
    pseudo_label: Tensor
    """B x H x W int64 class ids, 255 where no label was selected."""
    soft_label: Tensor | None = None
    """B x K x H x W probabilities that the pseudo-labels stand for, where labels are soft."""


@dataclass(frozen=True)
class Batch:
    """One worker's micro-batch."""

    source: LabelledImages
    target: Images | PseudoLabelledImages | None

    def to(self, device: torch.device) -> Batch:
        """Move to the device and turn images into float32 in [0, 1], channels last; labels into int64."""
        source = LabelledImages(_to_float(self.source.image, device), self.source.label.to(device).long())
        match self.target:
            case PseudoLabelledImages(image, label, soft):
                soft = None if soft is None else soft.to(device)
                return Batch(source, PseudoLabelledImages(_to_float(image, device), label.to(device).long(), soft))
            case Images(image):
                return Batch(source, Images(_to_float(image, device)))
        return Batch(source, None)

    def pin_memory(self) -> Batch:
        """Page-locked copy, which the loader asks for where the device is a GPU."""
        source = LabelledImages(self.source.image.pin_memory(), self.source.label.pin_memory())
        match self.target:
            case PseudoLabelledImages(image, label, soft):
                soft = None if soft is None else soft.pin_memory()
                return Batch(source, PseudoLabelledImages(image.pin_memory(), label.pin_memory(), soft))
            case Images(image):
                return Batch(source, Images(image.pin_memory()))
        return Batch(source, None)


def _to_float(image: Tensor, device: torch.device) -> Tensor:
    image = image.to(device, non_blocking=True, memory_format=torch.channels_last)
    return image.float().div_(255)
