"""Unpacking archives that may be hostile: what is refused leaves the target as it was.

An archive is read by its content, whatever its name: zip, or tar as it is or under gzip, bzip2 or xz. Everything is
unpacked into a temporary folder beside the target and moves only when all of it is there.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from domains.archives.limits import Ledger, Limits
from domains.archives.merge import merge
from domains.base.errors import DataError
from domains.base.files import sha256_of

_STREAMS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
"""What opens a compressed tar, by its first bytes."""

_HEADERS = 2**20
"""Bytes that may lie between the contents of two members of a tar: tarfile holds them in memory."""

_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, struct.error, zlib.error, lzma.LZMAError)
_DAMAGED = (*_DAMAGED, zipfile.BadZipFile, tarfile.TarError)
"""What the libraries answer damaged, encrypted and unwritable files with."""


def unpack(archives: Sequence[Path], target: Path, digests: Sequence[str] = (), limits: Limits | None = None) -> int:
    """Unpack archives into a folder: all of them, or nothing.

    Refused are names that lead out of the folder (absolute, `..`, backslashes, through a link that is there), links,
    devices and pipes, encrypted and sparse members, names that occur twice or differ in case alone, and more members,
    bytes or compression than `limits` allow. A file that exists may only be one that is the same byte for byte.

    Args:
        archives: files to unpack, in this order.
        target: folder to unpack into; made where it does not exist.
        digests: sha256 of each archive, compared before any is opened; none = not compared.
        limits: how much each may hold; None = the usual.

    Returns:
        Number of files that are new in the folder.

    Raises:
        DataError: one of the above, a digest that differs or a damaged archive; the target is as it was.
    """
    _check_digests(archives, digests)
    target = target.resolve()
    with _told(f"{target} cannot be written"):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.unpacking-", dir=target.parent))
    try:
        parts = [staging / str(number) for number in range(len(archives))]
        for archive, part in zip(archives, parts, strict=True):
            with _told(f"{archive} cannot be unpacked"):
                part.mkdir()
                ledger = Ledger(archive, limits or Limits(), shutil.disk_usage(part).free)
                (_unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar)(archive, part, ledger)
        with _told(f"{target} cannot be written"):
            return merge(parts, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_digests(archives: Sequence[Path], digests: Sequence[str]) -> None:
    missing = [str(archive) for archive in archives if not archive.is_file()]
    if missing:
        raise DataError(f"archive {missing[0]} does not exist")
    if digests and len(digests) != len(archives):
        raise DataError(f"there are {len(digests)} sha256 for {len(archives)} archives: give one for each, in order")
    for archive, expected in zip(archives, digests, strict=False):
        got = sha256_of(archive)
        if got != expected.strip().lower():
            raise DataError(
                f"{archive} has another sha256 than expected: expected {expected}, got {got}; fetch it again"
            )


def _unpack_zip(archive: Path, folder: Path, ledger: Ledger) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:  # all of them before the first is written
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ledger.refused(f"{member.filename[:200]!r}, a link or device")
            if member.flag_bits & 1:
                raise ledger.refused(f"{member.filename[:200]!r}, which is encrypted: unpack it yourself")
            ledger.admit(member.orig_filename, member.file_size, folder=member.is_dir())
            ledger.compare(member.file_size, member.compress_size)
        for member in members:
            place = folder / member.filename
            if member.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            # The reader ends at the size that was admitted, and compares the checksum there.
            with file.open(member) as source, place.open("xb") as sink:
                shutil.copyfileobj(source, sink, 2**20)


def _unpack_tar(archive: Path, folder: Path, ledger: Ledger) -> None:
    with _decompressed(archive) as stream:
        metered = _Metered(stream, ledger)
        with tarfile.open(fileobj=cast(IO[bytes], metered), mode="r|") as file:
            while member := _next(file, metered):
                if not (member.isreg() or member.isdir()) or member.issparse():
                    raise ledger.refused(f"{member.name[:200]!r}, a link, device, pipe or sparse file")
                ledger.admit(member.name, member.size, folder=member.isdir())
                metered.left = member.size + _HEADERS
                file.extract(member, folder, set_attrs=False, filter="data")
            _require_end(file, metered, archive)


def _next(file: tarfile.TarFile, metered: _Metered) -> tarfile.TarInfo | None:
    metered.left = _HEADERS
    file.members = []  # pyright: ignore[reportAttributeAccessIssue]  # would grow with every member, to no use
    return file.next()


def _require_end(file: tarfile.TarFile, metered: _Metered, archive: Path) -> None:
    """A header that is damaged or not there ends the reading without an error; the true end is two empty blocks."""
    metered.left = _HEADERS
    if file.fileobj is None or file.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{archive} is damaged or cut off: its members end without an end mark; fetch it again")
    while metered.read(tarfile.RECORDSIZE):  # up to the checksum of what it was compressed with
        pass


class _Metered:
    """A stream that gives no more than was allowed: sizes in headers may lie, and headers may be huge."""

    def __init__(self, stream: IO[bytes], ledger: Ledger) -> None:
        self._stream, self._ledger = stream, ledger
        self.left = _HEADERS

    def read(self, size: int) -> bytes:
        """Up to `size` bytes."""
        data = self._stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise self._ledger.refused(f"more than {_HEADERS} bytes of headers or filling before a member")
        return data


@contextmanager
def _decompressed(archive: Path) -> Iterator[IO[bytes]]:
    with archive.open("rb") as file:
        first = file.read(6)
    opened = next((opens for magic, opens in _STREAMS.items() if first.startswith(magic)), open)
    with opened(archive, "rb") as stream:
        yield cast(IO[bytes], stream)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what goes wrong in a library or on the disk into one sentence."""
    try:
        yield
    except DataError:
        raise
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{what}: {reason}") from error
