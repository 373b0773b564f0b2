"""How the colours of a domain are distributed, and how far those of two domains are apart.

Shapes: H, W pixels. Images are uint8 RGB tensors 3xHxW.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class ColourMoments:
    """Sums over pixels, as whole numbers: those of several images add up in any order."""

    pixels: int = 0
    total: tuple[int, int, int] = (0, 0, 0)
    """Sum of red, green and blue in 0 to 255."""
    squares: tuple[int, int, int] = (0, 0, 0)
    """Sum of their squares."""

    @classmethod
    def of(cls, image_3HW: Tensor) -> ColourMoments:
        """The moments of one image."""
        values = image_3HW.flatten(1).long()
        red, green, blue = values.sum(1).tolist()
        red_2, green_2, blue_2 = values.square().sum(1).tolist()
        return cls(values.shape[1], (red, green, blue), (red_2, green_2, blue_2))

    def __add__(self, other: ColourMoments) -> ColourMoments:
        """The moments of the pixels of both."""
        return ColourMoments(
            self.pixels + other.pixels, _added(self.total, other.total), _added(self.squares, other.squares)
        )

    @property
    def mean(self) -> Channels:
        """Mean of red, green and blue, in grey values of 0 to 255."""
        red, green, blue = (total / self.pixels for total in self.total)
        return red, green, blue

    @property
    def deviation(self) -> Channels:
        """Standard deviation of red, green and blue over all pixels, in grey values."""
        # In whole numbers up to the root: nothing cancels.
        spread = (self.pixels * s - t * t for t, s in zip(self.total, self.squares, strict=True))
        red, green, blue = (math.sqrt(value) / self.pixels for value in spread)
        return red, green, blue

    def distance(self, other: ColourMoments) -> float:
        """Grey values between two domains: the 2-Wasserstein distance of normal distributions with these moments.

        `sqrt(sum_c (mean_c - mean'_c)^2 + (deviation_c - deviation'_c)^2)`, over the channels as if independent.
        """
        return math.dist((*self.mean, *self.deviation), (*other.mean, *other.deviation))


def _added(ours: tuple[int, int, int], theirs: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (a + b for a, b in zip(ours, theirs, strict=True))
    return red, green, blue
