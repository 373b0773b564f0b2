"""Translated source images as a verified store (`domains.stores.store`), and the reader that training sees of it.

Shapes: H, W pixels. Images are uint8 RGB tensors 3xHxW, stored as PNG: `datasets` opens the shards as pictures.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from domains.base.errors import DataError, nearest
from domains.base.files import refuse_links
from domains.base.labels import LabelSpace
from domains.base.samples import Reader
from domains.readers.folder import require
from domains.readers.images import resize_image
from domains.stores.arrow import write_rows
from domains.stores.store import (
    MANIFEST,
    Shards,
    changed_shards,
    identity_features,
    read_store_manifest,
    require_intact,
    write_store_manifest,
)

if TYPE_CHECKING:
    from datasets import Features

    from domains.base.settings import IsaSettings

KIND = "translated source images"


@dataclass(frozen=True)
class TranslationManifest:
    """What a store of translated images holds and how it was made."""

    kind: str
    """`KIND`, which tells it from other stores."""
    translator: str
    """Digest of the weights that translated."""
    height: int
    """Height in pixels of all images; 0: each has that of its original."""
    width: int
    """Width in pixels of all images; 0: each has that of its original."""
    shards: Mapping[str, str]
    """File name and sha256 of every shard, in order."""

    @property
    def content(self) -> str:
        """Digest of all that the store holds."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class TranslatedRow:
    """The translation of one image."""

    id: str
    index: int
    image_3HW: Tensor
    """uint8 RGB."""


def write_translations(path: Path, rows: Iterable[TranslatedRow], metadata: Mapping[str, str]) -> str:
    """Write translated images as one shard and return its sha256; see `domains.stores.arrow.write_rows`."""
    return write_rows(path, map(_columns, rows), _features(), metadata)


def write_translation_manifest(folder: Path, manifest: TranslationManifest) -> None:
    """Write the manifest of a store, after all its shards: its presence says that the store is complete."""
    write_store_manifest(folder, manifest)


def read_picture(table: pa.Table, row: int) -> Tensor:
    """Return the uint8 RGB image of shape (3, H, W) in one row of a shard."""
    content = table.column("image")[row]["bytes"].as_buffer()
    with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


class Translations:
    """The translated images of a domain by image id, checked against their manifest when opened.

    Raises:
        DataError: if the manifest is missing, or shards are missing or changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        require_intact(folder, changed_shards(folder, self.manifest.shards))

    def __getstate__(self) -> dict[str, Path]:
        return {"folder": self.folder}

    @cached_property
    def manifest(self) -> TranslationManifest:
        """How the images were made."""
        return read_store_manifest(self.folder, TranslationManifest, KIND, "let its run write it again")

    @cached_property
    def _shards(self) -> Shards:
        return Shards(self.folder, tuple(self.manifest.shards))

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the images, in the order of the shards."""
        return tuple(self._shards.places)

    def image(self, id: str) -> Tensor:
        """Return the translation of the image with this id, uint8 of shape (3, H, W)."""
        shard, row = self._shards.places[id]
        return read_picture(self._shards.tables[shard], row)


class TranslatedByRun:
    """Translated copies of a source domain that another run wrote, with its labels.

    Args:
        reader: source domain.
        run: folder of that run.
        height: height in pixels to resize to; 0: as stored.
        width: width in pixels to resize to; 0: as stored.

    Raises:
        DataError: if the run has none, an image of the source has no translation, or their shapes cannot agree.
    """

    def __init__(self, reader: Reader, run: Path, height: int = 0, width: int = 0) -> None:
        self.ids, self.space, self.has_labels = reader.ids, reader.space, reader.has_labels
        self._reader, self.height, self.width = reader, height, width
        self._store = Translations(find_translations(run))
        require(self.ids, frozenset(self._store.ids), f"no translation in {run}: its run had other source images")
        _require_same_shape(run, self._store.manifest, height, width)

    ids: tuple[str, ...]
    space: LabelSpace
    has_labels: bool

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Tensor:
        """Return the translated image, uint8 RGB of shape (3, H, W)."""
        image_3HW = self._store.image(self.ids[index])
        return resize_image(image_3HW, self.height, self.width) if self.height else image_3HW

    def label(self, index: int) -> Tensor:
        """Return the label of the original image."""
        return self._reader.label(index)


def find_translations(run: Path) -> Path:
    """The finished store of translated images in a run folder.

    Raises:
        DataError: if there is none, or a symbolic link leads out of the folder.
    """
    if not run.is_dir():
        raise DataError(f"run folder {run} does not exist{nearest(run)}")
    refuse_links(run)
    for path in sorted(run.glob(f"stages/*/{MANIFEST}")):
        if f'"{KIND}"' in path.read_text(encoding="utf-8", errors="replace"):
            return path.parent
    raise DataError(f"{run} holds no finished {KIND}: name the folder of a run that translates, and let it end first")


def translations_record(isa: IsaSettings | None) -> dict[str, str] | None:
    """What of another run decides the outcome of a training: the digest of its translations; None where none is used.

    Raises:
        DataError: if that run has none.
    """
    if isa is None or isa.ratio == 0 or isa.translator != "run":
        return None
    folder = find_translations(Path(isa.run))
    return {"sha256": read_store_manifest(folder, TranslationManifest, KIND, "let its run write it again").content}


def _require_same_shape(run: Path, manifest: TranslationManifest, height: int, width: int) -> None:
    """Images of one aspect can be resized to each other; those of unknown size must be as they are on both sides."""
    own = (manifest.height, manifest.width)
    if not any(own) or own == (height, width):
        return
    # A height that was rounded to whole pixels is off by one at most.
    if not height or abs(own[0] * width / own[1] - height) > 1:
        wanted = f"{height}x{width}" if height else "the size that they have"
        raise DataError(
            f"{run} translated images at {own[0]}x{own[1]} pixels (height x width), this run reads the source at "
            f"{wanted}: let both read it at the same size"
        )


def _features() -> Features:
    from datasets import Features
    from datasets import Image as Picture

    return Features({**identity_features(), "image": Picture()})


def _columns(row: TranslatedRow) -> dict[str, object]:
    content = io.BytesIO()
    Image.fromarray(row.image_3HW.permute(1, 2, 0).contiguous().numpy()).save(content, "PNG", compress_level=3)
    _, height, width = row.image_3HW.shape
    picture = {"bytes": content.getvalue(), "path": None}
    return {"id": row.id, "index": row.index, "height": height, "width": width, "image": picture}
