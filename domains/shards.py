"""Shards of pseudo-labels and scores, and the verified store that training reads.

A store is a folder of Arrow shards and a manifest, written last, that holds their sha256 and how they were made.
Shapes: K classes, H, W pixels, h, w the grid of the scores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from domains.arrow import open_table, sha256_of, write_rows, write_text
from domains.errors import DataError
from domains.selection import SoftLabel

if TYPE_CHECKING:
    from datasets import Features, Value

MANIFEST = "manifest.json"

_CODEC = pa.Codec("zstd", compression_level=1)


def label_features() -> Features:
    """Columns of a label shard; `label` is the raw uint8 plane, compressed with zstd."""
    from datasets import Features, Value

    return Features({**identity(), "label": Value("binary")})


def score_features() -> Features:
    """Columns of a score shard; `logits` holds the raw float16 arrays of `shapes` end to end, compressed with zstd."""
    from datasets import Features, List, Value

    return Features({**identity(), "shapes": List(List(Value("int32"))), "logits": Value("binary")})


def identity() -> dict[str, Value]:
    """Columns that say what a row is of."""
    # Imported where shards are written: it takes seconds, and training workers only read.
    from datasets import Value

    return {"id": Value("string"), "index": Value("int64"), "height": Value("int32"), "width": Value("int32")}


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
    """Above 0: labels are soft (`domains.selection.SoftLabel`)."""
    scores: Mapping[str, str] = field(default_factory=dict)
    """File name and sha256 of every shard of scores, in order, which soft labels follow from."""


def write_shard(path: Path, rows: Iterable[LabelRow], metadata: Mapping[str, str]) -> str:
    """Write pseudo-labels as one shard and return its sha256; see `domains.arrow.write_rows`."""
    return write_rows(path, map(_label_columns, rows), label_features(), metadata)


def write_scores(path: Path, rows: Iterable[ScoreRow], metadata: Mapping[str, str]) -> str:
    """Write low-resolution logits as one shard and return its sha256; see `domains.arrow.write_rows`."""
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
    write_text(folder / MANIFEST, json.dumps({"schema": 1, **asdict(manifest)}, indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a store.

    Raises:
        DataError: if it is missing, broken or of another schema.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != 1:
            raise DataError(f"{path} was written by another version: label this domain again")
        return Manifest(**{field.name: content[field.name] for field in fields(Manifest)})
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no complete pseudo-labels: {MANIFEST} is missing") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a manifest of pseudo-labels: {error}") from error


def verify(folder: Path) -> list[str]:
    """Return the names of the shards that are missing or differ from the manifest.

    Raises:
        DataError: if there is no valid manifest.
    """
    manifest = read_manifest(folder)
    return [
        name
        for name, digest in {**manifest.shards, **manifest.scores}.items()
        if not (folder / name).is_file() or sha256_of(folder / name) != digest
    ]


class PseudoLabels:
    """The pseudo-labels of a domain by image id, checked against their manifest when opened.

    Cheap to pickle: a copy holds the folder alone, maps the shards at first use and is not checked again.

    Raises:
        DataError: if the manifest is missing, or shards are missing or changed.
    """

    def __init__(self, folder: Path) -> None:
        bad = verify(folder)
        if bad:
            first = ", ".join(bad[:5]) + (", ..." if len(bad) > 5 else "")
            raise DataError(f"{folder}: {len(bad)} shards are missing or differ from the manifest: {first}")
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
        return tuple(self._places)

    def label(self, id: str) -> Tensor:
        """Return the pseudo-label of an image.

        Returns:
            uint8 class ids of shape (H, W), 255 where nothing was selected.

        Raises:
            DataError: if the image has none.
        """
        if id not in self._places:
            raise DataError(f"{self.folder} holds no pseudo-label of {id!r}: label this domain again")
        shard, row = self._places[id]
        return read_plane(self._tables[shard], row)

    def soft_label(self, id: str) -> SoftLabel | None:
        """Return the soft pseudo-label of an image; None where labels are hard."""
        manifest = self.manifest
        if not manifest.softness:
            return None
        shard, row = self._places[id]
        scores = read_score(self._score_tables[shard], row)
        thresholds = np.array(list(manifest.thresholds.values()))
        return SoftLabel(scores.views, (scores.height, scores.width), thresholds, manifest.softness)

    @cached_property
    def _tables(self) -> list[pa.Table]:
        return [open_table(self.folder / name) for name in self.manifest.shards]

    @cached_property
    def _score_tables(self) -> list[pa.Table]:
        return [open_table(self.folder / name) for name in self.manifest.scores]

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        ids = [table.column("id").to_pylist() for table in self._tables]
        return {id: (shard, row) for shard, names in enumerate(ids) for row, id in enumerate(names)}


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
