"""Shards of pseudo-labels and scores, their verified store, and the domain that training reads of it.

Shapes: K classes, H, W pixels, h, w the grid of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from domains.base.errors import DataError
from domains.base.samples import Unlabelled
from domains.pseudo.selection import SoftLabel
from domains.stores.arrow import open_table, write_rows
from domains.stores.store import (
    Shards,
    changed_shards,
    identity_features,
    read_store_manifest,
    require_intact,
    write_store_manifest,
)

if TYPE_CHECKING:
    from datasets import Features

_CODEC = pa.Codec("zstd", compression_level=1)


def label_features() -> Features:
    """Columns of a label shard; `label` is the raw uint8 plane, compressed with zstd."""
    from datasets import Features, Value

    return Features({**identity_features(), "label": Value("binary")})


def score_features() -> Features:
    """Columns of a score shard; `logits` holds the raw float16 arrays of `shapes` end to end, compressed with zstd."""
    from datasets import Features, List, Value

    return Features({**identity_features(), "shapes": List(List(Value("int32"))), "logits": Value("binary")})


@dataclass(frozen=True)
class LabelRow:
    """The pseudo-label of one image."""

    id: str
    index: int
    label_HW: Tensor
    """uint8 class ids, 255 = not selected."""


@dataclass(frozen=True)
class ScoreRow:
    """The low-resolution logits of one image, from which labels can be cut at any threshold."""

    id: str
    index: int
    height: int
    """Height in pixels that the logits are upsampled to."""
    width: int
    """Width in pixels that the logits are upsampled to."""
    views: Sequence[Tensor]
    """logits_Khw of each view of the image (scales differ in h and w), stored as float16."""


@dataclass(frozen=True)
class Manifest:
    """What a store of pseudo-labels holds and how it was made."""

    labeller: str
    """Digest of the weights that gave the labels."""
    portion: float
    """Share of the pixels of every class that was asked for, in [0, 1]."""
    thresholds: Mapping[str, float]
    """Threshold of every class by name."""
    class_counts: Mapping[str, int]
    """Number of selected pixels of every class by name."""
    predicted_counts: Mapping[str, int]
    """Number of pixels predicted as every class by name."""
    shards: Mapping[str, str]
    """File name and sha256 of every shard, in order."""
    softness: float = 0.0
    """Above 0: labels are soft (`domains.pseudo.selection.SoftLabel`)."""
    scores: Mapping[str, str] = field(default_factory=dict)
    """File name and sha256 of every shard of scores, in order, which soft labels follow from."""


def write_shard(path: Path, rows: Iterable[LabelRow], metadata: Mapping[str, str]) -> str:
    """Write pseudo-labels as one shard and return its sha256; see `domains.stores.arrow.write_rows`."""
    return write_rows(path, map(_label_columns, rows), label_features(), metadata)


def write_scores(path: Path, rows: Iterable[ScoreRow], metadata: Mapping[str, str]) -> str:
    """Write low-resolution logits as one shard and return its sha256; see `domains.stores.arrow.write_rows`."""
    return write_rows(path, map(_score_columns, rows), score_features(), metadata)


def compress_plane(label_HW: Tensor) -> bytes:
    """Return a uint8 label as `read_plane` finds it in the column `label`."""
    return _CODEC.compress(label_HW.cpu().contiguous().numpy(), asbytes=True)


def read_plane(table: pa.Table, row: int) -> Tensor:
    """Return the uint8 label of shape (H, W) in one row of a label shard."""
    height, width = (table.column(name)[row].as_py() for name in ("height", "width"))
    plane = _decompressed(table.column("label")[row], np.dtype(np.uint8), height * width)
    return torch.from_numpy(plane.reshape(height, width))


def read_scores(path: Path) -> Iterator[ScoreRow]:
    """Yield the rows of a score shard; the logits are float16.

    Raises:
        DataError: if the file is missing or no Arrow stream.
    """
    table = open_table(path)
    for row in range(table.num_rows):
        yield read_score(table, row)


def read_score(table: pa.Table, row: int) -> ScoreRow:
    """Return one row of a score shard."""
    facts = {name: table.column(name)[row].as_py() for name in ("id", "index", "height", "width", "shapes")}
    shapes = facts.pop("shapes")
    sizes = [math.prod(shape) for shape in shapes]
    logits = _decompressed(table.column("logits")[row], np.dtype(np.float16), sum(sizes))
    parts = torch.from_numpy(logits).split(sizes)
    return ScoreRow(**facts, views=[part.view(shape) for part, shape in zip(parts, shapes, strict=True)])


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a store, after all its shards: its presence says that the store is complete."""
    write_store_manifest(folder, manifest)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a store.

    Raises:
        DataError: if it is missing, broken or of another schema.
    """
    return read_store_manifest(folder, Manifest, "pseudo-labels", "label this domain again")


def verify(folder: Path) -> list[str]:
    """Return the names of the shards that are missing or differ from the manifest.

    Raises:
        DataError: if there is no valid manifest.
    """
    manifest = read_manifest(folder)
    return changed_shards(folder, {**manifest.shards, **manifest.scores})


class PseudoLabels:
    """The pseudo-labels of a domain by image id, checked against their manifest when opened.

    Cheap to pickle: a copy holds the folder alone, maps the shards at first use and is not checked again.

    Raises:
        DataError: if the manifest is missing, or shards are missing or changed.
    """

    def __init__(self, folder: Path) -> None:
        require_intact(folder, verify(folder))
        self.folder = folder

    def __getstate__(self) -> dict[str, Path]:
        return {"folder": self.folder}

    @cached_property
    def manifest(self) -> Manifest:
        """How the labels were made."""
        return read_manifest(self.folder)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the labelled images, in the order of the shards."""
        return tuple(self._labels.places)

    def label(self, id: str) -> Tensor:
        """Return the pseudo-label of an image.

        Returns:
            uint8 class ids of shape (H, W), 255 where nothing was selected.

        Raises:
            DataError: if the image has none.
        """
        if id not in self._labels.places:
            raise DataError(f"{self.folder} holds no pseudo-label of {id!r}: label this domain again")
        shard, row = self._labels.places[id]
        return read_plane(self._labels.tables[shard], row)

    def soft_label(self, id: str) -> SoftLabel | None:
        """Return the soft pseudo-label of an image; None where labels are hard."""
        manifest = self.manifest
        if not manifest.softness:
            return None
        shard, row = self._labels.places[id]
        scores = read_score(self._score_tables[shard], row)
        thresholds = np.array(list(manifest.thresholds.values()))
        return SoftLabel(scores.views, (scores.height, scores.width), thresholds, manifest.softness)

    @cached_property
    def _labels(self) -> Shards:
        return Shards(self.folder, tuple(self.manifest.shards))

    @cached_property
    def _score_tables(self) -> list[pa.Table]:
        return Shards(self.folder, tuple(self.manifest.scores)).tables


@dataclass(frozen=True)
class PseudoLabelledSample:
    """An image with a label that a network gave it."""

    image: Tensor
    pseudo_label: Tensor
    id: str
    soft_label: SoftLabel | None = None
    """What the pseudo-label stands for, where labels are soft."""


class PseudoLabelled:
    """The images of the target domain with the labels that a network gave them."""

    def __init__(self, images: Unlabelled, labels: PseudoLabels) -> None:
        self.images = images
        self.labels = labels
        self.ids = images.ids

    def __len__(self) -> int:
        return len(self.ids)

    def sample(self, index: int) -> PseudoLabelledSample:
        """Return one image with its pseudo-label.

        Raises:
            DataError: if the image has no pseudo-label or one of another size.
        """
        sample = self.images.sample(index)
        pseudo_label = self.labels.label(sample.id)
        if pseudo_label.shape != sample.image.shape[1:]:
            raise DataError(
                f"{sample.id}: the image is {tuple(sample.image.shape[1:])} pixels (height, width) but its "
                f"pseudo-label {tuple(pseudo_label.shape)}: label this domain again at the present size"
            )
        return PseudoLabelledSample(sample.image, pseudo_label, sample.id, self.labels.soft_label(sample.id))


def _label_columns(row: LabelRow) -> dict[str, object]:
    height, width = row.label_HW.shape
    plane = compress_plane(row.label_HW)
    return {"id": row.id, "index": row.index, "height": height, "width": width, "label": plane}


def _score_columns(row: ScoreRow) -> dict[str, object]:
    logits = torch.cat([view.detach().to("cpu", torch.float16).flatten() for view in row.views]).numpy()
    sizes = {"height": row.height, "width": row.width, "shapes": [list(view.shape) for view in row.views]}
    return {"id": row.id, "index": row.index, **sizes, "logits": _CODEC.compress(logits, asbytes=True)}


def _decompressed(value: pa.Scalar, dtype: np.dtype, count: int) -> np.ndarray:
    plane = _CODEC.decompress(value.as_buffer(), decompressed_size=count * dtype.itemsize)
    return np.frombuffer(plane, dtype=dtype)
