"""Random colour and sharpness of a batch of images, one draw an image, without a loop over images.

Shapes: B images, H, W pixels. Images are float in [0, 1], RGB.
"""

from __future__ import annotations

import math

import torch
from kornia import enhance
from kornia.filters import gaussian_blur2d
from torch import Tensor

from domains.base.settings import AugmentSettings
from losses.numeric import without_autocast

_SHARPEST = 0.1
"""Smallest standard deviation in pixels; such a Gaussian is the identity in float32."""


def photometric(image_B3HW: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast, gamma, saturation, hue and sharpness of random images of a batch.

    The draws are made on the CPU, so that they do not depend on the device, and their number depends on the
    batch size alone.

    Args:
        image_B3HW: float images in [0, 1] on any device.
        settings: strengths; what is 0 is skipped.
        generator: CPU generator of this batch.

    Returns:
        New images in [0, 1]; those that were not chosen are equal to the input bit for bit.
    """
    draws = torch.rand((7, image_B3HW.shape[0]), generator=generator)
    chosen_B = draws[0] < settings.photometric_probability
    if not (bool(chosen_B.any()) and _any_strength(settings)):
        return image_B3HW
    within = 2 * draws[1:6] - 1
    sigma_B = _SHARPEST + draws[6] * max(settings.blur - _SHARPEST, 0.0)
    with without_autocast(image_B3HW):  # colours need more than bfloat16's 8 bits
        changed = _coloured(image_B3HW, settings, within.to(image_B3HW.device))
        changed = _blurred(changed, settings, sigma_B)
    keep_B111 = chosen_B.to(image_B3HW.device).view(-1, 1, 1, 1)
    return torch.where(keep_B111, changed.clamp(0.0, 1.0), image_B3HW)


def _any_strength(settings: AugmentSettings) -> bool:
    colours = (settings.brightness, settings.contrast, settings.gamma, settings.saturation, settings.hue)
    return any(colours) or settings.blur > 0


def _coloured(image_B3HW: Tensor, settings: AugmentSettings, within_5B: Tensor) -> Tensor:
    brightness, contrast, gamma, saturation, hue = within_5B
    if settings.brightness:
        factor_B = 1 + settings.brightness * brightness
        image_B3HW = enhance.adjust_brightness_accumulative(image_B3HW, factor_B)
    if settings.contrast:
        factor_B = 1 + settings.contrast * contrast
        image_B3HW = enhance.adjust_contrast_with_mean_subtraction(image_B3HW, factor_B)
    if settings.gamma:
        image_B3HW = enhance.adjust_gamma(image_B3HW, torch.exp(settings.gamma * gamma))
    if settings.saturation:
        factor_B = 1 + settings.saturation * saturation
        image_B3HW = enhance.adjust_saturation_with_gray_subtraction(image_B3HW, factor_B)
    if settings.hue:
        image_B3HW = enhance.adjust_hue(image_B3HW, 2 * math.pi * settings.hue * hue)
    return image_B3HW


def _blurred(image_B3HW: Tensor, settings: AugmentSettings, sigma_B: Tensor) -> Tensor:
    if not settings.blur:
        return image_B3HW
    # The kernel reaches two and a half times the largest deviation, beyond which 1 % of the weight lies.
    side = 2 * math.ceil(2.5 * settings.blur) + 1
    sigma_B2 = sigma_B.to(image_B3HW.device)[:, None].expand(-1, 2)
    return gaussian_blur2d(image_B3HW, side, sigma_B2, border_type="replicate")
