"""Label spaces: ordered class names with colours, and the maps between them.

Shapes: H, W pixels. Labels are uint8 class ids; 255 means no supervision.
"""

from __future__ import annotations

import colorsys
import difflib
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from domains.base.errors import DataError
from losses.ignore import IGNORE

Colour = tuple[int, int, int]

_CITYSCAPES: dict[str, Colour] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
_CAMVID: dict[str, Colour] = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
_CAMVID_ALIASES = {
    "sidewalk": "pavement",
    "vegetation": "tree",
    "traffic sign": "sign",
    "person": "pedestrian",
    "rider": "bicyclist",
    "bicycle": "bicyclist",
}
NOT_IN_SYNTHIA = ("terrain", "truck", "train")
THIN = ("wall", "fence", "pole")
"""Classes that the protocols of 13 classes leave out besides."""
_NOT_IN_TOYCITY = {"wall", "traffic light", "terrain", "truck", "bus", "train", "motorcycle"}


@dataclass(frozen=True)
class LabelSpace:
    """An ordered list of classes; the id of a class is its position.

    Raises:
        DataError: if there are no or too many classes, a name or alias is used twice, an alias leads to
            no class, or the palette does not give every class a colour.
    """

    name: str
    """Name that reports and shards carry."""
    classes: tuple[str, ...]
    """Class names in the order of their ids."""
    palette: tuple[Colour, ...]
    """RGB colour of every class, 0 to 255."""
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Class names of other spaces, each with the class of this space that contains it."""

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise DataError(f"label space {self.name!r}: {problem}")

    def __len__(self) -> int:
        return len(self.classes)

    def colour(self, label_HW: np.ndarray) -> np.ndarray:
        """Paint class ids with the palette.

        Args:
            label_HW: uint8 class ids.

        Returns:
            uint8 RGB image of shape (H, W, 3); every id without a class is black.
        """
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(self)] = self.palette
        return table[np.asarray(label_HW)]

    def to_json(self) -> str:
        """Return the space as JSON text that `from_json` reads."""
        content = {
            "name": self.name,
            "classes": self.classes,
            "palette": self.palette,
            "aliases": {**self.aliases},
        }
        return json.dumps(content, indent=2)

    @classmethod
    def from_json(cls, text: str) -> LabelSpace:
        """Read `{"name", "classes": [...], "palette": [[r, g, b], ...], "aliases": {...}}`.

        Palette and aliases may be left out; colours are then spread around the colour circle.

        Raises:
            DataError: if the text is not JSON of that form; the message names the wrong part.
        """
        content = _parse(text)
        classes = tuple(content["classes"])
        palette = content.get("palette") or _spread_colours(len(classes))
        colours = tuple((red, green, blue) for red, green, blue in palette)
        return cls(content["name"], classes, colours, dict(content.get("aliases") or {}))


def label_space(name_or_path: str) -> LabelSpace:
    """Return a built-in label space by name, or read one from a JSON file.

    Args:
        name_or_path: name of one of `SPACES`, or the path of a file that ends in .json.

    Raises:
        DataError: if there is no such space or file, or the file does not describe a space.
    """
    if name_or_path in SPACES:
        return SPACES[name_or_path]
    if not name_or_path.lower().endswith(".json"):
        near = difflib.get_close_matches(name_or_path, SPACES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DataError(f"unknown label space {name_or_path!r}: use {', '.join(SPACES)} or a .json file{hint}")
    try:
        return LabelSpace.from_json(Path(name_or_path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the label space file {name_or_path}: {error}") from error
    except DataError as error:
        raise DataError(f"{name_or_path}: {error}") from error


def too_few_classes(space: LabelSpace) -> str:
    """Why nothing can be segmented in a label space: a sentence where it has one class, else empty."""
    if len(space) > 1:
        return ""
    return (
        f"label space {space.name!r} has one class, {space.classes[0]!r}, but a network chooses between at least 2: "
        "give the pixels that are not of it a class of their own, such as background"
    )


def remap(source: LabelSpace, to: LabelSpace) -> np.ndarray:
    """Return the table that turns ids of one space into ids of another, by class name or alias.

    A class of `source` that `to` knows by no name becomes 255, as does one that several classes of `to` share
    (CamVid's bicyclist is rider and bicycle in Cityscapes), since no pixel says which of them it is.

    Returns:
        uint8 table of shape (256,) whose entry at a source id is the id in `to`.
    """
    table = np.full(256, IGNORE, dtype=np.uint8)
    for index, name in enumerate(source.classes):
        found = _counterparts(name, source, to)
        if len(found) == 1:
            table[index] = to.classes.index(found[0])
    return table


def _counterparts(name: str, source: LabelSpace, to: LabelSpace) -> list[str]:
    if name in to.classes:
        return [name]
    if name in to.aliases:
        return [to.aliases[name]]
    return [foreign for foreign, own in source.aliases.items() if own == name and foreign in to.classes]


def _problem(space: LabelSpace) -> str:
    classes, palette = space.classes, space.palette
    if not 1 <= len(classes) < IGNORE:
        return f"needs 1 to {IGNORE - 1} classes, got {len(classes)}"
    if len(set(classes)) < len(classes):
        twice = sorted({name for name in classes if classes.count(name) > 1})
        return f"class names must be unique, used twice: {', '.join(twice)}"
    if len(palette) != len(classes):
        return f"the palette has {len(palette)} colours for {len(classes)} classes"
    if not all(isinstance(value, int) and 0 <= value <= 255 for colour in palette for value in colour):
        return "palette values must be whole numbers from 0 to 255"
    for foreign, own in space.aliases.items():
        if own not in classes or foreign in classes:
            return f"alias {foreign!r} must be a new name and lead to a class of the space, got {own!r}"
    return ""


def _parse(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"a label space must be JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise DataError('a label space must be a JSON object with a text "name"')
    unknown = sorted(set(content) - {"name", "classes", "palette", "aliases"})
    if unknown:
        raise DataError(f"a label space has no key {unknown[0]!r}: use name, classes, palette, aliases")
    if not _is_list(content.get("classes"), str):
        raise DataError('"classes" of a label space must be a list of names')
    if not all(_is_list(colour, int) and len(colour) == 3 for colour in content.get("palette") or []):
        raise DataError('"palette" of a label space must be a list of [red, green, blue]')
    if not isinstance(content.get("aliases") or {}, dict):
        raise DataError('"aliases" of a label space must map foreign class names to its own')
    return content


def _is_list(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _spread_colours(count: int) -> list[Colour]:
    # Steps of the golden ratio keep neighbouring ids far apart for any number of classes.
    hues = ((index * 0.618034) % 1.0 for index in range(count))
    shades = (colorsys.hsv_to_rgb(hue, 0.75, 0.95) for hue in hues)
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in shades]


def _cityscapes_without(name: str, left_out: Set[str]) -> LabelSpace:
    kept = {name: colour for name, colour in _CITYSCAPES.items() if name not in left_out}
    return LabelSpace(name, tuple(kept), tuple(kept.values()))


def _built_in() -> dict[str, LabelSpace]:
    spaces = (
        _cityscapes_without("cityscapes19", set()),
        _cityscapes_without("cityscapes16", {*NOT_IN_SYNTHIA}),
        _cityscapes_without("cityscapes13", {*NOT_IN_SYNTHIA, *THIN}),
        LabelSpace("camvid11", tuple(_CAMVID), tuple(_CAMVID.values()), _CAMVID_ALIASES),
        _cityscapes_without("toycity12", _NOT_IN_TOYCITY),
    )
    return {space.name: space for space in spaces}


SPACES = _built_in()
"""The built-in label spaces by name."""
