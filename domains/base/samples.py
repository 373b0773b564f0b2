"""Samples, what a reader is, and the two forms in which a domain is handed on: labelled and unlabelled.

Shapes: H, W pixels. Images are uint8 RGB tensors 3xHxW; labels uint8 HxW class ids, 255 = no supervision.
Tensors may be shared with a cache: never change them in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from domains.base.errors import DataError
from domains.base.labels import LabelSpace


@dataclass(frozen=True)
class Sample:
    """An image without supervision."""

    image: Tensor
    id: str


@dataclass(frozen=True)
class LabelledSample:
    """An image with its true label."""

    image: Tensor
    label: Tensor
    id: str


class Reader(Protocol):
    """Random access to a domain. Cheap to pickle: it holds paths and numbers, never pixels."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Name of every sample, unique and in a stable order."""
        ...

    @property
    def space(self) -> LabelSpace:
        """Label space of the ids that `label` returns."""
        ...

    @property
    def has_labels(self) -> bool:
        """Whether `label` may be called."""
        ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> Tensor:
        """Return the uint8 RGB image of shape (3, H, W)."""
        ...

    def label(self, index: int) -> Tensor:
        """Return the uint8 label of shape (H, W)."""
        ...


class Labelled:
    """The labelled samples of a reader.

    Raises:
        DataError: if the reader has no labels.
    """

    def __init__(self, reader: Reader) -> None:
        if not reader.has_labels:
            raise DataError("this domain has no labels: give its settings a folder of labels")
        self.reader = reader
        self.ids = reader.ids

    def __len__(self) -> int:
        return len(self.ids)

    def label(self, index: int) -> Tensor:
        """Return a label alone."""
        return self.reader.label(index)

    def sample(self, index: int) -> LabelledSample:
        """Return one image with its label."""
        return LabelledSample(self.reader.image(index), self.reader.label(index), self.ids[index])


class Unlabelled:
    """The images of a reader and nothing else: the only form in which training sees the target domain."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.ids = reader.ids

    def __len__(self) -> int:
        return len(self.ids)

    def sample(self, index: int) -> Sample:
        """Return one image."""
        return Sample(self._reader.image(index), self.ids[index])
