"""Input space adaptation (DRSL, Javed et al. 2022): source images that look like the target.

Shapes: B images, H, W pixels. Images are float RGB in [0, 1]. No translation moves a pixel: labels stay valid.
"""

from __future__ import annotations

import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from torch import Tensor

from domains.base.settings import IsaSettings
from losses.numeric import without_autocast

_FLAT = 0.1
"""Standard deviation in Lab units (2.3 is just visible) below which a channel is shifted but not stretched: in the
colour axes of a grey image it is rounding noise."""


def statistics_transfer(source_B3HW: Tensor, target_B3HW: Tensor) -> Tensor:
    """Give every source image the colour means and deviations of its target image (Reinhard et al. 2001).

    The moments are matched in CIE Lab, where lightness and the two colour axes are nearly independent in
    photographs: stretching R, G and B on their own would tint grey roads wherever their deviations differ.

    Args:
        source_B3HW: float images in [0, 1].
        target_B3HW: float images in [0, 1], one for each source image, of any size.

    Returns:
        float images of the source's shape, clamped to [0, 1]. Where no colour leaves the RGB cube, their Lab
        moments equal the target's.
    """
    with without_autocast(source_B3HW):  # bfloat16 would be off by ten percent
        source, target = rgb_to_lab(source_B3HW.float()), rgb_to_lab(target_B3HW.float())
        mean_B311, deviation_B311 = _moments(source)
        wanted_mean_B311, wanted_deviation_B311 = _moments(target)
        stretch_B311 = torch.where(deviation_B311 > _FLAT, wanted_deviation_B311 / deviation_B311, 1.0)
        moved = lab_to_rgb((source - mean_B311) * stretch_B311 + wanted_mean_B311)
    return moved.to(source_B3HW.dtype).clamp(0.0, 1.0)


def fourier_transfer(source_B3HW: Tensor, target_B3HW: Tensor, beta: float) -> Tensor:
    """Swap the lowest frequencies' amplitudes for the target's, keeping all phases (FDA, Yang & Soatto 2020).

    Args:
        source_B3HW: float images in [0, 1].
        target_B3HW: float images in [0, 1] of the same shape.
        beta: half-side of the swapped square, as a share of the shorter image side, in [0, 0.5]. 0 changes
            nothing; any larger value swaps at least the mean.

    Returns:
        float images of the same shape, clamped to [0, 1].

    Raises:
        ValueError: if beta is out of range or the shapes differ.
    """
    if not 0.0 <= beta <= 0.5:
        raise ValueError(f"fourier_beta must lie in [0, 0.5], got {beta}")
    if source_B3HW.shape != target_B3HW.shape:
        shapes = f"{tuple(source_B3HW.shape)} and {tuple(target_B3HW.shape)}"
        raise ValueError(f"Fourier translation needs crops of one shape, got {shapes}: set equal crop sizes")
    if beta == 0.0:
        return source_B3HW
    height, width = source_B3HW.shape[-2:]
    reach = int(beta * min(height, width))
    source, target = torch.fft.rfft2(source_B3HW.float()), torch.fft.rfft2(target_B3HW.float())
    amplitude, wanted = source.abs(), target.abs()
    # The transform of a real image holds columns from 0 up only; rows wrap round to negative frequencies.
    for rows in (slice(0, reach + 1), slice(height - reach, height)):
        amplitude[..., rows, : reach + 1] = wanted[..., rows, : reach + 1]
    moved = torch.fft.irfft2(torch.polar(amplitude, source.angle()), s=(height, width))
    return moved.to(source_B3HW.dtype).clamp(0.0, 1.0)


def mix_translated(
    source_B3HW: Tensor, target_B3HW: Tensor, settings: IsaSettings, generator: torch.Generator
) -> Tensor:
    """Replace a random share of the source images by translations towards random target images of the batch.

    At a ratio of 0.5 this equals drawing from the union of the originals and their translations, as DRSL does.
    Images translated beforehand come from their own reader and pass through unchanged.

    Args:
        source_B3HW: float images in [0, 1].
        target_B3HW: float images in [0, 1], any number of them.
        settings: share and kind of translation.
        generator: CPU generator of this batch.

    Returns:
        float images of the source's shape; those that were not drawn are the originals.
    """
    count = source_B3HW.shape[0]
    drawn_B = torch.rand(count, generator=generator) < settings.ratio
    reference_B = torch.randint(target_B3HW.shape[0], (count,), generator=generator)
    if settings.translator == "none" or settings.beforehand or not bool(drawn_B.any()):
        return source_B3HW
    chosen_N = drawn_B.nonzero().flatten().to(source_B3HW.device)
    reference_N = reference_B[drawn_B].to(target_B3HW.device)
    source_N3HW, target_N3HW = source_B3HW[chosen_N], target_B3HW[reference_N]
    if settings.translator == "statistics":
        moved_N3HW = statistics_transfer(source_N3HW, target_N3HW)
    else:
        moved_N3HW = fourier_transfer(source_N3HW, target_N3HW, settings.fourier_beta)
    return source_B3HW.index_copy(0, chosen_N, moved_N3HW.to(source_B3HW.dtype))


def _moments(image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
    deviation, mean = torch.std_mean(image_B3HW, dim=(-2, -1), correction=0, keepdim=True)
    return mean, deviation
