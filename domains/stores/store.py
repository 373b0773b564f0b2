"""A verified store: a folder of Arrow shards by image id, and a manifest, written last, that holds their sha256.

What a row of a shard is, and what else the manifest says, is the business of the modules that build on this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyarrow as pa

from domains.base.errors import DataError, nearest
from domains.base.files import sha256_of, write_text
from domains.stores.arrow import open_table

if TYPE_CHECKING:
    from datasets import Value

MANIFEST = "manifest.json"


class StoreManifest(Protocol):
    """A frozen dataclass of JSON-able values."""

    @property
    def shards(self) -> Mapping[str, str]:
        """File name and sha256 of every shard, in order."""
        ...


Kind = TypeVar("Kind", bound=StoreManifest)


def identity_features() -> dict[str, Value]:
    """The columns that every shard begins with."""
    # Imported where shards are written: it takes seconds, and training workers only read.
    from datasets import Value

    return {"id": Value("string"), "index": Value("int64"), "height": Value("int32"), "width": Value("int32")}


def write_store_manifest(folder: Path, manifest: Any) -> None:
    """Write the manifest of a store, after all its shards: its presence says that the store is complete."""
    write_text(folder / MANIFEST, json.dumps({"schema": 1, **asdict(manifest)}, indent=2) + "\n")


def read_store_manifest(folder: Path, kind: type[Kind], what: str, again: str) -> Kind:
    """Read the manifest of a store.

    Args:
        folder: the store.
        kind: its class.
        what: what the store holds, for the messages.
        again: how one comes by a new one, for the messages.

    Raises:
        DataError: if it is missing, broken, of another schema, or names a file outside the store.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != 1:
            raise DataError(f"{path} was written by another version: {again}")
        manifest = kind(**{field.name: content[field.name] for field in fields(kind)})  # type: ignore[arg-type]
        _require_inside(path, [*manifest.shards, *getattr(manifest, "scores", ())])
        return manifest
    except FileNotFoundError as error:
        hint = "" if folder.is_dir() else nearest(folder)
        raise DataError(f"{folder} holds no complete {what}: {MANIFEST} is missing{hint}; {again}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a manifest of {what}: {error}") from error


def changed_shards(folder: Path, shards: Mapping[str, str]) -> list[str]:
    """Return the names of the shards that are missing or have another sha256."""
    return [name for name, digest in shards.items() if not _has_digest(folder / name, digest)]


def require_intact(folder: Path, changed: list[str]) -> None:
    """Refuse a store with changed shards.

    Raises:
        DataError: naming the first five.
    """
    if changed:
        first = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
        raise DataError(f"{folder}: {len(changed)} shards are missing or differ from the manifest: {first}")


class Shards:
    """The rows of the shards of a store by image id, memory-mapped at first use.

    Cheap to pickle: a copy holds names alone.
    """

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self.folder, self.names = folder, names

    def __reduce__(self) -> tuple[type[Shards], tuple[Path, tuple[str, ...]]]:
        return Shards, (self.folder, self.names)

    @cached_property
    def tables(self) -> list[pa.Table]:
        """The shards, in order."""
        return [open_table(self.folder / name) for name in self.names]

    @cached_property
    def places(self) -> dict[str, tuple[int, int]]:
        """Shard and row of each image by its id, in the order of the shards."""
        ids = [table.column("id").to_pylist() for table in self.tables]
        return {id: (shard, row) for shard, names in enumerate(ids) for row, id in enumerate(names)}


def _require_inside(manifest: Path, names: list[str]) -> None:
    for name in names:
        if Path(name).name != name or name == "..":
            raise DataError(f"{manifest} names a shard outside its folder: {name!r}")


def _has_digest(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest
