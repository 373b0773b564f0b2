"""Files that are whole or absent, and that no symbolic link leads elsewhere.

A folder may come from somebody else, with symbolic links in it that lead to other files of the user. Therefore nothing
is written under a name that can be foreseen (`replacing`), a file is opened itself and not what a link of its name
points to (`open_itself`), and a folder that holds a link out of itself is refused before it is used (`refuse_links`).

This module needs the standard library alone: the networks write their weights with it, too.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from domains.base.errors import DataError

TEMPORARY = ".segadapt-*.tmp"
"""Names of files and folders that are not whole yet, as a pattern; nobody else has such names."""


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that nobody can foresee; without the file's own, since names have a longest length."""
    return path.with_name(TEMPORARY.replace("*", secrets.token_hex(16)))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give an empty file of a private name to write to; it takes the place of `path` when all of it is on the disk.

    After a crash `path` holds either its old content or all of the new. A link of that name is replaced, not followed.

    Args:
        path: the file to write; its folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)  # without it, a power cut may forget the new name
    finally:
        with suppress(OSError):  # must not hide why the write failed
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 whole or not at all, as `replacing` does."""
    write_bytes(path, text.encode("utf-8"))


def open_itself(path: Path, mode: str = "rb") -> IO[Any]:
    """Open a file as `open` does, but never what a symbolic link of its name points to; text is UTF-8.

    Raises:
        DataError: it is a symbolic link.
    """
    try:
        return open(path, mode, encoding=None if "b" in mode else "utf-8", opener=_open_no_link)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{path} is a symbolic link, which is not followed: put the file itself there") from error
        raise


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def note_digest(path: Path, digest: str) -> None:
    """Write the sha256 of a file beside it, in the form that `sha256sum --check` reads."""
    write_text(_digest_path(path), f"{digest}  {path.name}\n")


def write_noted(path: Path, data: bytes) -> None:
    """Write a file and its sha256 beside it, for `verified_digest`; a crash in between leaves two that differ."""
    write_bytes(path, data)
    note_digest(path, hashlib.sha256(data).hexdigest())


def verified_digest(path: Path) -> str | None:
    """Return the sha256 of a file if it is the one that was noted beside it, else None."""
    if not path.is_file() or not _digest_path(path).is_file():
        return None
    digest = sha256_of(path)
    noted = _digest_path(path).read_text(encoding="utf-8", errors="replace").split()
    return digest if noted[:1] == [digest] else None


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path below a folder leads out of it by symbolic links; the folder itself may be one."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def refuse_link(path: Path, folder: Path) -> None:
    """Refuse a path below a folder that leads out of it.

    Raises:
        DataError: it does.
    """
    if leads_out(path, folder):
        raise DataError(
            f"{path} is a symbolic link out of {folder}, which is not followed: remove it, or put there what it "
            "points to"
        )


def links_below(folder: Path) -> Iterator[Path]:
    """Every symbolic link below a folder; none is followed."""
    return (path for path, mode in _entries(folder) if stat.S_ISLNK(mode))


def refuse_links(folder: Path) -> None:
    """Refuse a folder from which something would be read, or to which something would be written, through a link.

    The folder itself may be a link, and links may lead from one place in it to another.

    Raises:
        DataError: a symbolic link below it leads out of it, or what lies there is neither a file nor a folder.
    """
    for path, mode in _entries(folder):
        if stat.S_ISLNK(mode):
            refuse_link(path, folder)
        elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DataError(f"{path} is neither a file nor a folder: remove it")


def _entries(folder: Path) -> Iterator[tuple[Path, int]]:
    """Everything below a folder with its mode, links as themselves; what vanishes meanwhile is left out."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            with suppress(FileNotFoundError):
                yield path, path.lstat().st_mode


def _open_no_link(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW, 0o666)


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
