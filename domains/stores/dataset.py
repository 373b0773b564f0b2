"""A domain as verified Arrow shards: images at the working size with their labels, for training that reads fast.

A store is a folder of shards and a manifest, written last, with their sha256. `datasets.Dataset.from_file` opens each.
Shapes: H, W pixels. Images are uint8 RGB 3xHxW; labels uint8 HxW class ids, 255 = no supervision.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from domains.base.errors import DataError
from domains.base.files import sha256_of
from domains.base.labels import LabelSpace
from domains.readers.folder import require
from domains.stores.arrow import write_rows
from domains.stores.pseudo_labels import compress_plane, read_plane
from domains.stores.store import Shards, identity_features, read_store_manifest

if TYPE_CHECKING:
    from datasets import Features

Encoding = Literal["jpeg", "raw"]


@dataclass(frozen=True)
class Row:
    """One image, and its label where the domain has labels."""

    id: str
    index: int
    image_3HW: Tensor
    label_HW: Tensor | None


@dataclass(frozen=True)
class DomainManifest:
    """What a store of images holds."""

    images: int
    """Number of images."""
    has_labels: bool
    """Whether the shards hold labels."""
    label_space: str
    """Label space of the labels, as JSON."""
    encoding: str
    """How images are stored: jpeg with its quality, or raw pixels."""
    shards: Mapping[str, str]
    """File name and sha256 of every shard, in order."""


def image_features(encoding: Encoding, *, labelled: bool) -> Features:
    """Columns of a shard.

    `image` is a JPEG, or the raw uint8 pixels of shape (H, W, 3); `label` the uint8 plane, compressed with zstd.
    """
    from datasets import Features, Image, Value

    columns = {**identity_features(), "image": Image() if encoding == "jpeg" else Value("binary")}
    return Features({**columns, "label": Value("binary")} if labelled else columns)


def write_images(
    path: Path, rows: Iterable[Row], encoding: Encoding, quality: int, metadata: Mapping[str, str], *, labelled: bool
) -> str:
    """Write images, and their labels, as one shard and return its sha256; see `domains.stores.arrow.write_rows`."""
    columns = (_columns(row, encoding, quality) for row in rows)
    return write_rows(path, columns, image_features(encoding, labelled=labelled), metadata, batch_rows=1)


def read_domain(folder: Path) -> DomainManifest:
    """Read the manifest of a store.

    Raises:
        DataError: if it is missing, broken, of another schema or of another kind of store.
    """
    return read_store_manifest(folder, DomainManifest, "shards of images", "the verb prepare writes them with --shards")


class ArrowReader:
    """The images and labels of a store, checked against its manifest when opened.

    Cheap to pickle: a copy holds the folder and the chosen ids alone, maps the shards at first use and is not checked
    again. Labels, and raw images, are those of the reader that they were written from, bit for bit.

    Args:
        folder: a store.
        ids: ids to use, in this order; None = all, as they were.

    Raises:
        DataError: if the manifest is missing, shards are missing or changed, or an id has no image.
    """

    def __init__(self, folder: Path, ids: Sequence[str] | None = None) -> None:
        self.folder = folder
        bad = [name for name, digest in self.manifest.shards.items() if _digest(folder / name) != digest]
        if bad:
            first = ", ".join(bad[:5]) + (", ..." if len(bad) > 5 else "")
            raise DataError(
                f"{folder}: {len(bad)} of {len(self.manifest.shards)} shards are missing or differ from the manifest: "
                f"{first}; the verb prepare that wrote them writes these anew"
            )
        self._chosen = None if ids is None else require(ids, self._shards.places, f"no image in {folder}")

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "_chosen": self._chosen}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> tuple[str, ...]:
        """Name of every image."""
        return tuple(self._shards.places) if self._chosen is None else self._chosen

    @cached_property
    def manifest(self) -> DomainManifest:
        """What the store holds."""
        return read_domain(self.folder)

    @property
    def space(self) -> LabelSpace:
        """Label space of the labels."""
        return self._space

    @property
    def has_labels(self) -> bool:
        """Whether `label` may be called."""
        return self.manifest.has_labels

    def image(self, index: int) -> Tensor:
        """Return the uint8 RGB image of shape (3, H, W)."""
        table, row = self._row(index)
        value = table.column("image")[row]
        if isinstance(value, pa.StructScalar):
            with Image.open(io.BytesIO(value["bytes"].as_buffer()), formats=("JPEG",)) as image:
                return torch.from_numpy(np.array(image)).permute(2, 0, 1)
        height, width = (table.column(name)[row].as_py() for name in ("height", "width"))
        # A copy, since the mapped file cannot be written to and a tensor may be.
        pixels = np.frombuffer(value.as_buffer(), dtype=np.uint8).reshape(height, width, 3).copy()
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def label(self, index: int) -> Tensor:
        """Return the uint8 label of shape (H, W) in the ids of `space`.

        Raises:
            DataError: if the store holds no labels.
        """
        if not self.has_labels:
            raise DataError(f"{self.folder} was written without labels")
        return read_plane(*self._row(index))

    @cached_property
    def _space(self) -> LabelSpace:
        return LabelSpace.from_json(self.manifest.label_space)

    def _row(self, index: int) -> tuple[pa.Table, int]:
        shard, row = self._order[index]
        return self._shards.tables[shard], row

    @cached_property
    def _order(self) -> list[tuple[int, int]]:
        return [self._shards.places[id] for id in self.ids]

    @cached_property
    def _shards(self) -> Shards:
        return Shards(self.folder, tuple(self.manifest.shards))


def _columns(row: Row, encoding: Encoding, quality: int) -> dict[str, object]:
    pixels_HW3 = row.image_3HW.permute(1, 2, 0).contiguous().numpy()
    height, width = pixels_HW3.shape[:2]
    columns: dict[str, object] = {"id": row.id, "index": row.index, "height": height, "width": width}
    if encoding == "raw":
        columns["image"] = pixels_HW3.tobytes()
    else:
        file = io.BytesIO()
        Image.fromarray(pixels_HW3).save(file, "JPEG", quality=quality)
        columns["image"] = {"bytes": file.getvalue(), "path": None}
    return columns if row.label_HW is None else {**columns, "label": compress_plane(row.label_HW)}


def _digest(path: Path) -> str:
    """The sha256 of a file, or an empty text; a process reads each file once, as it opens a domain several times."""
    if not path.is_file():
        return ""
    facts = path.stat()
    return _digest_once(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)


@cache
def _digest_once(path: Path, _size: int, _changed: int, _file: int) -> str:
    return sha256_of(path)
