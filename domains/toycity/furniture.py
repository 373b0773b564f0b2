"""Things along the sidewalks of the toy city: trees, lamp posts, traffic signs and railings."""

from __future__ import annotations

from domains.toycity.canvas import RING, Canvas, Surface
from domains.toycity.style import Dice, Floats, World

LEAVES = ((58, 100, 44), (34, 70, 48), (84, 118, 52), (196, 124, 40), (66, 122, 56))
"""Round, conifer, poplar, autumn, palm."""
BARK = ((92, 70, 52), (112, 102, 92))
POSTS = ((112, 116, 120), (58, 62, 66), (78, 92, 80))
TRIANGLE = ((-1.0, -0.8), (1.0, -0.8), (0.0, 0.95))
SQUARE = ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85))
RAILINGS = ((180, 182, 184), (66, 70, 74), (166, 60, 50))


def paint_tree(canvas: Canvas, dice: Dice, world: World, x: float, z: float) -> None:
    """Paint a tree of one of five kinds."""
    kind = dice.pick(world.trees)
    leaf, tall = dice.tint(LEAVES[kind], 16.0), dice.between((4.5, 8.5))
    low = 0.5 if kind == 1 else tall * 0.62 if kind == 4 else dice.between((1.9, 2.7))
    bark = dice.tint(BARK[dice.pick((1, 1))])
    reach = 1.6
    canvas.shadow([(x + reach * 1.3 * across, z + reach * along) for across, along in RING], 0.35)
    canvas.front(Surface.TRUNK, bark, (x - 0.13, x + 0.13), (0.0, low + 0.9), z)
    if kind == 1:
        for step in range(4):
            base, wide = low + (tall - low) * step / 4.6, 1.7 * (1 - step / 4.8)
            corners = ((x - wide, base, z), (x + wide, base, z), (x, base + (tall - low) * 0.42, z))
            canvas.face(Surface.LEAF, leaf, corners, 0.8 + 0.1 * step)
    elif kind == 4:
        paint_palm(canvas, dice, leaf, (x, low + 0.8, z))
    else:
        wide = 0.75 if kind == 2 else dice.between((1.4, 2.2))
        paint_crown(canvas, dice, leaf, (x, (low + tall) / 2, z), (wide, (tall - low) / 2))


def paint_crown(
    canvas: Canvas, dice: Dice, leaf: Floats, centre: tuple[float, float, float], radii: tuple[float, float]
) -> None:
    """Paint a crown as overlapping clumps of leaves, darker below and lighter above."""
    (x, y, z), (wide, tall) = centre, radii
    canvas.disc(Surface.LEAF, leaf, centre, (wide * 0.85, tall * 0.85), 0.78)
    for _ in range(8 if z < 20 else 4):
        across, up = dice.between((-0.75, 0.75)), dice.between((-0.75, 0.75))
        size = dice.between((0.28, 0.48))
        clump = (x + across * wide, y + up * tall, z)
        canvas.disc(Surface.LEAF, leaf, clump, (size * wide, size * min(tall, 1.4 * wide)), 0.95 + 0.25 * up)


def paint_palm(canvas: Canvas, dice: Dice, leaf: Floats, top: tuple[float, float, float]) -> None:
    """Paint the fronds of a palm."""
    x, y, z = top
    for across, up in RING:
        tip = (x + 1.9 * across, y + 0.9 * up - 0.35, z)
        bend = (x + 1.1 * across, y + 0.8 * up + 0.45, z)
        canvas.face(Surface.LEAF, leaf, ((x, y, z), bend, tip, (bend[0], bend[1] - 0.32, z)), dice.between((0.8, 1.2)))


def paint_post(canvas: Canvas, dice: Dice, world: World, x: float, z: float) -> None:
    """Paint a lamp post or a traffic sign on its pole; x < 0 is the left sidewalk."""
    colour = dice.tint(POSTS[dice.pick((2, 1, 1))])
    if dice.chance(0.33):
        tall, arm = dice.between((4.5, 6.5)), -1.2 if x > 0 else 1.2
        canvas.front(Surface.POLE, colour, (x - 0.07, x + 0.07), (0.0, tall), z)
        canvas.line(Surface.POLE, colour, [(x, tall, z), (x + arm, tall + 0.25, z)], 0.08)
        canvas.front(Surface.POLE, (214, 212, 196), (x + arm - 0.25, x + arm + 0.25), (tall + 0.15, tall + 0.32), z)
        return
    tall = dice.between((2.2, 3.0))
    canvas.front(Surface.POLE, colour, (x - 0.05, x + 0.05), (0.0, tall), z)
    for level in range(1 + dice.chance(0.3)):
        paint_sign(canvas, dice, dice.pick(world.signs), (x, tall - 0.85 * level, z - 0.02))


def paint_sign(canvas: Canvas, dice: Dice, kind: int, centre: tuple[float, float, float]) -> None:
    """Paint a traffic sign: circle, triangle, square, board or hexagon."""
    size = dice.between((0.36, 0.48))
    red, blue, white = (200, 34, 36), (30, 76, 170), (234, 234, 228)
    (x, y, z) = centre
    if kind == 3:
        ground = (blue, (40, 110, 70), (226, 190, 50))[dice.pick((2, 1, 1))]
        canvas.front(Surface.SIGN, white, (x - 1.8 * size, x + 1.8 * size), (y - size, y + size), z)
        canvas.front(Surface.SIGN, ground, (x - 1.7 * size, x + 1.7 * size), (y - 0.9 * size, y + 0.9 * size), z)
        canvas.front(Surface.SIGN, white, (x - 1.2 * size, x + 1.0 * size), (y - 0.1, y + 0.05), z)
        return
    outline, rim, middle = {
        0: (RING, red, white if dice.chance(0.6) else blue),
        1: (TRIANGLE, red, white),
        2: (SQUARE, white, blue),
        4: (RING[::2], white, red),
    }[kind]
    for scale, colour in ((size, rim), (size * 0.68, middle)):
        canvas.face(Surface.SIGN, colour, [(x + across * scale, y + up * scale, z) for across, up in outline])
    canvas.front(
        Surface.SIGN, (60, 60, 66) if middle == white else white, (x - 0.06, x + 0.06), (y - 0.16, y + 0.14), z
    )


def paint_railing(canvas: Canvas, dice: Dice, x: float, zs: tuple[float, float]) -> None:
    """Paint a low railing along the curb; the whole panel carries the label, as annotators draw it."""
    colour = dice.tint(RAILINGS[dice.pick((2, 1, 1))])
    canvas.wall(Surface.FENCE, tuple(c * 0.6 for c in colour), x, zs, (0.12, 0.85))
    for low, high in ((0.76, 0.9), (0.4, 0.5)):
        canvas.wall(Surface.FENCE, colour, x, zs, (low, high))
    for step in range(5):
        z = zs[0] + (zs[1] - zs[0]) * step / 4
        canvas.wall(Surface.FENCE, colour, x, (z - 0.08, z + 0.08), (0.0, 0.95))
