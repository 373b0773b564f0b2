"""Input space adaptation: colour moments, low frequencies, and which images are replaced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kornia.color import rgb_to_lab

from domains.base.settings import IsaSettings
from domains.batches.order import generator
from domains.batches.style_transfer import fourier_transfer, mix_translated, statistics_transfer


@pytest.fixture
def source() -> torch.Tensor:
    return 0.45 + 0.1 * torch.rand((3, 3, 20, 26), generator=generator("source"))


@pytest.fixture
def target() -> torch.Tensor:
    tint = torch.tensor([0.05, 0.0, -0.05]).view(3, 1, 1)
    return 0.4 + tint + 0.15 * torch.rand((3, 3, 20, 26), generator=generator("target"))


def moments(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    lab = rgb_to_lab(image)
    return lab.mean((-2, -1)), lab.std((-2, -1), correction=0)


def fda(source: np.ndarray, target: np.ndarray, beta: float) -> np.ndarray:
    """The slow form of Yang & Soatto: full spectrum, centred, one channel at a time."""
    out = np.empty_like(source)
    height, width = source.shape[1:]
    reach = int(np.floor(beta * min(height, width)))
    for channel in range(3):
        spectrum = np.fft.fftshift(np.fft.fft2(source[channel]))
        other = np.fft.fftshift(np.fft.fft2(target[channel]))
        amplitude, phase = np.abs(spectrum), np.angle(spectrum)
        y, x = height // 2, width // 2
        box = slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1)
        amplitude[box] = np.abs(other)[box]
        out[channel] = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phase))).real
    return np.clip(out, 0, 1)


def test_lab_moments_become_those_of_the_target(source, target):
    moved = statistics_transfer(source, target)
    for got, wanted in zip(moments(moved), moments(target), strict=True):
        assert torch.allclose(got, wanted, atol=2e-2)
    assert (moments(source)[0] - moments(target)[0]).abs().max() > 2


def test_statistics_of_the_image_itself_change_nothing(source):
    assert torch.allclose(statistics_transfer(source, source), source, atol=1e-4)


def test_statistics_are_a_map_of_colours_so_equal_pixels_stay_equal(source, target):
    source[:, :, 3, 4] = source[:, :, 15, 20]
    moved = statistics_transfer(source, target)
    assert torch.equal(moved[:, :, 3, 4], moved[:, :, 15, 20])


def test_statistics_commute_with_mirroring_since_no_pixel_moves(source, target):
    moved = statistics_transfer(source, target)
    assert torch.allclose(statistics_transfer(source.flip(-1), target), moved.flip(-1), atol=1e-4)
    assert torch.allclose(statistics_transfer(source, target.flip(-2)), moved, atol=1e-4)


def test_a_flat_or_grey_source_takes_the_mean_without_amplified_noise(target):
    flat = statistics_transfer(torch.full_like(target, 0.5), target)
    assert flat.std((-2, -1)).max() < 1e-4
    grey = 0.3 + 0.4 * torch.rand((3, 1, 20, 26), generator=generator("grey"))
    moved = rgb_to_lab(statistics_transfer(grey.expand(-1, 3, -1, -1), target))
    assert moved[:, 1:].std((-2, -1)).max() < 1.0


def test_the_size_of_the_reference_does_not_matter_but_its_colours_do(source, target):
    small = target[..., :3, :4]
    moved = statistics_transfer(source, small)
    assert moved.shape == source.shape
    assert torch.allclose(statistics_transfer(source, small.repeat(1, 1, 2, 3)), moved, atol=1e-5)


@pytest.mark.parametrize("beta", [0.01, 0.05, 0.2, 0.45])
@pytest.mark.parametrize("size", [(20, 26), (19, 26), (20, 25), (26, 19)])
def test_fourier_equals_the_slow_full_spectrum_form(beta, size):
    a = torch.rand((2, 3, *size), generator=generator("a"), dtype=torch.float64)
    b = torch.rand((2, 3, *size), generator=generator("b"), dtype=torch.float64)
    moved = fourier_transfer(a, b, beta)
    for i in range(2):
        assert np.allclose(moved[i], fda(a[i].numpy(), b[i].numpy(), beta), atol=1e-5)


def test_fourier_of_the_image_itself_or_with_beta_zero_changes_nothing(source, target):
    assert torch.equal(fourier_transfer(source, target, 0.0), source)
    assert torch.allclose(fourier_transfer(source, source, 0.3), source, atol=1e-5)


def test_the_smallest_square_swaps_the_mean_alone(source, target):
    moved = fourier_transfer(source, target, 0.01)
    shift = (target - source).mean((-2, -1), keepdim=True)
    assert torch.allclose(moved, source + shift, atol=1e-5)


def test_fourier_keeps_the_phase_of_the_source(source, target):
    moved = fourier_transfer(source, target, 0.1)
    turn = torch.fft.rfft2(moved) * torch.fft.rfft2(source).conj()
    assert (moved.min() > 0) & (moved.max() < 1)  # nothing was clamped, so the phases are untouched
    assert turn.imag.abs().max() < 1e-3 * turn.abs().max()
    assert turn.real.min() > -1e-3


def test_bad_fourier_arguments_are_refused(source, target):
    with pytest.raises(ValueError, match=r"0.6"):
        fourier_transfer(source, target, 0.6)
    with pytest.raises(ValueError, match="one shape"):
        fourier_transfer(source, target[..., :10], 0.1)


def test_mixing_replaces_the_drawn_images_by_translations_to_the_drawn_references():
    source = 0.4 + 0.2 * torch.rand((64, 3, 8, 8), generator=generator("many"))
    target = 0.3 + 0.4 * torch.rand((5, 3, 8, 8), generator=generator("few"))
    mixed = mix_translated(source, target, IsaSettings(ratio=0.5), generator("mix"))
    stream = generator("mix")
    drawn = torch.rand(64, generator=stream) < 0.5
    reference = torch.randint(5, (64,), generator=stream)
    moved = statistics_transfer(source, target[reference])
    assert torch.equal(mixed[~drawn], source[~drawn])
    assert torch.allclose(mixed[drawn], moved[drawn], atol=1e-5)
    assert (mixed[drawn] != source[drawn]).flatten(1).any(1).all()
    assert 12 < int(drawn.sum()) < 52


@pytest.mark.parametrize("kind", ["none", "folder"])
def test_without_an_online_translator_the_source_passes_through(source, target, kind):
    settings = IsaSettings(translator=kind, ratio=1.0)
    assert torch.equal(mix_translated(source, target, settings, generator("p")), source)


def test_ratio_zero_keeps_all_and_ratio_one_replaces_all(source, target):
    assert torch.equal(mix_translated(source, target, IsaSettings(ratio=0.0), generator("z")), source)
    settings = IsaSettings(ratio=1.0, translator="fourier")
    mixed = mix_translated(source, target, settings, generator("z"))
    assert (mixed != source).flatten(1).any(1).all()


def test_mixed_precision_does_not_reach_the_translation(source, target):
    for kind in ("statistics", "fourier"):
        settings = IsaSettings(ratio=1.0, translator=kind)
        plain = mix_translated(source, target, settings, generator("amp"))
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(mix_translated(source, target, settings, generator("amp")), plain)
