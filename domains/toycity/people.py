"""People of the toy city: persons on foot, riders on bicycles, and parked bicycles."""

from __future__ import annotations

from domains.toycity.canvas import Canvas, Surface
from domains.toycity.style import Dice, Floats, World

OUTFITS = (
    ((38, 40, 48), (34, 36, 44)),
    ((206, 86, 60), (58, 80, 128)),
    ((186, 74, 120), (186, 74, 120)),
    ((98, 104, 118), (92, 98, 112)),
    ((226, 214, 48), (48, 56, 84)),
)
"""Upper and lower colours: dark coat, bright shirt, dress, suit, high visibility."""
SHIRTS = ((206, 86, 60), (76, 140, 200), (232, 228, 220), (96, 158, 92))
SKIN = ((232, 190, 160), (196, 144, 110), (120, 82, 60))
HAIR = ((42, 32, 26), (120, 82, 44), (190, 160, 104), (150, 148, 146))
SPOKES = (112, 112, 114)
"""What shows between the spokes; the whole wheel carries the label, as annotators draw it."""
FRAMES = ((30, 32, 36), (180, 44, 40), (60, 110, 170), (200, 200, 196))


def roll_outfit(dice: Dice, world: World) -> tuple[int, Floats, Floats]:
    """Draw a kind of clothing and its upper and lower colours."""
    kind = dice.pick(world.outfits)
    upper, lower = OUTFITS[kind]
    if kind == 1:
        upper = SHIRTS[dice.pick((1, 1, 1, 1))]
    return kind, dice.tint(upper), dice.tint(lower)


def paint_person(canvas: Canvas, dice: Dice, world: World, x: float, z: float) -> None:
    """Paint a person in mid-stride, facing the camera."""
    kind, upper, lower = roll_outfit(dice, world)
    tall, stride = dice.between((1.50, 1.92)), dice.between((0.05, 0.24))
    skin = SKIN[dice.pick((3, 2, 1))]
    canvas.shadow(((x - 0.35, z - 0.15), (x + 0.35, z - 0.15), (x + 0.35, z + 0.2), (x - 0.35, z + 0.2)), 0.4)
    hip, neck = 0.50 * tall, 0.84 * tall
    for side in (-1, 1):
        foot = x + side * stride
        leg = ((x + side * 0.16, hip, z), (x, hip, z), (foot - 0.07, 0.0, z), (foot + 0.08, 0.0, z))
        canvas.face(Surface.PERSON, skin if kind == 2 else lower, leg, 0.9)
        hand = x + side * (0.24 + stride * 0.5)
        canvas.line(Surface.PERSON, upper, [(x + side * 0.2, neck - 0.06, z), (hand, 0.46 * tall, z)], 0.11)
    hem = (0.30 * tall, 0.33) if kind == 2 else (0.40 * tall, 0.23) if kind == 0 else (hip - 0.04, 0.19)
    torso = ((x - 0.22, neck, z), (x + 0.22, neck, z), (x + hem[1], hem[0], z), (x - hem[1], hem[0], z))
    canvas.face(Surface.PERSON, upper, torso)
    if kind == 4:
        canvas.front(Surface.PERSON, (232, 232, 226), (x - 0.2, x + 0.2), (0.62 * tall, 0.66 * tall), z)
    paint_head(canvas, dice, Surface.PERSON, (x, 0.92 * tall, z), skin)
    if dice.chance(0.3):
        bag = x + (0.3 if dice.chance(0.5) else -0.3)
        canvas.front(
            Surface.PERSON, dice.tint((96, 64, 44), 40.0), (bag - 0.12, bag + 0.12), (0.34 * tall, 0.52 * tall), z
        )


def paint_head(canvas: Canvas, dice: Dice, surface: Surface, centre: tuple[float, float, float], skin: Floats) -> None:
    """Paint a head: hair behind a face."""
    x, y, z = centre
    canvas.disc(surface, dice.tint(HAIR[dice.pick((4, 3, 2, 2))]), (x, y + 0.03, z), (0.12, 0.15))
    if dice.chance(0.6):
        canvas.disc(surface, skin, (x, y - 0.03, z), (0.09, 0.11))


def paint_bicycle(canvas: Canvas, dice: Dice, x: float, z: float, wide: float) -> None:
    """Paint a bicycle.

    Args:
        canvas: to paint on.
        dice: draws the frame's colour.
        x: middle of the bicycle.
        z: distance.
        wide: how much of its side is seen: 1 = from the side, 0 = from behind.
    """
    frame = dice.tint(FRAMES[dice.pick((4, 2, 2, 2))])
    reach, radius = 0.52 * wide, 0.34
    across = max(0.05, radius * wide)
    canvas.shadow(
        (
            (x - reach - across, z - 0.1),
            (x + reach + across, z - 0.1),
            (x + reach + across, z + 0.15),
            (x - reach - across, z + 0.15),
        ),
        0.35,
    )
    for side in (-1, 1):
        canvas.disc(Surface.BICYCLE, SPOKES, (x + side * reach, radius, z), (across, radius))
        canvas.ring(Surface.BICYCLE, (36, 36, 38), (x + side * reach, radius, z), (across, radius), 0.07)
    hub, crank, seat, bar = (
        (x - reach, radius, z), (x - 0.05 * wide, 0.32, z), (x - 0.18 * wide, 0.88, z), (x + 0.36 * wide, 0.95, z),
    )  # fmt: skip
    fork = (x + reach, radius, z)
    for path in ([hub, seat, bar, fork], [hub, crank, bar], [crank, seat]):
        canvas.line(Surface.BICYCLE, frame, path, 0.06)
    canvas.line(
        Surface.BICYCLE, frame, [(bar[0] - 0.22 * (1 - wide), 1.0, z), (bar[0] + 0.22 * (1 - wide), 1.0, z)], 0.06
    )
    canvas.front(Surface.BICYCLE, (34, 30, 30), (seat[0] - 0.1, seat[0] + 0.1), (0.88, 0.96), z)


def paint_rider(canvas: Canvas, dice: Dice, world: World, x: float, z: float) -> None:
    """Paint a rider leaning over a bicycle, seen from behind, from the side or in between."""
    wide = dice.between((0.15, 1.0))
    _, upper, lower = roll_outfit(dice, world)
    skin = SKIN[dice.pick((3, 2, 1))]
    paint_bicycle(canvas, dice, x, z, wide)
    hip, lean = (x - 0.18 * wide, 0.98), 0.22 * wide
    shoulder = (hip[0] + lean, 1.52)
    for side in (-1, 1):
        knee = (hip[0] + 0.26 * wide + 0.13 * side * (1 - wide), 0.72 + 0.07 * side)
        foot = (x - 0.05 * wide + 0.1 * side, 0.34 - 0.1 * side)
        canvas.line(Surface.RIDER, lower, [(*hip, z), (*knee, z), (*foot, z)], 0.15)
        hand = (x + 0.34 * wide + 0.2 * side * (1 - wide), 1.02)
        canvas.line(Surface.RIDER, upper, [(*shoulder, z), (*hand, z)], 0.11)
    broad = 0.22 - 0.05 * wide
    torso = (
        (hip[0] - broad * 0.8, hip[1] - 0.06, z), (shoulder[0] - broad, shoulder[1], z),
        (shoulder[0] + broad, shoulder[1], z), (hip[0] + broad * 0.8, hip[1] - 0.06, z),
    )  # fmt: skip
    canvas.face(Surface.RIDER, upper, torso)
    head = (shoulder[0] + 0.06 * wide, 1.68, z)
    paint_head(canvas, dice, Surface.RIDER, head, skin)
    if dice.chance(0.5):
        canvas.disc(Surface.RIDER, dice.tint((210, 60, 50), 60.0), (head[0], 1.76, z), (0.15, 0.08))
