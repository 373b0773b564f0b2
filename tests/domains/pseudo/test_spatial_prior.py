"""Where the source shows its classes, and the prior that follows (CBST-SP)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from domains.batches.order import generator
from domains.pseudo.spatial_prior import CELLS, count_places, log_spatial_prior, shares, with_prior

K = 3


def labels(count: int, height: int = 70, width: int = 130) -> list[torch.Tensor]:
    found = [torch.randint(0, K, (height, width), generator=generator("statistics", i)) for i in range(count)]
    for label in found:
        label[:9, :20] = 255
    return [label.to(torch.uint8) for label in found]


def test_every_pixel_is_counted_in_its_cell():
    (label,) = labels(1)
    slow = np.zeros((K, *CELLS), dtype=np.int64)
    for row in range(70):
        for column in range(130):
            if label[row, column] != 255:
                slow[label[row, column], row * CELLS[0] // 70, column * CELLS[1] // 130] += 1
    found = count_places(label, K)
    assert found.dtype == np.int64
    assert np.array_equal(found, slow)
    assert found.sum() == 70 * 130 - 180


def test_images_of_different_sizes_add_up():
    counts = sum(count_places(label, K) for label in (*labels(2), *labels(1, 33, 64)))
    assert isinstance(counts, np.ndarray)
    assert counts.sum() == 2 * (70 * 130 - 180) + 33 * 64 - 180


def test_prior_is_the_frequency_at_a_place_over_its_mean():
    counts = np.zeros((K, *CELLS), dtype=np.int64)
    counts[0, :16] = 999_999  # the upper half is of class 0, the lower of class 1
    counts[1, 16:] = 999_999
    prior = log_spatial_prior(counts).exp()
    torch.testing.assert_close(prior[0, :16], torch.full((16, 64), 2.0))
    assert prior[0, 16:].max() < 1e-5
    torch.testing.assert_close(prior[2], torch.ones(CELLS))  # never shown: as likely everywhere


def test_prior_compares_what_was_counted_with_what_an_even_spread_would_give():
    counts = np.random.default_rng(0).integers(0, 50, (K, *CELLS)) * (np.arange(K) == 0)[:, None, None]
    counts += np.random.default_rng(1).poisson(0.3, counts.shape)
    prior = log_spatial_prior(counts)
    for c, row, column in ((0, 0, 0), (1, 5, 7), (2, 31, 63)):
        expected = counts[c].sum() / counts.sum() * counts[:, row, column].sum()
        assert prior[c, row, column].item() == pytest.approx(math.log((counts[c, row, column] + 1) / (expected + 1)))


def test_places_without_labels_have_no_say_anywhere():
    """A pixel of motorcycle 0.90 and road 0.10 stays what it is where the source shows both as often as elsewhere."""
    counts = np.zeros((19, *CELLS), dtype=np.int64)
    counts[0], counts[17], counts[2] = 3000, 10, 6990
    counts[:, 26:] = 0  # the rows of a bonnet
    prior = log_spatial_prior(counts)
    assert prior[:, 26:].eq(0).all()
    logits = torch.full((19, *CELLS), -30.0)
    logits[17], logits[0] = math.log(0.9), math.log(0.1)
    found = with_prior(logits, prior).softmax(0)
    torch.testing.assert_close(found[17], torch.full(CELLS, 0.9))
    torch.testing.assert_close(found[0], torch.full(CELLS, 0.1))


def test_few_labels_at_a_place_say_little_of_it():
    counts = np.zeros((19, *CELLS), dtype=np.int64)
    counts[0], counts[17] = 10_000, 10
    counts[:, 0, 0] = 0
    counts[0, 0, 0] = 1
    assert log_spatial_prior(counts)[:, 0, 0].abs().max() < 0.01


def test_product_with_the_prior_is_a_probability_again():
    logits = torch.randn(K, *CELLS, generator=generator("logits"))
    prior = torch.randn(K, *CELLS, generator=generator("prior"))
    product = logits.softmax(0) * prior.exp()
    found = with_prior(logits, prior).softmax(0)
    torch.testing.assert_close(found, product / product.sum(0, keepdim=True))


def test_prior_follows_the_grid_of_the_logits():
    counts = np.zeros((K, *CELLS), dtype=np.int64)
    counts[0, :, :32] = counts[1, :, 32:] = 1000
    found = with_prior(torch.zeros(K, 8, 10), log_spatial_prior(counts))
    assert (found[0, :, :4] > found[0, :, 6:]).all()


def test_shares_are_of_the_labelled_pixels():
    counts = np.zeros((K, *CELLS), dtype=np.int64)
    counts[0, 0, 0], counts[2, 3, 3] = 30, 10
    assert shares(counts).tolist() == [0.75, 0.0, 0.25]
    assert shares(np.zeros_like(counts)).tolist() == [0, 0, 0]
