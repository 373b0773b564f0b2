"""Moving whole folders into another, where no file is ever replaced."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from pathlib import Path

from domains.base.errors import DataError


def merge(parts: Sequence[Path], target: Path) -> int:
    """Move the files of some folders to the same relative places below a target on the same disk.

    Everything is compared before the first file moves; if a move fails, those before it are taken back.

    Args:
        parts: folders to empty, in this order.
        target: absolute folder without links in its path; made where it does not exist.

    Returns:
        Number of files moved; those that are there already, byte for byte, stay behind.

    Raises:
        DataError: a file would replace another, or lie outside the target because a folder there is a link.
        OSError: a folder cannot be made or a file moved.
    """
    moves = _plan(parts, target)
    made: list[Path] = []
    moved: list[Path] = []
    try:
        for destination, source in moves.items():
            _make(destination.parent, made)
            source.rename(destination)
            moved.append(destination)
    except BaseException:
        for destination in moved:
            destination.rename(moves[destination])
        for folder in reversed(made):
            folder.rmdir()
        raise
    return len(moves)


def _plan(parts: Sequence[Path], target: Path) -> dict[Path, Path]:
    moves: dict[Path, Path] = {}
    for part in parts:
        for source in sorted(path for path in part.rglob("*") if path.is_file()):
            destination = target / source.relative_to(part)
            if not destination.parent.resolve().is_relative_to(target):
                raise DataError(f"{destination} would lie outside {target}, since a folder on its way is a link")
            there = moves.get(destination, destination)
            if there is destination and not (destination.exists() or destination.is_symlink()):
                moves[destination] = source
            elif there.is_symlink() or not there.is_file() or not filecmp.cmp(source, there, shallow=False):
                raise DataError(
                    f"{destination} exists, and the archive holds another file of that name: nothing is replaced, "
                    "so move it away or unpack into another folder"
                )
    return moves


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it that are missing, and note them."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir()
        made.append(path)
