"""What members of an archive are let in: names, numbers and sizes, before any content is read."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from domains.base.errors import DataError


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold. Images hardly compress, so honest data sets stay far below."""

    members: int = 500_000
    """Files and folders."""
    bytes: int = 200 * 2**30
    """All files together, unpacked; never more than the disk has free."""
    ratio: int = 200
    """Bytes that one byte of the archive may become."""
    harmless: int = 2**20
    """Unpacked bytes up to which the ratio does not matter."""


class Ledger:
    """The names and sizes of one archive, as far as it was read.

    Args:
        archive: the file, for its size and for messages.
        limits: how much it may hold.
        free: bytes that the disk has free.
    """

    def __init__(self, archive: Path, limits: Limits, free: int) -> None:
        self._archive, self._limits, self._free = archive, limits, free
        self._packed = archive.stat().st_size
        self._members = self._total = 0
        self._known: dict[str, tuple[str, bool]] = {}

    def admit(self, name: str, size: int, *, folder: bool) -> PurePosixPath:
        """Take in one member; returns its place below the target.

        Raises:
            DataError: it, or all of them together, is what no data set holds.
        """
        place = self._place(name)
        self._members += 1
        self._total += size
        if self._members > self._limits.members:
            raise self.refused(f"more than {self._limits.members} members")
        if self._total > self._limits.bytes:
            raise self.refused(f"more than {self._limits.bytes} bytes when unpacked")
        self.compare(self._total, self._packed)
        if self._total > self._free:
            raise self.refused(f"at least {self._total} bytes when unpacked, and the disk has {self._free} free")
        self._note(place, folder=folder)
        return place

    def compare(self, unpacked: int, packed: int) -> None:
        """Refuse what would grow beyond all proportion."""
        if unpacked > self._limits.harmless and unpacked > self._limits.ratio * packed:
            ratio = f"over {self._limits.ratio} to 1"
            raise self.refused(f"{unpacked} bytes or more packed into {packed}, {ratio}: a decompression bomb")

    def refused(self, what: str) -> DataError:
        """The error for an archive that holds this."""
        return DataError(f"{self._archive} is refused and nothing of it kept: it holds {what}")

    def _place(self, name: str) -> PurePosixPath:
        place = PurePosixPath(name)
        drive = name[1:2] == ":" and name[0].isalpha()
        if not name or place.is_absolute() or drive or "\\" in name or ".." in place.parts:
            raise self.refused(f"the name {name[:200]!r}, which could lead out of the folder")
        if not name.isprintable() or any(len(part.encode(errors="replace")) > 255 for part in place.parts):
            raise self.refused(f"the name {name[:200]!r}, which not every file system takes")
        return place

    def _note(self, place: PurePosixPath, *, folder: bool) -> None:
        """Remember a name and the folders above it; two that a disk may take for one are refused."""
        own = str(place)
        for name in (own, *map(str, place.parents)):
            # Some file systems know no case, and some no difference between composed and decomposed letters.
            key = unicodedata.normalize("NFC", name).casefold()
            is_folder = folder or name != own
            if key not in self._known:
                self._known[key] = (name, is_folder)
                continue
            spelling, was_folder = self._known[key]
            if spelling != name:
                raise self.refused(f"both {spelling!r} and {name!r}, which differ in case or composition alone")
            if not (was_folder and is_folder):
                raise self.refused(f"{name!r} twice")
