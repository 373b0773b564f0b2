"""Files of a run: digests of values and folders, JSON, logs that only grow, locks."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from domains.base.files import TEMPORARY, open_itself, replacing, sync, temporary_beside, write_text
from domains.base.files import sha256_of as digest
from orchestrator.base.errors import UserError

if TYPE_CHECKING:
    import torch


def digest_of(value: object) -> str:
    """The sha256 of a JSON-able value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digests_below(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder, by its path relative to the folder; symbolic links are left out."""
    return {str(path.relative_to(folder)): digest(path) for path in sorted(_files_below(folder))}


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented for people."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, atomically.

    Args:
        path: the file.
        tensors: by name; on any device, in any layout. None may share memory with another.
        metadata: kept in the file; of several entries the order is another each time.
    """
    # Here, since the command line comes by this module and needs no torch.
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, dict(metadata) if metadata else None)


def append(path: Path, text: str) -> None:
    """Add a text to the end of a file, not of what a symbolic link of its name points to; it is on the disk then."""
    with open_itself(path, "a") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_text(path: Path) -> str:
    """The text of a file, not of what a symbolic link of its name points to."""
    with open_itself(path, "r") as file:
        return file.read()


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: it is not JSON; the message names the file.
        DataError: it is a symbolic link.
    """
    with open_itself(path) as file:
        content = file.read()
    try:
        return json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); restore it or remove the run folder.") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Records of a JSON-lines file; a last line that a crash cut off is left out."""
    if not path.exists():
        return []
    text = read_text(path)
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines() if line]


def drop_cut_line(path: Path) -> None:
    """Remove a last line that a crash cut off, so that the next one begins a line of its own."""
    if path.exists():
        with open_itself(path, "rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def sync_folder(folder: Path) -> None:
    """Flush the files of a folder and the folder itself to disk."""
    for path in [*_files_below(folder), folder]:
        sync(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder of a private name to fill; it takes the place of `path` when all of it is on the disk."""
    temporary = temporary_beside(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        sync_folder(temporary)
        remove(path)
        temporary.replace(path)
        sync(path.parent)
    finally:
        remove(temporary)


def copy_folder(source: Path, path: Path) -> None:
    """Make `path` a copy of a folder, whole or not at all; a symbolic link is copied as one, not what it points to."""
    with replacing_folder(path) as temporary:
        shutil.copytree(source, temporary, symlinks=True, dirs_exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file or a folder, or a symbolic link and not what it points to, where there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def remove_unfinished(folder: Path) -> None:
    """Remove what writers that were killed had begun in a folder; what lies deeper is left."""
    for path in folder.glob(TEMPORARY):
        remove(path)


def try_lock(file: IO[str]) -> bool:
    """Lock an open file for this process; False where another holds it.

    The kernel drops the lock with its holder, so a process that was killed never leaves a stale one.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
