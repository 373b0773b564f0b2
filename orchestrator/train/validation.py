"""Unsupervised model selection: validation in training, without any label of the target, which a search goes by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from domains.base.samples import Labelled, Unlabelled
from domains.metrics.transfer_score import prediction_sums

METRIC = "validation"
"""Name of the score in metrics.jsonl and in the results of training stages."""


@dataclass(frozen=True)
class Validation:
    """What a training stage is validated on, and how often."""

    source: Labelled
    """Its labels give the shares of the classes."""
    target: Unlabelled
    num_classes: int
    images: int
    """Images of each domain, evenly spaced."""
    times: int

    def due(self, step: int, steps: int) -> bool:
        """Whether to validate after this step, counted from 1: evenly spaced, and always after the last."""
        return step * self.times // steps > (step - 1) * self.times // steps

    def source_counts(self, rank: int, world: int) -> Tensor:
        """Pixels of each class, float64 (K,), in the part of the source images that falls to a worker."""
        counts = torch.zeros(self.num_classes, dtype=torch.float64)
        for index in _part(len(self.source), self.images, rank, world):
            label_HW = self.source.label(index).long().clamp(max=self.num_classes)
            counts += torch.bincount(label_HW.flatten(), minlength=self.num_classes + 1)[: self.num_classes]
        return counts

    @torch.inference_mode()
    def prediction_sums(self, network: nn.Module, rank: int, world: int, device: torch.device) -> Tensor:
        """What a network in eval mode predicts for the part of the target images that falls to a worker.

        Returns:
            float64 (K + 1,), as `domains.metrics.transfer_score.prediction_sums`.
        """
        sums = torch.zeros(self.num_classes + 1, dtype=torch.float64, device=device)
        for index in _part(len(self.target), self.images, rank, world):
            image_13HW = self.target.sample(index).image.to(device)[None].float() / 255
            sums += prediction_sums(network(image_13HW.contiguous(memory_format=torch.channels_last)).logits_BKhw[0])
        return sums


def _part(available: int, wanted: int, rank: int, world: int) -> list[int]:
    """Every `world`-th of `wanted` evenly spaced positions."""
    count = min(available, wanted)
    return [number * available // count for number in range(count)][rank::world]
