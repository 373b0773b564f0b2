"""Label files to class ids: what the values on disk of a data set mean.

Shapes: H, W pixels. Labels are uint8 HxW class ids, 255 = no supervision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from domains.base.errors import DataError
from domains.base.labels import Colour, LabelSpace
from domains.readers.images import read_colours, read_deep, read_label
from losses.ignore import IGNORE

_STRAY = IGNORE - 1
"""No class has this id, since a space has at most 254: it marks what a table does not hold."""


def plain_ids(path: Path) -> np.ndarray:
    """The ids of a grey or palette PNG of 8 bits, uint8 (H, W)."""
    return read_label(path).numpy()


def first_channel(path: Path) -> np.ndarray:
    """The ids of a PNG of 16 bits a channel that holds them in its first, uint16 (H, W)."""
    return read_deep(path)[..., 0]


class IdLabels:
    """Labels of one id a pixel, in a numbering of their own.

    Args:
        space: label space of the result.
        ids: ids on disk of every class that occurs, by its name; None = the ids of the space.
        void: ids on disk without a class, which become 255.
        numbering: what errors call these ids; empty = the name of the space.
        read: turns a file into unsigned ids of shape (H, W).

    Raises:
        ValueError: if a name is no class of the space or an id is given twice.
    """

    def __init__(
        self,
        space: LabelSpace,
        ids: Mapping[str, Sequence[int]] | None = None,
        *,
        void: Iterable[int] = (IGNORE,),
        numbering: str = "",
        read: Callable[[Path], np.ndarray] = plain_ids,
    ) -> None:
        self.space = space
        self._numbering = numbering or space.name
        self._read = read
        table = np.full(256, _STRAY, dtype=np.uint8)
        meaning = {name: (index,) for index, name in enumerate(space.classes)} if ids is None else ids
        pairs = [(value, space.classes.index(name)) for name, values in meaning.items() for value in values]
        for value, label in [*pairs, *((value, IGNORE) for value in void)]:
            if table[value] != _STRAY:
                raise ValueError(f"{self._numbering}: id {value} is given twice")
            table[value] = label
        self._table = table.tobytes()

    @property
    def known(self) -> list[int]:
        """Ids on disk that mean a class or void, in ascending order."""
        return [value for value in range(256) if self._table[value] != _STRAY]

    @property
    def deep(self) -> bool:
        """Whether files have 16 bits a channel."""
        return self._read is first_channel

    def __call__(self, path: Path) -> Tensor:
        """Return the uint8 label of shape (H, W) in the ids of `space`.

        Raises:
            DataError: if the file cannot be read, or holds an id that is neither a class nor void; the message
                holds a histogram.
        """
        raw_HW = self._read(path)
        if raw_HW.max() > IGNORE:  # would wrap around in 8 bits
            raise self._strangers(raw_HW, path)
        plane = bytearray(raw_HW.astype(np.uint8, copy=False).tobytes())
        label_HW = np.frombuffer(plane.translate(self._table), np.uint8).reshape(raw_HW.shape)  # quicker than indexing
        if (label_HW == _STRAY).any():
            raise self._strangers(raw_HW, path)
        return torch.from_numpy(label_HW)

    def _strangers(self, raw_HW: np.ndarray, path: Path) -> DataError:
        values, counts = np.unique(raw_HW, return_counts=True)
        found = ", ".join(f"{value}: {count}" for value, count in zip(values[:40], counts[:40], strict=True))
        known = _ranges(self.known)
        return DataError(f"{path} holds class ids outside {self._numbering} ({known}); pixels by id: {found}")


class ColourLabels:
    """Labels that paint every pixel in the colour of its class; any other colour becomes 255.

    Args:
        space: label space of the result.
        colours: RGB colours of every class, by its name.
        void: colours without a class, which are known to occur.
    """

    def __init__(self, space: LabelSpace, colours: Mapping[str, Sequence[Colour]], void: Sequence[Colour]) -> None:
        self.space = space
        pairs = [(colour, space.classes.index(name)) for name, group in colours.items() for colour in group]
        pairs += [(colour, IGNORE) for colour in void]
        pairs.sort()  # the order of colours is that of their codes
        self._codes = _code(np.array([colour for colour, _ in pairs]))
        self._ids = np.array([label for _, label in pairs], dtype=np.uint8)

    def __call__(self, path: Path) -> Tensor:
        """Return the uint8 label of shape (H, W) in the ids of `space`.

        Raises:
            DataError: if the file cannot be read, is no RGB image, or holds no colour that means anything.
        """
        code_HW = _code(read_colours(path))
        place_HW = np.searchsorted(self._codes, code_HW).clip(max=len(self._codes) - 1)
        known_HW = self._codes[place_HW] == code_HW
        # Strays are slips of the pen; a file of nothing else is painted in other colours.
        if not known_HW.any():
            raise DataError(f"{path}: no pixel has any of the {len(self._codes)} colours of this data set")
        return torch.from_numpy(np.where(known_HW, self._ids[place_HW], np.uint8(IGNORE)))


Decoder = IdLabels | ColourLabels
"""What turns a label file into class ids of its `space`."""


def _code(colour: np.ndarray) -> np.ndarray:
    """One number for each colour, int32 (...) of (..., 3)."""
    return colour.astype(np.int32) @ np.array([65536, 256, 1], dtype=np.int32)


def _ranges(values: Sequence[int]) -> str:
    """Whole numbers in ascending order as text, such as "0 to 18, 255"."""
    starts = [value for value in values if value - 1 not in values]
    ends = [value for value in values if value + 1 not in values]
    return ", ".join(f"{a} to {b}" if a < b else str(a) for a, b in zip(starts, ends, strict=True))
