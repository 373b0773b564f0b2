"""From a painted scene to a picture: texture, cast shadows, light and colour, haze, blur and sensor noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from domains.toycity.canvas import Canvas, Surface
from domains.toycity.style import Dice, Look

MARGIN = 64
"""Tiles are this many pixels larger than the image in both directions, so that every scene sees another part."""
FINE, BLOTCH, COURSES, LEAFY, CLOUD, WHITE = range(6)
"""Kinds of texture tile; WHITE is also the sensor's noise."""
GRAIN = (
    (BLOTCH, 0.07), (COURSES, 0.13), (BLOTCH, 0.08), (FINE, 0.07), (COURSES, 0.14), (BLOTCH, 0.07), (FINE, 0.03),
    (BLOTCH, 0.05), (FINE, 0.04), (FINE, 0.08), (FINE, 0.04), (FINE, 0.03), (LEAFY, 0.26), (FINE, 0.15),
    (FINE, 0.00), (FINE, 0.06), (FINE, 0.06), (FINE, 0.03), (FINE, 0.04), (FINE, 0.02),
)  # fmt: skip
"""Texture tile and strength (standard deviation as a share of the colour) of every `Surface`."""
GROUND = np.isin(np.arange(len(Surface)), (Surface.ASPHALT, Surface.COBBLES, Surface.MARKING, Surface.PAVING))
LUMA = np.array((0.299, 0.587, 0.114))


@lru_cache(maxsize=4)
def noise_tiles(height: int, width: int) -> np.ndarray:
    """Return the six texture tiles for one image size.

    Args:
        height: image height in pixels; coarse patterns grow with it.
        width: image width in pixels.

    Returns:
        float32 array (6, height + MARGIN, width + MARGIN), mean 0 and standard deviation 1 each; read only.
    """
    shape = (height + MARGIN, width + MARGIN)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((height, width))))
    unit = height / 128.0
    fine = smooth(rng.standard_normal(shape), 0.5 * unit, 0.5 * unit)
    blotch = smooth(rng.standard_normal(shape), 2.0 * unit, 10.0 * unit) + 0.8 * fine
    rows = (np.arange(shape[0]) / max(1.0, 2.0 * unit)).astype(int) % 2
    courses = 0.8 * (rows[:, None] * 2.0 - 1.0) + fine
    leafy = smooth(rng.standard_normal(shape), 1.2 * unit, 1.2 * unit) + 0.5 * fine
    cloud = smooth(rng.standard_normal(shape), 5.0 * unit, 12.0 * unit)
    tiles = np.stack([fine, blotch, courses, leafy, cloud, rng.standard_normal(shape)]).astype(np.float32)
    tiles -= tiles.mean((1, 2), keepdims=True)
    tiles /= tiles.std((1, 2), keepdims=True)
    tiles.setflags(write=False)
    return tiles


def smooth(noise_HW: np.ndarray, tall: float, wide: float) -> np.ndarray:
    """Blur noise with a Gaussian of `tall` by `wide` pixels and bring it back to a standard deviation of 1."""
    down, across = np.fft.fftfreq(noise_HW.shape[0]), np.fft.rfftfreq(noise_HW.shape[1])
    keep = np.exp(-2 * np.pi**2 * ((tall * down[:, None]) ** 2 + (wide * across[None, :]) ** 2))
    blurred = np.fft.irfft2(np.fft.rfft2(noise_HW) * keep, noise_HW.shape)
    return blurred / blurred.std()


def window(tiles: np.ndarray, dice: Dice) -> np.ndarray:
    """Cut an image-sized part out of the tiles at a random place."""
    top, left = int(dice.random() * MARGIN), int(dice.random() * MARGIN)
    return tiles[:, top : tiles.shape[1] - MARGIN + top, left : tiles.shape[2] - MARGIN + left]


def develop(canvas: Canvas, dice: Dice, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Turn a painted scene into a picture.

    Args:
        canvas: the painted scene.
        dice: draws this picture's light, blur and noise.
        look: the camera.

    Returns:
        uint8 image (H, W, 3), and the surface of every pixel (uint8, H, W).
    """
    paint_4HW = np.ascontiguousarray(np.asarray(canvas.paint).transpose(2, 0, 1))
    surface_HW = paint_4HW[3]
    tiles = noise_tiles(*surface_HW.shape)
    light_HW = texture(surface_HW, window(tiles, dice), dice.between(look.texture))
    light_HW *= np.where(GROUND[surface_HW], np.asarray(canvas.shade), np.uint8(255))
    light_HW *= falloff(surface_HW.shape, dice.between(look.vignette)) * np.float32(1 / 255)
    scene_3HW = np.minimum(paint_4HW[:3] * light_HW, 255).astype(np.uint8)
    picture = expose(Image.merge("RGB", [Image.fromarray(plane) for plane in scene_3HW]), dice, look)
    radius = dice.between(look.blur) * 1e-3 * surface_HW.shape[0]
    planes = picture.filter(ImageFilter.BoxBlur(radius)).split()
    noise_HW = window(tiles, dice)[WHITE] * np.float32(dice.between(look.noise))
    out_3HW = np.clip([plane + noise_HW for plane in planes], 0, 255).astype(np.uint8)
    return out_3HW.transpose(1, 2, 0), surface_HW


def texture(surface_HW: np.ndarray, tiles: np.ndarray, strength: float) -> np.ndarray:
    """Return the light that the surfaces' texture leaves, about 1."""
    grain = np.array([amount for _, amount in GRAIN], np.float32) * np.float32(strength)
    first = np.array([kind for kind, _ in GRAIN], np.intp) * surface_HW.size
    place_HW = first[surface_HW] + np.arange(surface_HW.size).reshape(surface_HW.shape)
    out_HW = tiles[:CLOUD].ravel().take(place_HW)
    out_HW *= grain[surface_HW]
    out_HW += 1
    return out_HW


def falloff(shape: tuple[int, int], lost: float) -> np.ndarray:
    """Return the share of light that reaches each pixel when the corners lose `lost`."""
    down = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None] ** 2
    across = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :] ** 2
    return 1 - np.float32(lost / 2) * (down + across)


def expose(picture: Image.Image, dice: Dice, look: Look) -> Image.Image:
    """Apply saturation, then the tone curve of each channel."""
    keep = dice.between(look.saturation)
    matrix = np.zeros((3, 4))
    matrix[:, :3] = LUMA * (1 - keep) + np.eye(3) * keep
    picture = picture.convert("RGB", tuple(matrix.ravel().tolist()))
    grey = np.linspace(0, 1, 256) ** dice.between(look.gamma) * 255 * dice.between(look.contrast)
    lift = dice.between(look.lift)
    gains = [dice.between(gain) for gain in (look.red, look.green, look.blue)]
    curve = np.clip([grey * gain + lift for gain in gains], 0, 255).astype(np.uint8)
    return picture.point(curve.ravel().tolist())
