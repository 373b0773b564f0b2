"""A pinhole camera that paints colour and surface in the same stroke, so that labels are exact by construction.

Space: x right of the road's middle, y up from the road, z forward from the camera, all in metres. Light is a factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from math import cos, exp, pi, sin

import numpy as np
from PIL import Image, ImageDraw

from domains.toycity.style import Floats

NEAR = 1.3
"""Distance in metres of the nearest plane that is drawn."""
RING = tuple((cos(2 * pi * i / 12), sin(2 * pi * i / 12)) for i in range(12))
"""Unit circle in twelve steps."""


class Surface(IntEnum):
    """What a pixel is made of; `LABEL_OF` and the texture table are indexed by it."""

    ASPHALT = 0
    COBBLES = 1
    MARKING = 2
    PAVING = 3
    BRICK = 4
    CONCRETE = 5
    GLASS = 6
    PLASTER = 7
    TRIM = 8
    FENCE = 9
    POLE = 10
    SIGN = 11
    LEAF = 12
    TRUNK = 13
    SKY = 14
    PERSON = 15
    RIDER = 16
    CAR = 17
    BICYCLE = 18
    BONNET = 19


LABEL_OF = np.array([0, 0, 0, 1, 2, 2, 2, 2, 2, 4, 5, 7, 8, 8, 10, 11, 12, 13, 18, 255], np.uint8)
"""Cityscapes trainId of every surface; the camera car's own bonnet is 255 (ignore)."""


class Canvas:
    """Painter's canvas: later strokes cover earlier ones in colour and surface alike.

    Args:
        background_HW4: uint8 colour and surface of the empty scene.
        eye: camera position (x, y) in metres.
        vanish: column and row in pixels to which the road runs.
        visibility: distance in metres at which haze has taken 63 % of a colour.
        haze: RGB colour of the haze, 0 to 255.
    """

    def __init__(
        self,
        background_HW4: np.ndarray,
        eye: tuple[float, float],
        vanish: tuple[float, float],
        visibility: float,
        haze: Floats,
    ) -> None:
        height, width = background_HW4.shape[:2]
        self._width = width
        self.paint = Image.fromarray(background_HW4)
        self.shade = Image.new("L", (width, height), 255)
        self._pen = ImageDraw.Draw(self.paint)
        self._dark = ImageDraw.Draw(self.shade)
        self.eye_x, self.eye_y = eye
        self._column, self._row = vanish
        self.focal = float(height)
        self._visibility, self._haze = visibility, haze

    def spot(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Project a point of space to (column, row) in pixels."""
        scale = self.focal / max(z, NEAR)
        return self._column + (x - self.eye_x) * scale, self._row - (y - self.eye_y) * scale

    def ink(self, surface: Surface, colour: Floats, light: float, z: float) -> tuple[int, int, int, int]:
        """Light a colour, let haze take its share at distance z, and add the surface as fourth channel.

        Pillow clips each channel to [0, 255].
        """
        clear = exp(-z / self._visibility)
        light, veil = light * clear, 1 - clear
        (red, green, blue), (fog_red, fog_green, fog_blue) = colour, self._haze
        return (
            int(red * light + fog_red * veil),
            int(green * light + fog_green * veil),
            int(blue * light + fog_blue * veil),
            surface,
        )

    def face(
        self, surface: Surface, colour: Floats, corners: Sequence[tuple[float, float, float]], light: float = 1.0
    ) -> None:
        """Fill the polygon of the given corners in space."""
        spots: list[float] = []
        for x, y, z in corners:
            scale = self.focal / max(z, NEAR)
            spots += (self._column + (x - self.eye_x) * scale, self._row - (y - self.eye_y) * scale)
        self._pen.polygon(spots, fill=self.ink(surface, colour, light, corners[0][2]))

    def wall(self, surface: Surface, colour: Floats, x: float, zs: Floats, ys: Floats, light: float = 1.0) -> None:
        """Fill the rectangle that runs along the street at x, from zs[0] to zs[1] and ys[0] to ys[1]."""
        near, far = self.focal / max(zs[0], NEAR), self.focal / max(zs[1], NEAR)
        u0, u1 = self._column + (x - self.eye_x) * near, self._column + (x - self.eye_x) * far
        if zs[1] <= NEAR or max(u0, u1) < 0 or min(u0, u1) > self._width:
            return
        low, high = ys[0] - self.eye_y, ys[1] - self.eye_y
        row = self._row
        spots = (u0, row - low * near, u0, row - high * near, u1, row - high * far, u1, row - low * far)
        self._pen.polygon(spots, fill=self.ink(surface, colour, light, max(zs[0], NEAR)))

    def floor(
        self, surface: Surface, colour: Floats, xs: Floats, zs: Floats, y: float = 0.0, light: float = 1.0
    ) -> None:
        """Fill the level rectangle at height y."""
        (x0, x1), (z0, z1) = xs, zs
        if z1 > NEAR:
            self.face(surface, colour, ((x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)), light)

    def front(self, surface: Surface, colour: Floats, xs: Floats, ys: Floats, z: float, light: float = 1.0) -> None:
        """Fill the upright rectangle that faces the camera at distance z."""
        left, top = self.spot(xs[0], ys[1], z)
        right, bottom = self.spot(xs[1], ys[0], z)
        if right >= 0 and left <= self._width:
            self._pen.rectangle((left, top, right, bottom), fill=self.ink(surface, colour, light, z))

    def disc(
        self, surface: Surface, colour: Floats, centre: tuple[float, float, float], radii: Floats, light: float = 1.0
    ) -> None:
        """Fill the ellipse that faces the camera, with radii (across, up) in metres."""
        (x, y, z), (across, up) = centre, radii
        left, top = self.spot(x - across, y + up, z)
        right, bottom = self.spot(x + across, y - up, z)
        if right >= 0 and left <= self._width:
            self._pen.ellipse((left, top, right, bottom), fill=self.ink(surface, colour, light, z))

    def ring(
        self, surface: Surface, colour: Floats, centre: tuple[float, float, float], radii: Floats, thick: float
    ) -> None:
        """Draw the outline of a `disc`, `thick` metres wide and at least one pixel."""
        (x, y, z), (across, up) = centre, radii
        left, top = self.spot(x - across, y + up, z)
        right, bottom = self.spot(x + across, y - up, z)
        ink = self.ink(surface, colour, 1.0, z)
        self._pen.ellipse((left, top, right, bottom), outline=ink, width=self.pixels(thick, z))

    def line(
        self, surface: Surface, colour: Floats, points: Iterable[tuple[float, float, float]], thick: float
    ) -> None:
        """Draw a line through points of space, `thick` metres wide and at least one pixel."""
        corners = list(points)
        z = corners[0][2]
        spots = [self.spot(*corner) for corner in corners]
        self._pen.line(spots, fill=self.ink(surface, colour, 1.0, z), width=self.pixels(thick, z))

    def pixels(self, metres: float, z: float) -> int:
        """Return a length at distance z in whole pixels, at least one."""
        return max(1, round(metres * self.focal / max(z, NEAR)))

    def shadow(self, corners: Sequence[tuple[float, float]], taken: float) -> None:
        """Take a share of the light from the ground inside the polygon of (x, z) corners."""
        self._dark.polygon([self.spot(x, 0.0, z) for x, z in corners], fill=int(255 * (1 - taken)))

    def bonnet(self, share: float, colour: Floats) -> None:
        """Cover the lowest share of the image with the camera car's own bonnet."""
        width, height = self.paint.size
        box = (-0.2 * width, height * (1 - share), 1.2 * width, height * (1 + 2 * share))
        if share > 0:
            self._pen.ellipse(box, fill=self.ink(Surface.BONNET, colour, 1.0, 0.0))
