"""Drawn placeholders for data that are not here: tree, encodings and image sizes of a data set, none of its content.

With them everything that a run does to such data can be tried before they are downloaded.

Shapes: H, W pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import kornia_rs
import numpy as np
from PIL import Image

from domains.base.settings import DomainSettings
from domains.readers.encodings import IdLabels
from domains.registry import LAYOUTS

CELL = 64
"""Side in pixels of the patches of one class in a drawn label: every class of a data set finds room."""


@dataclass(frozen=True)
class Shape:
    """What a data set measures."""

    height: int
    width: int
    counts: Mapping[str, int]
    """Images of each split; of the split "" where it has none."""

    def images(self, settings: DomainSettings) -> int:
        """Images that settings choose of the whole data set; a list of ids that is not here counts as all."""
        every = self.counts.get(settings.split, self.counts.get("", 0))
        return min(every, settings.count) if settings.count else every


_CITYSCAPES = Shape(1024, 2048, {"train": 2975, "val": 500, "test": 1525})

SHAPES: Mapping[str, Shape] = {
    "cityscapes": _CITYSCAPES,
    "foggy_cityscapes": _CITYSCAPES,
    "gta5": Shape(1052, 1914, {"": 24966}),
    "synthia": Shape(760, 1280, {"": 9400}),
    "acdc": Shape(1080, 1920, {"train": 1600, "val": 406, "test": 2000}),
    "bdd100k": Shape(720, 1280, {"train": 7000, "val": 1000, "test": 2000}),
    "camvid": Shape(360, 480, {"train": 367, "val": 101, "test": 233}),
}
"""Published sizes and numbers of images, by kind of domain; of kinds that are not here no placeholder can be drawn."""


def missing(settings: DomainSettings, root: str) -> bool:
    """Whether a domain's folder is not here, but its measures are known."""
    return settings.kind in SHAPES and not (Path(root) / settings.root).is_dir()


def write_placeholder(settings: DomainSettings, folder: Path, count: int) -> DomainSettings:
    """Write `count` images of a data set's size and labels that show all its classes, in its tree.

    All have the same content and lie on the disk once.

    Args:
        settings: a domain of a kind in `SHAPES`.
        folder: root of the tree; made.
        count: number of images, in each condition where the tree has such parts.

    Returns:
        The settings of the placeholder: rooted in the folder, all of its images.
    """
    shape, layout = SHAPES[settings.kind], LAYOUTS[settings.kind](settings, folder)
    rng = np.random.default_rng(0)
    ids = [f"{part}/{number:05d}" for part in layout.parts for number in range(count)]
    images = [folder / layout.images / f"{id.lstrip('/')}{layout.image_end}.png" for id in ids]
    # Coarse noise, enlarged: a photograph's size on disk and time to decode, roughly.
    coarse = rng.integers(0, 256, (shape.height // 8, shape.width // 8, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((shape.width, shape.height))
    _put(images, lambda path: picture.save(path, compress_level=1))
    if layout.labels:
        assert isinstance(layout.decode, IdLabels)
        decode, labels = layout.decode, [folder / layout.labels / f"{id.lstrip('/')}{layout.label_end}" for id in ids]
        _put(labels, lambda path: _write_label(path, decode, shape, rng))
    return replace(settings, root=str(folder), list="", count=0)


def _write_label(path: Path, decode: IdLabels, shape: Shape, rng: np.random.Generator) -> None:
    ids = decode.known
    cells = (-(-shape.height // CELL), -(-shape.width // CELL))
    drawn = rng.permutation(np.resize(ids, cells[0] * cells[1])).reshape(cells)
    raw_HW = drawn.repeat(CELL, 0).repeat(CELL, 1)[: shape.height, : shape.width]
    if decode.deep:
        kornia_rs.io.write_image_png_u16(str(path), np.stack([raw_HW] * 3, axis=-1).astype(np.uint16), "rgb")
    else:
        Image.fromarray(raw_HW.astype(np.uint8)).save(path)


def _put(paths: list[Path], write: Callable[[Path], None]) -> None:
    """Write the first file and give it all these names."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path == paths[0]:
            write(path)
        else:
            os.link(paths[0], path)
