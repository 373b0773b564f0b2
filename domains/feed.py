"""Micro-batches by number: what a training step reads is a function of (seed, stage, step, rank) alone.

Shapes: B images, H x W crop. Images are uint8 until they are on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from domains.sampler import EpochShuffle, generator
from domains.samples import Labelled, PseudoLabelled, Unlabelled
from domains.transforms import RandomCrop


@dataclass(frozen=True)
class LabelledImages:
    """Source images with ground truth."""

    image: Tensor
    """B x 3 x H x W; uint8 from the feed, float32 in [0, 1] on the device."""
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


@dataclass(frozen=True)
class Batch:
    """One worker's micro-batch."""

    source: LabelledImages
    target: Images | PseudoLabelledImages | None

    def to(self, device: torch.device) -> Batch:
        """Move to the device and turn images into float32 in [0, 1], channels last; labels into int64."""
        source = LabelledImages(_to_float(self.source.image, device), self.source.label.to(device).long())
        match self.target:
            case PseudoLabelledImages(image, label):
                return Batch(source, PseudoLabelledImages(_to_float(image, device), label.to(device).long()))
            case Images(image):
                return Batch(source, Images(_to_float(image, device)))
        return Batch(source, None)

    def pin_memory(self) -> Batch:
        """Page-locked copy, which the loader asks for where the device is a GPU."""
        source = LabelledImages(self.source.image.pin_memory(), self.source.label.pin_memory())
        match self.target:
            case PseudoLabelledImages(image, label):
                return Batch(source, PseudoLabelledImages(image.pin_memory(), label.pin_memory()))
            case Images(image):
                return Batch(source, Images(image.pin_memory()))
        return Batch(source, None)


class Feed(Dataset[Batch]):
    """The micro-batches of one stage, by number.

    Micro-batch m holds the source positions m * B ... m * B + B - 1 of an endless sequence of shuffled epochs (the
    target likewise), and each image's crop is drawn from (key, domain, position). So two workers with one
    micro-batch each read what one worker with two accumulated micro-batches reads.

    Args:
        source: labelled source domain.
        target: target domain without ground truth, or None where the stage uses the source alone.
        crop: scale, flip and crop, applied with a generator of its own for each image.
        batch: (source, target) images in a micro-batch.
        key: (seed, stage name).
        translated: translated copies of the source images by the same index (input space adaptation), or None.
        translated_ratio: probability that a draw takes the translated copy.
    """

    def __init__(
        self,
        source: Labelled,
        target: Unlabelled | PseudoLabelled | None,
        crop: RandomCrop,
        batch: tuple[int, int],
        key: tuple[int, str],
        translated: Unlabelled | None = None,
        translated_ratio: float = 0.0,
    ) -> None:
        self.source, self.target, self.crop, self.batch, self.key = source, target, crop, batch, key
        self.translated, self.translated_ratio = translated, translated_ratio
        self._source_order = EpochShuffle(len(source), (*key, "source"))
        self._target_order = EpochShuffle(len(target), (*key, "target")) if target else None

    def __getitem__(self, micro: int) -> Batch:
        """Micro-batch `micro`, on the host."""
        source = [self._source_at(micro * self.batch[0] + j) for j in range(self.batch[0])]
        images, labels = zip(*source, strict=True)
        return Batch(LabelledImages(torch.stack(images), torch.stack(labels)), self._target_batch(micro))

    def _source_at(self, position: int) -> tuple[Tensor, Tensor]:
        draw = generator(*self.key, "source", position)
        index = self._source_order[position]
        sample = self.source.sample(index)
        image = sample.image
        if self.translated and torch.rand((), generator=draw) < self.translated_ratio:
            image = self.translated.sample(index).image
        image, label = self.crop(image, sample.label, draw)
        assert label is not None
        return image, label

    def _target_batch(self, micro: int) -> Images | PseudoLabelledImages | None:
        if self.target is None or self._target_order is None:
            return None
        images, labels = [], []
        for position in range(micro * self.batch[1], (micro + 1) * self.batch[1]):
            sample = self.target.sample(self._target_order[position])
            given = getattr(sample, "pseudo_label", None)
            image, label = self.crop(sample.image, given, generator(*self.key, "target", position))
            images.append(image)
            labels.append(label)
        if labels[0] is None:
            return Images(torch.stack(images))
        return PseudoLabelledImages(torch.stack(images), torch.stack(labels))


def _to_float(image: Tensor, device: torch.device) -> Tensor:
    image = image.to(device, non_blocking=True, memory_format=torch.channels_last)
    return image.float().div_(255)
