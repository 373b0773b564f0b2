"""Cars of the toy city, seen from behind or from the front: a body, a cabin, windows, lamps, wheels and a shadow."""

from __future__ import annotations

from dataclasses import dataclass

from domains.toycity.canvas import RING, Canvas, Surface
from domains.toycity.style import Dice, Floats, World

PAINTS = (
    (226, 226, 224),
    (168, 172, 176),
    (98, 102, 108),
    (34, 35, 40),
    (176, 34, 36),
    (44, 78, 160),
    (222, 178, 42),
    (44, 108, 70),
)
"""White, silver, grey, black, red, blue, yellow, green."""
GLASS = (46, 56, 66)
TYRE = (26, 26, 28)
SIMPLE = 20.0
"""Distance in metres beyond which small parts are left out."""


@dataclass(frozen=True)
class Body:
    """Measures of one kind of car in metres."""

    half: float
    length: float
    belt: float
    roof: float
    cabin: tuple[float, float]
    """Start and end of the cabin, from the car's near end."""
    slope: float
    """How far the cabin's screens lean inwards."""


BODIES = (
    Body(0.89, 4.5, 0.95, 1.43, (0.85, 3.40), 0.55),
    Body(0.86, 3.8, 0.97, 1.50, (0.10, 2.80), 0.35),
    Body(0.95, 4.5, 1.10, 1.74, (0.08, 3.30), 0.30),
    Body(0.99, 4.9, 1.18, 2.10, (0.03, 4.10), 0.22),
)
"""Saloon, hatchback, off-roader, van."""


@dataclass(frozen=True)
class Car:
    """One car: where it stands and what it looks like."""

    x: float
    z: float
    body: Body
    paint: Floats
    oncoming: bool


def roll_car(dice: Dice, world: World, x: float, z: float) -> Car:
    """Draw a car's body and paint; cars left of the middle come towards the camera."""
    paint = dice.tint(PAINTS[dice.pick(world.paints)], 14.0)
    return Car(x, z, BODIES[dice.pick(world.bodies)], paint, oncoming=x < 0)


def paint_car(canvas: Canvas, car: Car, light: float) -> None:
    """Paint a car from its far and low parts to its near and high ones."""
    body, x, z = car.body, car.x, car.z
    left, right = x - body.half, x + body.half
    canvas.shadow(
        (
            (left - 0.15, z - 0.3),
            (right + 0.15, z - 0.3),
            (right + 0.15, z + body.length),
            (left - 0.15, z + body.length),
        ),
        0.55,
    )
    inner = right if right < canvas.eye_x else left if left > canvas.eye_x else None
    canvas.floor(Surface.CAR, car.paint, (left, right), (z, z + body.length), body.belt, 1.08)
    if inner is not None:
        paint_flank(canvas, car, inner, light)
    paint_cabin(canvas, car, inner, light)
    paint_tail(canvas, car, light)


def paint_flank(canvas: Canvas, car: Car, side: float, light: float) -> None:
    """Paint the side of the body that the camera sees, with its wheels."""
    body, z = car.body, car.z
    canvas.wall(Surface.CAR, car.paint, side, (z, z + body.length), (0.24, body.belt), light * 0.80)
    if z < SIMPLE:
        canvas.wall(Surface.CAR, car.paint, side, (z, z + body.length), (0.24, 0.42), light * 0.45)
    for along in (0.85, body.length - 0.85):
        wheel = [(side, 0.33 + 0.33 * up, z + along + 0.33 * out) for out, up in RING]
        canvas.face(Surface.CAR, TYRE, wheel)
        if z < SIMPLE:
            hub = [(side, 0.33 + 0.18 * up, z + along + 0.18 * out) for out, up in RING]
            canvas.face(Surface.CAR, (138, 140, 144), hub)


def paint_cabin(canvas: Canvas, car: Car, inner: float | None, light: float) -> None:
    """Paint the cabin's side, roof and near screen."""
    body, x, z = car.body, car.x, car.z
    z0, z1, lean = z + body.cabin[0], z + body.cabin[1], body.slope
    low, high = body.half * 0.94, body.half * 0.78
    if inner is not None:
        sign = 1 if inner > x else -1
        canvas.face(
            Surface.CAR, car.paint, pane(x + sign * low, x + sign * high, body, (z0, z1), lean, 0.0), light * 0.85
        )
        canvas.face(Surface.CAR, GLASS, pane(x + sign * low, x + sign * high, body, (z0, z1), lean, 0.09), light)
        if z < SIMPLE:
            middle = (z0 + z1) / 2
            canvas.wall(
                Surface.CAR,
                car.paint,
                x + sign * low,
                (middle - 0.05, middle + 0.05),
                (body.belt, body.roof),
                light * 0.8,
            )
    canvas.floor(Surface.CAR, car.paint, (x - high, x + high), (z0 + lean, z1 - lean), body.roof, 1.12)
    for colour, inset, shade in ((car.paint, 0.0, 0.92), (GLASS, 0.09, 1.25)):
        belt, roof = body.belt + inset, body.roof - inset
        corners = (
            (x - low + inset, belt, z0),
            (x - high + inset, roof, z0 + lean),
            (x + high - inset, roof, z0 + lean),
            (x + low - inset, belt, z0),
        )
        canvas.face(Surface.CAR, colour, corners, shade)


def pane(
    low_x: float, high_x: float, body: Body, zs: tuple[float, float], lean: float, inset: float
) -> list[tuple[float, float, float]]:
    """Return the corners of the cabin's side, or of its window where inset > 0."""
    (z0, z1), belt, roof = zs, body.belt + inset, body.roof - inset
    return [
        (low_x, belt, z0 + 1.6 * inset),
        (high_x, roof, z0 + lean + inset),
        (high_x, roof, z1 - lean - inset),
        (low_x, belt, z1 - 1.6 * inset),
    ]


def paint_tail(canvas: Canvas, car: Car, light: float) -> None:
    """Paint the near end of the body: bumper, wheels, lamps and plate."""
    body, x, z = car.body, car.x, car.z
    half = body.half
    for side in (-1, 1):
        inside, outside = sorted((x + side * (half - 0.24), x + side * (half - 0.03)))
        canvas.front(Surface.CAR, TYRE, (inside, outside), (0.0, 0.4), z)
    canvas.front(Surface.CAR, car.paint, (x - half, x + half), (0.24, body.belt), z, 0.88 * light + 0.1)
    lamp = (246, 240, 214) if car.oncoming else (190, 30, 28)
    for side in (-1, 1):
        inside, outside = sorted((x + side * (half - 0.34), x + side * (half - 0.02)))
        canvas.front(Surface.CAR, lamp, (inside, outside), (body.belt - 0.30, body.belt - 0.14), z)
    if z < SIMPLE:
        canvas.front(Surface.CAR, car.paint, (x - half, x + half), (0.24, 0.46), z, 0.5)
        canvas.front(Surface.CAR, (222, 222, 214), (x - 0.26, x + 0.26), (0.50, 0.60), z)
        if car.oncoming:
            canvas.front(Surface.CAR, (40, 42, 46), (x - 0.42, x + 0.42), (0.62, 0.78), z)
