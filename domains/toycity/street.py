"""The still part of the toy city: sky, road, sidewalks, and the lots beside them (buildings, fences, hedges)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domains.toycity.canvas import NEAR, Canvas, Surface
from domains.toycity.style import Dice, Floats, World

FAR = 75.0
"""Distance in metres at which the street ends."""

ASPHALTS = ((62, 63, 68), (98, 98, 102), (128, 124, 118), (116, 106, 98))
PAVINGS = ((176, 172, 164), (158, 108, 92), (112, 110, 114))
SKIES = (
    ((70, 130, 215), (175, 210, 240)),
    ((100, 145, 205), (205, 218, 230)),
    ((178, 184, 192), (222, 224, 226)),
    ((96, 112, 168), (240, 190, 150)),
)
"""Zenith and horizon colours: clear, cloudy, overcast, dusk."""
CLOUDS = (0.0, 60.0, 14.0, 24.0)
"""Brightness that clouds add, per kind of sky."""
WALLS = (
    (Surface.BRICK, ((150, 72, 56), (122, 66, 50), (170, 100, 72))),
    (Surface.CONCRETE, ((150, 150, 148), (122, 124, 128), (172, 166, 156))),
    (Surface.GLASS, ((86, 122, 148), (70, 96, 112), (112, 150, 160))),
    (Surface.PLASTER, ((226, 206, 160), (214, 168, 140), (230, 224, 210), (196, 206, 184), (206, 156, 92))),
)
"""Surface and colours of the four building materials."""
FENCES = ((70, 80, 70), (150, 112, 74), (205, 205, 200), (120, 126, 132))
HEDGES = ((52, 88, 40), (74, 104, 48), (44, 74, 46))
AWNINGS = ((176, 50, 46), (52, 96, 66), (60, 76, 128), (214, 190, 130))


@dataclass(frozen=True)
class Site:
    """The numbers that all parts of one scene share; lengths in metres."""

    road_half: float
    sidewalk: float
    sun: int
    """Side from which the sun shines: -1 left, 1 right, 0 none (overcast)."""
    shadow: float
    """Share of the light that shadows take, 0 to 1."""

    def light(self, side: int) -> float:
        """Return the light on a wall that stands on one side (-1 left, 1 right) and looks at the road."""
        return 0.86 - 0.16 * self.sun * side

    @property
    def edge(self) -> float:
        """Return the distance of the lots from the road's middle."""
        return self.road_half + self.sidewalk


def paint_background(shape: tuple[int, int], row: float, sky: int, road: int, clouds_HW: np.ndarray) -> np.ndarray:
    """Paint sky above the horizon's row and road below it.

    Args:
        shape: image height and width in pixels.
        row: the horizon's row.
        sky: index into `SKIES`.
        road: index into `ASPHALTS`.
        clouds_HW: float noise with mean 0 and standard deviation 1.

    Returns:
        uint8 array (H, W, 4): colour and surface.
    """
    height, width = shape
    out = np.empty((height, width, 4), np.uint8)
    split = max(1, min(height - 1, int(row)))
    up = np.linspace(1.0, 0.0, split, dtype=np.float32)[:, None, None]
    zenith, low = (np.array(colour, np.float32) for colour in SKIES[sky])
    cloud = np.maximum(clouds_HW[:split, :, None], 0.0) * np.float32(CLOUDS[sky])
    out[:split, :, :3] = np.minimum(low + (zenith - low) * up + cloud, 255)
    out[:split, :, 3] = Surface.SKY
    out[split:, :, :3] = ASPHALTS[road]
    out[split:, :, 3] = Surface.COBBLES if road == 3 else Surface.ASPHALT
    return out


def paint_ground(canvas: Canvas, dice: Dice, world: World, site: Site) -> None:
    """Paint sidewalks with curb and joints, lane markings, now and then a crossing and a patch of new asphalt."""
    half, edge = site.road_half, site.edge
    stone = dice.tint(PAVINGS[dice.pick(world.paving)])
    for _ in range(dice.whole((0.0, 2.0))):
        x, z = dice.between((-half, half)), dice.between((4.0, 30.0))
        canvas.floor(Surface.ASPHALT, dice.tint(ASPHALTS[0]), (x, min(x + 1.8, half)), (z, z + 5.0))
    paint_markings(canvas, dice, half)
    for side in (-1, 1):
        canvas.floor(Surface.PAVING, stone, (side * half, side * 80.0), (NEAR, FAR))
        for z in (3.5, 5.0, 7.0, 9.5, 13.0, 18.0):
            canvas.line(
                Surface.PAVING, tuple(c * 0.82 for c in stone), [(side * half, 0, z), (side * edge, 0, z)], 0.05
            )
        canvas.floor(Surface.PAVING, (190, 188, 182), (side * half, side * (half + 0.18)), (NEAR, FAR))
        canvas.wall(Surface.PAVING, (128, 126, 122), side * half, (NEAR, FAR), (-0.08, 0.03))


def paint_markings(canvas: Canvas, dice: Dice, half: float) -> None:
    """Paint the middle line (dashed or solid), edge lines and perhaps a zebra crossing."""
    white = dice.tint((214, 214, 208) if dice.chance(0.85) else (216, 178, 70))
    if dice.chance(0.75):
        start = dice.between((0.0, 7.0))
        for z in range(10):
            canvas.floor(Surface.MARKING, white, (-0.08, 0.08), (start + 7.0 * z, start + 7.0 * z + 3.0))
    else:
        canvas.floor(Surface.MARKING, white, (-0.08, 0.08), (NEAR, FAR))
    if dice.chance(0.5):
        for x in (-half + 0.4, half - 0.4):
            canvas.floor(Surface.MARKING, white, (x - 0.06, x + 0.06), (NEAR, FAR))
    if dice.chance(0.3):
        z, x = dice.between((6.0, 22.0)), -half + 0.3
        while x < half - 0.5:
            canvas.floor(Surface.MARKING, white, (x, x + 0.5), (z, z + 3.0))
            x += 1.0


def paint_lots(canvas: Canvas, dice: Dice, world: World, site: Site) -> None:
    """Fill both sides of the street, far to near, with buildings, fenced yards and hedges, and close its end."""
    paint_end(canvas, dice, world)
    for side in (-1, 1):
        z1 = FAR
        while z1 > NEAR:
            z0 = z1 - dice.between((7.0, 15.0))
            kind = dice.pick(world.lots)
            if kind == 0:
                paint_building(canvas, dice, world, site, side, (z0, z1))
            else:
                paint_yard(canvas, dice, site, side, (z0, z1), fenced=kind == 1)
            z1 = z0


def paint_end(canvas: Canvas, dice: Dice, world: World) -> None:
    """Close the far end of the street with a row of buildings or trees."""
    x = -40.0
    while x < 40.0:
        wide = dice.between((8.0, 16.0))
        if dice.chance(0.6):
            surface, colours = WALLS[dice.pick(world.materials)]
            colour = dice.tint(colours[int(dice.random() * len(colours))])
            canvas.front(surface, colour, (x, x + wide), (0.0, dice.between((6.0, 16.0))), FAR, 0.85)
        else:
            colour = dice.tint(HEDGES[dice.pick((1, 1, 1))])
            canvas.front(Surface.LEAF, colour, (x, x + wide), (0.0, 4.0), FAR)
            for step in range(3):
                centre = (x + wide * (step + 0.5) / 3, dice.between((3.5, 5.5)), FAR)
                canvas.disc(Surface.LEAF, dice.tint(colour), centre, (wide / 4, 3.0))
        x += wide


def paint_building(canvas: Canvas, dice: Dice, world: World, site: Site, side: int, zs: tuple[float, float]) -> None:
    """Paint one building: the wall that faces the camera, the facade along the street, windows and ground floor."""
    surface, colours = WALLS[dice.pick(world.materials)]
    colour = dice.tint(colours[int(dice.random() * len(colours))])
    storey = dice.between((2.9, 3.5))
    floors = max(1, dice.whole(world.floors))
    x, top, light = side * site.edge, storey * floors + 0.8, site.light(side)
    z0, z1 = max(zs[0], NEAR), zs[1]
    if site.sun == side:
        reach = x - side * top * 0.55
        canvas.shadow(((x, z0), (reach, z0 + 1), (reach, z1 + 1), (x, z1)), site.shadow)
    if zs[0] > NEAR:
        canvas.front(surface, colour, tuple(sorted((x, x + side * 14.0))), (0.0, top), z0, 0.78)
    canvas.wall(surface, colour, x, (z0, z1), (0.0, top), light)
    paint_windows(canvas, dice, surface, colour, x, (z0, z1), storey, floors, light)
    paint_shopfront(canvas, dice, colour, x, (z0, z1), light)
    canvas.wall(Surface.TRIM, tuple(c * 0.75 for c in colour), x, (z0, z1), (top - 0.35, top), light)


def paint_windows(
    canvas: Canvas,
    dice: Dice,
    surface: Surface,
    colour: Floats,
    x: float,
    zs: tuple[float, float],
    storey: float,
    floors: int,
    light: float,
) -> None:
    """Paint a band of windows per floor, then the piers between them, then a few windows that differ."""
    z0, z1 = zs
    curtain = surface == Surface.GLASS
    glass = dice.tint((150, 185, 205) if curtain else (66, 78, 92), 22.0)
    low, high = (0.25, 0.95) if curtain else (0.30, 0.78)
    for floor in range(1, floors):
        canvas.wall(Surface.GLASS, glass, x, zs, ((floor + low) * storey, (floor + high) * storey), light)
    columns = max(2, int((z1 - z0) / dice.between((1.8, 3.2))))
    pitch, pier = (z1 - z0) / columns, 0.12 if curtain else dice.between((0.4, 0.55))
    for column in range(columns + 1):
        middle = z0 + pitch * column
        span = (max(middle - pitch * pier / 2, z0), min(middle + pitch * pier / 2, z1))
        canvas.wall(surface, colour, x, span, (storey, floors * storey), light)
    for _ in range(3 if z0 < 30 and floors > 1 else 0):
        floor, column = 1 + int(dice.random() * (floors - 1)), int(dice.random() * columns)
        span = (z0 + pitch * (column + pier / 2), z0 + pitch * (column + 1 - pier / 2))
        ys = ((floor + low) * storey, (floor + high) * storey)
        canvas.wall(Surface.GLASS, dice.tint((170, 172, 160), 60.0), x, span, ys, light)


def paint_shopfront(
    canvas: Canvas, dice: Dice, colour: Floats, x: float, zs: tuple[float, float], light: float
) -> None:
    """Paint the ground floor: a plinth, a door, and shop windows or small windows, perhaps under an awning."""
    z0, z1 = zs
    canvas.wall(Surface.TRIM, tuple(c * 0.66 for c in colour), x, zs, (0.0, 0.45), light)
    door = z0 + (z1 - z0) * dice.between((0.1, 0.8))
    if dice.chance(0.45):
        canvas.wall(Surface.GLASS, dice.tint((72, 82, 90), 24.0), x, (z0 + 0.6, z1 - 0.6), (0.5, 2.4), light)
        canvas.wall(
            Surface.TRIM, dice.tint(AWNINGS[dice.pick((1, 1, 1, 1))]), x, (z0 + 0.4, z1 - 0.4), (2.4, 2.9), light
        )
    else:
        z = z0 + 0.8
        while z + 1.1 < z1 and z < 35.0:
            canvas.wall(Surface.GLASS, (62, 72, 84), x, (z, z + 1.1), (1.0, 2.3), light)
            z += 2.8
    canvas.wall(Surface.TRIM, dice.tint((92, 58, 40), 30.0), x, (door, door + 1.1), (0.0, 2.2), light)


def paint_yard(canvas: Canvas, dice: Dice, site: Site, side: int, zs: tuple[float, float], fenced: bool) -> None:
    """Paint bushes and trees behind the sidewalk, and in front of them a fence or a clipped hedge."""
    x, light = side * site.edge, site.light(side)
    z0, z1 = max(zs[0], NEAR), zs[1]
    colour = dice.tint(HEDGES[dice.pick((1, 1, 1))])
    back = side * (site.edge + 3.0)
    canvas.wall(Surface.LEAF, colour, back, (z0, z1), (0.0, dice.between((2.0, 3.2))), light * 0.8)
    for z in np.arange(z1 - 1.5, z0, -3.0).tolist():
        centre = (back, dice.between((2.2, 4.2)), max(z, 3.0))
        canvas.disc(
            Surface.LEAF, dice.tint(colour, 18.0), centre, (dice.between((1.2, 2.2)), dice.between((1.2, 2.4))), light
        )
    if fenced:
        paint_fence(canvas, dice, x, (z0, z1), dice.between((1.1, 1.9)))
    else:
        clipped, top = dice.tint(HEDGES[dice.pick((1, 1, 1))]), dice.between((0.9, 1.7))
        canvas.floor(Surface.LEAF, clipped, (x, x + side * 1.0), (z0, z1), top, 1.12)
        canvas.wall(Surface.LEAF, clipped, x, (z0, z1), (0.0, top), light)


def paint_fence(canvas: Canvas, dice: Dice, x: float, zs: tuple[float, float], top: float) -> None:
    """Paint a fence along the street; the whole panel carries the label, as annotators draw it."""
    z0, z1 = zs
    colour = dice.tint(FENCES[dice.pick((1, 1, 1, 1))])
    canvas.wall(Surface.FENCE, tuple(c * 0.72 for c in colour), x, zs, (0.0, top))
    for y in (0.15, 0.5, 0.85):
        canvas.wall(Surface.FENCE, colour, x, zs, (y * top, y * top + 0.09))
    step = dice.between((0.7, 1.6))
    for z in np.arange(z1, z0, -step).tolist():
        if z < 30.0:
            canvas.wall(Surface.FENCE, tuple(c * 1.15 for c in colour), x, (z - 0.12, z), (0.0, top + 0.05))
