"""The two worlds of the toy city: what differs between a game and a street, in one place of plain numbers.

Every field is a tuple of floats: either a range (low, high) or a list of weights in the order of its comment.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Literal, TypeVar

import numpy as np

StyleName = Literal["game", "street"]
Floats = tuple[float, ...]

WORLD_GAP = 0.6
"""How far the street's content moves away from the game: 0 = the same world, 1 = `CITY_WORLD`."""
LOOK_GAP = 0.85
"""How far the street's camera moves away from the game: 0 = the same pictures, 1 = `CITY_LOOK`."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Geometry, counts and mode frequencies of a scene; lengths in metres."""

    camera_height: Floats
    """Range of the camera's height over the road."""
    horizon: Floats
    """Range of the horizon's row, as a fraction of the image height from the top."""
    yaw: Floats
    """Range of the vanishing point's column, as a fraction of the image width from the centre."""
    road_half: Floats
    """Range of half the road's width."""
    sidewalk: Floats
    """Range of the sidewalk's width."""
    asphalt: Floats
    """Weights: dark, grey, worn, cobbles."""
    paving: Floats
    """Weights: slabs, red bricks, dark tiles."""
    lots: Floats
    """Weights of what stands beside the sidewalk: building, fence, hedge."""
    materials: Floats
    """Weights: brick, concrete, glass, plaster."""
    floors: Floats
    """Range of the number of floors."""
    trees: Floats
    """Weights: round, conifer, poplar, autumn, palm."""
    tree_gap: Floats
    """Range of the distance between two trees along a sidewalk."""
    paints: Floats
    """Weights of car paints: white, silver, grey, black, red, blue, yellow, green."""
    bodies: Floats
    """Weights of car bodies: saloon, hatchback, off-roader, van."""
    parked: Floats
    """Range of the share of parking places taken, per side of the road."""
    driving: Floats
    """Range of the number of cars on the lanes."""
    persons: Floats
    """Range of the number of persons."""
    outfits: Floats
    """Weights: dark coat, bright shirt, dress, suit, high visibility."""
    riders: Floats
    """Range of the number of riders."""
    bicycles: Floats
    """Range of the number of parked bicycles."""
    posts: Floats
    """Range of the distance between two posts along a sidewalk."""
    signs: Floats
    """Weights: circle, triangle, square, board, hexagon."""
    railing: Floats
    """Range of the share of the curb that carries a railing."""
    skies: Floats
    """Weights: clear, cloudy, overcast, dusk."""
    shadow: Floats
    """Range of the light that cast shadows take from the ground, 0 = none."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a scene becomes a picture."""

    red: Floats
    """Range of the gain of the red channel; `green` and `blue` likewise."""
    green: Floats
    blue: Floats
    saturation: Floats
    """Range of the colour saturation, 1 = as painted."""
    gamma: Floats
    """Range of the exponent on [0, 1] values; above 1 darkens the middle."""
    lift: Floats
    """Range of the black level, in grey values of 255."""
    contrast: Floats
    """Range of the gain of all channels after the lift."""
    visibility: Floats
    """Range of the distance in metres at which haze has taken 63 % of a colour."""
    texture: Floats
    """Range of the strength of the surfaces' texture, 1 = as in the surface table."""
    noise: Floats
    """Range of the sensor noise's standard deviation, in grey values."""
    blur: Floats
    """Range of the blur's radius, in thousandths of the image height."""
    vignette: Floats
    """Range of the light lost in the corners, 0 to 1."""
    bonnet: Floats
    """Range of the height of the camera car's own bonnet (labelled ignore), as a fraction of the height."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """A world and the camera that sees it."""

    world: World
    look: Look


GAME_WORLD = World(
    camera_height=(1.7, 2.1), horizon=(0.38, 0.44), yaw=(-0.08, 0.08),
    road_half=(4.2, 5.2), sidewalk=(2.2, 3.6),
    asphalt=(0.45, 0.40, 0.13, 0.02), paving=(0.75, 0.20, 0.05),
    lots=(0.64, 0.20, 0.16), materials=(0.20, 0.40, 0.30, 0.10), floors=(3.0, 9.0),
    trees=(0.35, 0.20, 0.08, 0.05, 0.32), tree_gap=(8.0, 24.0),
    paints=(0.10, 0.06, 0.06, 0.08, 0.24, 0.20, 0.16, 0.10), bodies=(0.50, 0.15, 0.30, 0.05),
    parked=(0.10, 0.55), driving=(1.0, 4.5),
    persons=(2.0, 7.0), outfits=(0.10, 0.45, 0.20, 0.20, 0.05), riders=(0.5, 2.6), bicycles=(0.2, 2.8),
    posts=(10.0, 22.0), signs=(0.15, 0.15, 0.20, 0.35, 0.15), railing=(0.0, 0.50),
    skies=(0.40, 0.24, 0.28, 0.08), shadow=(0.10, 0.35),
)  # fmt: skip
CITY_WORLD = World(
    camera_height=(1.25, 1.55), horizon=(0.40, 0.48), yaw=(-0.14, 0.14),
    road_half=(3.3, 4.4), sidewalk=(2.4, 4.6),
    asphalt=(0.04, 0.26, 0.40, 0.30), paving=(0.20, 0.25, 0.55),
    lots=(0.60, 0.20, 0.20), materials=(0.30, 0.08, 0.04, 0.58), floors=(2.0, 6.0),
    trees=(0.37, 0.05, 0.19, 0.37, 0.02), tree_gap=(5.0, 16.0),
    paints=(0.19, 0.23, 0.23, 0.24, 0.04, 0.04, 0.01, 0.02), bodies=(0.25, 0.40, 0.15, 0.20),
    parked=(0.35, 0.90), driving=(1.0, 5.5),
    persons=(3.0, 10.0), outfits=(0.50, 0.15, 0.12, 0.15, 0.08), riders=(0.7, 3.0), bicycles=(0.6, 4.0),
    posts=(8.0, 16.0), signs=(0.35, 0.22, 0.25, 0.08, 0.10), railing=(0.0, 0.60),
    skies=(0.08, 0.25, 0.57, 0.10), shadow=(0.15, 0.60),
)  # fmt: skip

GAME_LOOK = Look(
    red=(0.96, 1.06), green=(0.96, 1.04), blue=(0.98, 1.08), saturation=(1.05, 1.35),
    gamma=(0.90, 1.10), lift=(0.0, 6.0), contrast=(0.98, 1.10), visibility=(250.0, 500.0),
    texture=(0.6, 0.9), noise=(0.0, 2.0), blur=(2.0, 3.5), vignette=(0.0, 0.05), bonnet=(0.0, 0.0),
)  # fmt: skip
CITY_LOOK = Look(
    red=(0.78, 1.00), green=(0.70, 0.88), blue=(0.38, 0.62), saturation=(0.55, 0.90),
    gamma=(0.90, 1.25), lift=(6.0, 24.0), contrast=(0.75, 1.00), visibility=(90.0, 250.0),
    texture=(0.9, 1.4), noise=(2.0, 5.0), blur=(3.0, 5.0), vignette=(0.10, 0.30), bonnet=(0.01, 0.05),
)  # fmt: skip

Part = TypeVar("Part", World, Look)


def between(start: Part, end: Part, share: float) -> Part:
    """Mix two worlds or two looks number by number.

    Args:
        start: returned at share 0.
        end: returned at share 1.
        share: any real number; beyond 1 exaggerates the difference.

    Returns:
        A new world or look.
    """
    mixed = [
        tuple(a + share * (b - a) for a, b in zip(low, high, strict=True))
        for low, high in zip(astuple(start), astuple(end), strict=True)
    ]
    return type(start)(**dict(zip(start.__dataclass_fields__, mixed, strict=True)))


STYLES: dict[StyleName, Style] = {
    "game": Style(world=GAME_WORLD, look=GAME_LOOK),
    "street": Style(world=between(GAME_WORLD, CITY_WORLD, WORLD_GAP), look=between(GAME_LOOK, CITY_LOOK, LOOK_GAP)),
}


class Dice:
    """Random draws in the forms that a scene needs, from one generator.

    Args:
        generator: the only source of chance; drawing advances it.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.random = generator.random

    def between(self, limits: Floats) -> float:
        """Draw uniformly from [low, high)."""
        return limits[0] + (limits[1] - limits[0]) * self.random()

    def whole(self, limits: Floats) -> int:
        """Draw uniformly from [low, high), rounded at random to one of its two neighbours."""
        return int(self.between(limits) + self.random())

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.random() < probability

    def pick(self, weights: Floats) -> int:
        """Draw an index with probability proportional to its weight."""
        mark = self.random() * sum(weights)
        for index, weight in enumerate(weights):
            mark -= weight
            if mark < 0:
                return index
        return len(weights) - 1

    def tint(self, colour: Floats, spread: float = 12.0) -> Floats:
        """Shift the brightness of an RGB colour by up to `spread` grey values, its channels by a third of that."""
        red, green, blue = colour
        own, shift = spread * 0.66, spread * (self.random() * 2 - 1.33)
        return (
            red + shift + own * self.random(),
            green + shift + own * self.random(),
            blue + shift + own * self.random(),
        )
