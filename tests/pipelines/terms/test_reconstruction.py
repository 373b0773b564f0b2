"""Reconstruction of the images as an ingredient."""

from __future__ import annotations

import dataclasses

import torch
from torch import Generator, Tensor, nn

from models.segmenter import Prediction
from orchestrator.contract.settings import OptimiserSettings
from pipelines.terms.base import Step, View
from pipelines.terms.reconstruction import Reconstruction

MEAN = Reconstruction(0.1, "mean", 2.0, 8, OptimiserSettings())


class Grey(nn.Module):
    """Decodes every image as a grey one, which is 0 in [-1, 1]."""

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        return torch.zeros(len(features), 3, *size)


def step() -> Step:
    def view(value: float) -> View:
        image = torch.full((2, 3, 4, 4), value)
        return View(image, Prediction(image, image, image), (image,))

    return Step({"decoder": Grey()}, None, Generator(), {"source": lambda _: view(1.0), "target": lambda _: view(0.25)})  # type: ignore[arg-type]


def test_differences_of_both_domains_are_added_in_the_unit_that_is_set():
    assert MEAN.losses(step())["reconstruction"] == 2.0 * 1.0 + 2.0 * 0.5
    summed = dataclasses.replace(MEAN, reduction="sum")
    assert summed.losses(step())["reconstruction"] == 48 * (2.0 * 1.0 + 2.0 * 0.5)
    assert MEAN.weights() == {"reconstruction": 0.1}


def test_optimiser_is_told_by_the_stage_and_all_else_decides():
    assert MEAN.decides == (0.1, "mean", 2.0, 8)
    assert MEAN.optimisers() == (("decoder", OptimiserSettings()),)
