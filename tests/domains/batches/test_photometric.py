"""Random colour and blur of a batch."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch

from domains.base.settings import AugmentSettings
from domains.batches.order import generator
from domains.batches.photometric import photometric


def settings(probability: float = 1.0, **strengths: float) -> AugmentSettings:
    return AugmentSettings(crop_height=8, crop_width=8, photometric_probability=probability, **strengths)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def images() -> torch.Tensor:
    return 0.3 + 0.4 * torch.rand((6, 3, 12, 14), generator=generator("images"))


def draws(key: str, batch: int) -> torch.Tensor:
    """The uniform numbers that a call with this key uses, in [-1, 1] but for the first row."""
    return 2 * torch.rand((7, batch), generator=generator(key)) - 1


def grey(image: torch.Tensor) -> torch.Tensor:
    return (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(-3, keepdim=True)


ALL = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1, "gamma": 0.3, "blur": 1.0}


def test_strength_zero_or_probability_zero_changes_nothing(images):
    assert torch.equal(photometric(images, settings(), generator("a")), images)
    assert torch.equal(photometric(images, settings(0.0, **ALL), generator("a")), images)


def test_brightness_multiplies_each_image_by_its_own_factor(images):
    out = photometric(images, settings(brightness=0.2), generator("b"))
    factor = 1 + 0.2 * draws("b", 6)[1]
    assert torch.allclose(out, images * factor.view(-1, 1, 1, 1), atol=1e-6)
    assert factor.unique().numel() == 6


def test_contrast_stretches_around_the_mean_grey(images):
    out = photometric(images, settings(contrast=0.2), generator("c"))
    factor = (1 + 0.2 * draws("c", 6)[2]).view(-1, 1, 1, 1)
    mean = grey(images).mean((-2, -1), keepdim=True)
    assert torch.allclose(out, mean + factor * (images - mean), atol=1e-5)


def test_gamma_is_a_power(images):
    out = photometric(images, settings(gamma=0.5), generator("g"))
    power = torch.exp(0.5 * draws("g", 6)[3]).view(-1, 1, 1, 1)
    assert torch.allclose(out, images**power, atol=1e-6)


def test_saturation_moves_away_from_grey(images):
    out = photometric(images, settings(saturation=0.3), generator("s"))
    factor = (1 + 0.3 * draws("s", 6)[4]).view(-1, 1, 1, 1)
    assert torch.allclose(out, grey(images) + factor * (images - grey(images)), atol=1e-5)


def test_hue_turns_the_colour_circle(images):
    out = photometric(images, settings(hue=0.25), generator("h"))
    turn = 0.25 * draws("h", 6)[5]
    for b in range(6):
        for y, x in ((0, 0), (5, 7)):
            hue, saturation, value = colorsys.rgb_to_hsv(*images[b, :, y, x].tolist())
            expected = colorsys.hsv_to_rgb((hue + float(turn[b])) % 1.0, saturation, value)
            assert np.allclose(out[b, :, y, x], expected, atol=1e-4)


def test_blur_is_a_gaussian_of_the_drawn_width():
    impulse = torch.zeros((2, 3, 31, 31))
    impulse[:, :, 15, 15] = 1.0
    out = photometric(impulse, settings(blur=2.0), generator("blur"))
    for b in range(2):
        sigma = 0.1 + float(draws("blur", 2)[6, b] + 1) / 2 * 1.9
        reach = math.ceil(2.5 * 2.0)
        axis = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        axis /= axis.sum()
        window = out[b, 0, 15 - reach : 16 + reach, 15 - reach : 16 + reach]
        assert np.allclose(window, np.outer(axis, axis), atol=1e-5)


def test_output_stays_in_range_and_the_input_is_left_alone():
    images = torch.rand((4, 3, 10, 10), generator=generator("range"))
    before = images.clone()
    strong = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5, "gamma": 2.0, "blur": 3.0}
    out = photometric(images, settings(**strong), generator("strong"))
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.isfinite(out).all()
    assert torch.equal(images, before)


def test_only_the_chosen_share_changes_and_the_rest_is_equal_bit_for_bit():
    images = torch.rand((200, 3, 4, 4), generator=generator("share"))
    out = photometric(images, settings(0.5, **ALL), generator("half"))
    changed = (out != images).flatten(1).any(1)
    assert torch.equal(changed, torch.rand((7, 200), generator=generator("half"))[0] < 0.5)


def test_the_draws_follow_from_the_generator_and_not_from_the_strengths(images):
    used, other = generator("stream"), generator("stream")
    photometric(images, settings(**ALL), used)
    photometric(images, settings(), other)
    assert torch.equal(torch.rand(3, generator=used), torch.rand(3, generator=other))
    first = photometric(images, settings(**ALL), generator("x"))
    assert torch.equal(first, photometric(images, settings(**ALL), generator("x")))


def test_mixed_precision_does_not_reach_the_colours(images):
    plain = photometric(images, settings(**ALL), generator("amp"))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = photometric(images, settings(**ALL), generator("amp"))
    assert mixed.dtype == torch.float32
    assert torch.equal(plain, mixed)
