"""Readers around another reader: they resize, rename classes, choose and remember.

Shapes: H, W pixels. Images are uint8 RGB tensors 3xHxW; labels uint8 HxW class ids, 255 = no supervision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from domains.base.errors import DataError
from domains.base.labels import LabelSpace, remap
from domains.base.samples import Reader
from domains.readers.images import resize_image, resize_label
from losses.ignore import IGNORE


class _Wrapper:
    """A reader that passes on what it does not change."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    @property
    def ids(self) -> tuple[str, ...]:
        return self.reader.ids

    @property
    def space(self) -> LabelSpace:
        return self.reader.space

    @property
    def has_labels(self) -> bool:
        return self.reader.has_labels

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Tensor:
        return self.reader.image(index)

    def label(self, index: int) -> Tensor:
        return self.reader.label(index)


class Resized(_Wrapper):
    """Images (bilinear, antialiased) and labels (nearest) at a fixed size; a size of 0 keeps theirs."""

    def __init__(self, reader: Reader, height: int, width: int) -> None:
        super().__init__(reader)
        self.height = height
        self.width = width

    def image(self, index: int) -> Tensor:
        """Return the resized image."""
        image_3HW = self.reader.image(index)
        return resize_image(image_3HW, self.height, self.width) if self.height else image_3HW

    def label(self, index: int) -> Tensor:
        """Return the resized label."""
        label_HW = self.reader.label(index)
        return resize_label(label_HW, self.height, self.width) if self.height else label_HW


class ResizedImages(Resized):
    """Images at a fixed size and labels at their own: predictions are measured against labels as they were made."""

    def label(self, index: int) -> Tensor:
        """Return the label as it is."""
        return self.reader.label(index)


class Mapped(_Wrapper):
    """Labels in the ids of another label space, by class name or alias; classes it lacks become 255.

    Raises:
        DataError: if the two label spaces share no class.
    """

    def __init__(self, reader: Reader, space: LabelSpace) -> None:
        super().__init__(reader)
        self._space = space
        self._table = remap(reader.space, space)
        if (self._table == IGNORE).all():
            raise DataError(
                f"label spaces {reader.space.name} and {space.name} share no class: "
                f"{', '.join(reader.space.classes[:3])}, ... and {', '.join(space.classes[:3])}, ..."
            )

    @property
    def space(self) -> LabelSpace:
        """The label space mapped to."""
        return self._space

    def label(self, index: int) -> Tensor:
        """Return the label in the ids of `space`."""
        return torch.from_numpy(self._table[self.reader.label(index).numpy()])


class Subset(_Wrapper):
    """The samples at some positions of a reader, in that order."""

    def __init__(self, reader: Reader, indices: Sequence[int]) -> None:
        super().__init__(reader)
        self.indices = tuple(indices)
        self._ids = tuple(reader.ids[index] for index in self.indices)

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the chosen samples."""
        return self._ids

    def image(self, index: int) -> Tensor:
        """Return the image at the chosen position."""
        return self.reader.image(self.indices[index])

    def label(self, index: int) -> Tensor:
        """Return the label at the chosen position."""
        return self.reader.label(self.indices[index])


class Cached(_Wrapper):
    """Keeps what was read, in the order of first use, up to a limit; what comes later is read every time.

    Nothing is ever thrown out: under shuffled passes a full cache that evicts would serve nothing at all. The
    content stays behind when the reader is pickled.
    """

    def __init__(self, reader: Reader, limit_bytes: int) -> None:
        super().__init__(reader)
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._images: dict[int, Tensor] = {}
        self._labels: dict[int, Tensor] = {}

    def __reduce__(self) -> tuple[type[Cached], tuple[Reader, int]]:
        return Cached, (self.reader, self.limit_bytes)

    def image(self, index: int) -> Tensor:
        """Return the image, read or remembered."""
        return self._recall(self._images, self.reader.image, index)

    def label(self, index: int) -> Tensor:
        """Return the label, read or remembered."""
        return self._recall(self._labels, self.reader.label, index)

    def _recall(self, store: dict[int, Tensor], read: Callable[[int], Tensor], index: int) -> Tensor:
        if index in store:
            return store[index]
        tensor = read(index)
        if self.held_bytes + tensor.nbytes <= self.limit_bytes:
            store[index] = tensor
            self.held_bytes += tensor.nbytes
        return tensor
