"""One scene of the toy city: draw the camera, the street and everything on it, and paint it far to near."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import numpy as np

from domains.toycity.canvas import LABEL_OF, Canvas
from domains.toycity.cars import paint_car, roll_car
from domains.toycity.furniture import paint_post, paint_railing, paint_tree
from domains.toycity.look import CLOUD, develop, noise_tiles, window
from domains.toycity.people import paint_bicycle, paint_person, paint_rider
from domains.toycity.street import SKIES, Site, paint_background, paint_ground, paint_lots
from domains.toycity.style import STYLES, Dice, Style, StyleName, World

Split = Literal["train", "val"]
SEED = 2026
"""Changing it changes every scene, and with them every published number."""
Stroke = tuple[float, Callable[[], None]]
"""Distance of a thing in metres, and the call that paints it."""


def render_scene(name: StyleName, split: Split, index: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Render one scene and its exact labels.

    Args:
        name: the style.
        split: "train" or "val"; the two never share a scene.
        index: number of the scene, 0 or more.
        shape: image height and width in pixels; the scene itself does not depend on it.

    Returns:
        uint8 RGB image (H, W, 3) and uint8 Cityscapes trainIds (H, W), 255 on the camera car's bonnet.
    """
    style = STYLES[name]
    key = (SEED, list(STYLES).index(name), get_args(Split).index(split), index)
    dice = Dice(np.random.Generator(np.random.Philox(np.random.SeedSequence(key))))
    world, look = style.world, style.look
    sky = dice.pick(world.skies)
    sun = 0 if sky == 2 else 1 if dice.chance(0.5) else -1
    site = Site(dice.between(world.road_half), dice.between(world.sidewalk), sun, dice.between(world.shadow))
    canvas = set_up(dice, style, site, sky, shape)
    paint_ground(canvas, dice, world, site)
    paint_lots(canvas, dice, world, site)
    things = [*furnish(canvas, dice, world, site), *park(canvas, dice, world, site), *people(canvas, dice, world, site)]
    for _, paint in sorted(things, key=lambda thing: -thing[0]):
        paint()
    canvas.bonnet(dice.between(look.bonnet), (40, 42, 48))
    image_HW3, surface_HW = develop(canvas, dice, look)
    return image_HW3, LABEL_OF[surface_HW]


def set_up(dice: Dice, style: Style, site: Site, sky: int, shape: tuple[int, int]) -> Canvas:
    """Place the camera in the right lane and paint the empty scene."""
    height, width = shape
    world = style.world
    column, row = width * (0.5 + dice.between(world.yaw)), height * dice.between(world.horizon)
    clouds_HW = window(noise_tiles(height, width), dice)[CLOUD]
    background = paint_background(shape, row, sky, dice.pick(world.asphalt), clouds_HW)
    eye = (site.road_half * dice.between((0.15, 0.45)), dice.between(world.camera_height))
    return Canvas(background, eye, (column, row), dice.between(style.look.visibility), SKIES[sky][1])


def furnish(canvas: Canvas, dice: Dice, world: World, site: Site) -> Iterator[Stroke]:
    """Stand trees, posts and railings along both sidewalks."""
    for side in (-1, 1):
        z = dice.between((4.0, 14.0))
        x = side * (site.edge - 0.6)
        while z < 45.0:
            yield z, lambda x=x, z=z: paint_tree(canvas, dice, world, x, z)
            z += dice.between(world.tree_gap)
        z = dice.between((4.5, 12.0))
        while z < 36.0:
            x = side * (site.road_half + 0.45)
            yield z, lambda x=x, z=z: paint_post(canvas, dice, world, x, z)
            z += dice.between(world.posts)
        share, x = dice.between(world.railing), side * (site.road_half + 0.25)
        for start in range(4, 40, 4):
            if dice.chance(share):
                yield start + 2.0, lambda x=x, z=float(start): paint_railing(canvas, dice, x, (z, z + 4.0))


def park(canvas: Canvas, dice: Dice, world: World, site: Site) -> Iterator[Stroke]:
    """Put cars into the parking places along both curbs and onto the lanes."""
    for side in (-1, 1):
        share, x = dice.between(world.parked), side * (site.road_half - 1.05)
        for place in range(8):
            if dice.chance(share):
                car = roll_car(dice, world, x + dice.between((-0.12, 0.12)), 5.0 + 5.6 * place + dice.random())
                yield car.z, lambda car=car: paint_car(canvas, car, site.light(-1 if car.x > 0 else 1))
    for _ in range(dice.whole(world.driving)):
        lane = -0.28 if dice.chance(0.5) else 0.22
        car = roll_car(dice, world, site.road_half * lane, 7.0 + 50.0 * dice.random() ** 1.5)
        yield car.z, lambda car=car: paint_car(canvas, car, site.light(-1 if car.x > 0 else 1))


def people(canvas: Canvas, dice: Dice, world: World, site: Site) -> Iterator[Stroke]:
    """Put persons and parked bicycles on the sidewalks, riders and a few persons on the road."""

    def beside() -> float:
        """Draw a place on one of the sidewalks."""
        return (1 if dice.chance(0.5) else -1) * (site.road_half + dice.between((0.4, site.sidewalk - 0.3)))

    for _ in range(dice.whole(world.persons)):
        x = beside() if dice.chance(0.8) else dice.between((-site.road_half, site.road_half))
        z = 3.6 + 14.0 * dice.random() ** 1.8
        yield z, lambda x=x, z=z: paint_person(canvas, dice, world, x, z)
    for _ in range(dice.whole(world.riders)):
        x, z = dice.between((-site.road_half, site.road_half)) * 0.85, 3.8 + 9.0 * dice.random() ** 1.5
        yield z, lambda x=x, z=z: paint_rider(canvas, dice, world, x, z)
    for _ in range(dice.whole(world.bicycles)):
        x, z = beside(), 3.8 + 9.0 * dice.random() ** 1.3
        yield z, lambda x=x, z=z: paint_bicycle(canvas, dice, x, z, dice.between((0.4, 1.0)))
