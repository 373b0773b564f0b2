"""Arrow stream files written so that a killed writer leaves nothing half done.

A file is one Arrow IPC stream that `datasets.Dataset.from_file` opens memory-mapped, with its sha256 beside it in the
form that `sha256sum --check` reads.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from domains.errors import DataError

if TYPE_CHECKING:
    from datasets import Features

BATCH_ROWS = 32
"""Rows written at a time unless told otherwise."""

_FEATURES_KEY = b"huggingface"


def write_rows(
    path: Path,
    rows: Iterable[Mapping[str, object]],
    features: Features,
    metadata: Mapping[str, str],
    *,
    batch_rows: int = BATCH_ROWS,
) -> str:
    """Write rows as one Arrow IPC stream file: under a temporary name, synced, then renamed.

    Args:
        path: file to write; an older one of that name is replaced.
        rows: one mapping a row with a value for every feature; consumed in small batches.
        features: columns and their types, which `datasets` finds again in the schema.
        metadata: what the file was made from, kept in the schema; `intact_digest` compares it.
        batch_rows: rows in memory at a time; a column of them may have 2 GiB.

    Returns:
        The sha256 of the file, hexadecimal.

    Raises:
        OSError: if the disk is full or not writable; the message names the path and the bytes written so far.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_stream(temporary, rows, _schema(features, metadata), batch_rows)
        digest = sha256_of(temporary)
        _publish(temporary, path)
        write_text(_digest_path(path), f"{digest}  {path.name}\n")
    except OSError as error:
        written = temporary.stat().st_size if temporary.exists() else 0
        raise OSError(f"cannot write {path} ({written} bytes so far): {error}") from error
    finally:
        _discard(temporary)
    return digest


def intact_digest(path: Path, metadata: Mapping[str, str]) -> str | None:
    """Return the sha256 of a file if it is whole and was made from `metadata`, else None.

    This is what lets work that was cut off redo only the files that are missing, damaged or out of date.
    """
    if not path.is_file() or not _digest_path(path).is_file():
        return None
    digest = sha256_of(path)
    noted = _digest_path(path).read_text(encoding="utf-8", errors="replace").split()
    if noted[:1] != [digest]:
        return None
    return digest if read_metadata(path) == dict(metadata) else None


def read_metadata(path: Path) -> dict[str, str]:
    """Return what a file says it was made from.

    Raises:
        DataError: if the file is missing or no Arrow stream.
    """
    stored = open_table(path).schema.metadata or {}
    return {key.decode(): value.decode() for key, value in stored.items() if key != _FEATURES_KEY}


def open_table(path: Path) -> pa.Table:
    """Return a file as a memory-mapped table: a page is read when a row of it is asked for.

    Raises:
        DataError: if the file is missing or no Arrow stream.
    """
    try:
        return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} is not a readable Arrow file: {error}") from error


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a small file under a temporary name, sync it and rename it."""
    temporary = _temporary(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        _publish(temporary, path)
    finally:
        _discard(temporary)


def _schema(features: Features, metadata: Mapping[str, str]) -> pa.Schema:
    schema = features.arrow_schema
    own = {key.encode(): value.encode() for key, value in metadata.items()}
    return schema.with_metadata({**(schema.metadata or {}), **own})


def _write_stream(path: Path, rows: Iterable[Mapping[str, object]], schema: pa.Schema, batch_rows: int) -> None:
    remaining = iter(rows)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while batch := list(islice(remaining, batch_rows)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))


def _publish(temporary: Path, path: Path) -> None:
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)  # without it, a power cut may forget the new name


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _temporary(path: Path) -> Path:
    # Unique, since a task and its retry on another machine may write the same file at the same time.
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def _discard(temporary: Path) -> None:
    with suppress(OSError):  # must not hide why the write failed
        temporary.unlink(missing_ok=True)


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
