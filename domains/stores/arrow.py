"""Arrow stream files written so that a killed writer leaves nothing half done.

A file is one Arrow IPC stream that `datasets.Dataset.from_file` opens memory-mapped, with its sha256 beside it in the
form that `sha256sum --check` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from domains.base.errors import DataError
from domains.base.files import note_digest, replacing, sha256_of, verified_digest

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
    written = 0
    try:
        with replacing(path) as temporary:
            try:
                _write_stream(temporary, rows, _schema(features, metadata), batch_rows)
                digest = sha256_of(temporary)
            finally:
                written = temporary.stat().st_size
        note_digest(path, digest)
    except OSError as error:
        raise OSError(f"cannot write {path} ({written} bytes so far): {error}") from error
    return digest


def intact_digest(path: Path, metadata: Mapping[str, str]) -> str | None:
    """Return the sha256 of a file if it is whole and was made from `metadata`, else None.

    This is what lets work that was cut off redo only the files that are missing, damaged or out of date.
    """
    digest = verified_digest(path)
    return digest if digest and read_metadata(path) == dict(metadata) else None


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


def _schema(features: Features, metadata: Mapping[str, str]) -> pa.Schema:
    schema = features.arrow_schema
    own = {key.encode(): value.encode() for key, value in metadata.items()}
    return schema.with_metadata({**(schema.metadata or {}), **own})


def _write_stream(path: Path, rows: Iterable[Mapping[str, object]], schema: pa.Schema, batch_rows: int) -> None:
    remaining = iter(rows)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while batch := list(islice(remaining, batch_rows)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
