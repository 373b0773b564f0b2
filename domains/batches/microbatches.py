"""Micro-batches as a data set: what a training step reads is a function of (seed, stage, step, rank) alone.

Shapes: B images, H x W crop. Images are uint8 until they are on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from domains.base.samples import Labelled, Unlabelled
from domains.batches.batch import Batch, Images, LabelledImages, PseudoLabelledImages
from domains.batches.crop import RandomCrop
from domains.batches.order import EpochShuffle, generator
from domains.stores.pseudo_labels import PseudoLabelled, PseudoLabelledSample


@dataclass(frozen=True)
class Mining:
    """Target crops around rare classes (CRST's public code)."""

    classes: tuple[int, ...]
    """Ids of the rare classes."""
    chance: float
    """Probability that the crop of an image with labels of such a class is centred on one of its pixels."""


class MicroBatches(Dataset[Batch]):
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
        source_share: share of the source images that take part, drawn anew for each key.
        mining: where target crops lie, or None: anywhere.
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
        source_share: float = 1.0,
        mining: Mining | None = None,
    ) -> None:
        self.source, self.target, self.crop, self.batch, self.key = source, target, crop, batch, key
        self.translated, self.translated_ratio, self.mining = translated, translated_ratio, mining
        self._chosen = chosen(len(source), source_share, key)
        self._source_order = EpochShuffle(len(self._chosen), (*key, "source"))
        self._target_order = EpochShuffle(len(target), (*key, "target")) if target else None

    def __getitem__(self, micro: int) -> Batch:
        """Micro-batch `micro`, on the host."""
        source = [self._source_at(micro * self.batch[0] + j) for j in range(self.batch[0])]
        images, labels = zip(*source, strict=True)
        return Batch(LabelledImages(torch.stack(images), torch.stack(labels)), self._target_batch(micro))

    def ids(self, micro: int) -> tuple[list[str], list[str]]:
        """Ids of the source and target images of micro-batch `micro`; decodes them to find out."""
        source, target = (range(micro * size, (micro + 1) * size) for size in self.batch)
        shown = [self.source.sample(self._chosen[self._source_order[position]]).id for position in source]
        if self.target is None or self._target_order is None:
            return shown, []
        return shown, [self.target.sample(self._target_order[position]).id for position in target]

    def _source_at(self, position: int) -> tuple[Tensor, Tensor]:
        draw = generator(*self.key, "source", position)
        index = self._chosen[self._source_order[position]]
        sample = self.source.sample(index)
        image = sample.image
        if self.translated and torch.rand((), generator=draw) < self.translated_ratio:
            image = self.translated.sample(index).image
        return self.crop(image, sample.label, draw)

    def _target_batch(self, micro: int) -> Images | PseudoLabelledImages | None:
        if self.target is None or self._target_order is None:
            return None
        images, labels, soft = [], [], []
        for position in range(micro * self.batch[1], (micro + 1) * self.batch[1]):
            sample = self.target.sample(self._target_order[position])
            draw = generator(*self.key, "target", position)
            labelled = isinstance(sample, PseudoLabelledSample)
            centre = self._rare_pixel(sample.pseudo_label, draw) if labelled else None
            cut = self.crop.draw((sample.image.shape[1], sample.image.shape[2]), draw, centre)
            images.append(self.crop.image(sample.image, cut))
            if labelled:
                labels.append(self.crop.label(sample.pseudo_label, cut))
                soft += [self.crop.soft_label(sample.soft_label, cut)] if sample.soft_label else []
        if not labels:
            return Images(torch.stack(images))
        return PseudoLabelledImages(torch.stack(images), torch.stack(labels), torch.stack(soft) if soft else None)

    def _rare_pixel(self, label_HW: Tensor, draw: torch.Generator) -> tuple[int, int] | None:
        """A pixel for the middle of the crop: of a rare class that the image shows, and in it, both uniformly."""
        if self.mining is None or torch.rand((), generator=draw) >= self.mining.chance:
            return None
        shown = [rare for rare in self.mining.classes if (label_HW == rare).any()]
        if not shown:
            return None
        places = (label_HW == shown[_below(len(shown), draw)]).nonzero()
        row, column = places[_below(len(places), draw)].tolist()
        return row, column


def chosen(count: int, share: float, key: tuple[int, str]) -> list[int]:
    """The images that a stage uses: a share of them (at least one), drawn from the key; all in order where it is 1."""
    if share >= 1:
        return list(range(count))
    order = EpochShuffle(count, (*key, "chosen"))
    return [order[position] for position in range(max(1, round(share * count)))]


def _below(limit: int, draw: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=draw))
