"""Moments of colours against numpy, and the distance between two domains."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from domains.metrics.colours import ColourMoments


def image(seed: int, height: int = 7) -> torch.Tensor:
    return torch.randint(256, (3, height, 9), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_moments_of_several_images_are_those_of_their_pixels():
    images = [image(0), image(1, 4), image(2, 11)]
    moments = sum(map(ColourMoments.of, images), start=ColourMoments())
    pixels = np.concatenate([each.flatten(1).numpy() for each in images], axis=1).astype(np.float64)
    assert moments.pixels == pixels.shape[1]
    assert moments.mean == pytest.approx(pixels.mean(1))
    assert moments.deviation == pytest.approx(pixels.std(1))


def test_a_domain_of_one_colour_has_no_deviation():
    moments = ColourMoments.of(torch.tensor([10, 20, 200], dtype=torch.uint8).view(3, 1, 1).expand(3, 50, 50))
    assert moments.mean == (10, 20, 200)
    assert moments.deviation == (0, 0, 0)


def test_distance_is_that_of_means_and_deviations():
    dark = ColourMoments.of(torch.tensor([0, 20]).view(1, 2, 1).expand(3, 2, 5).byte())
    light = ColourMoments.of(torch.tensor([100, 180]).view(1, 2, 1).expand(3, 2, 5).byte())
    assert dark.distance(light) == pytest.approx(math.sqrt(3 * (130**2 + 30**2)))
    assert light.distance(light) == 0
