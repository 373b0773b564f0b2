"""The one exception for data that cannot be used as it is, and the hint that goes with a path that is not there."""

from __future__ import annotations

import difflib
from pathlib import Path


class DataError(ValueError):
    """A file or folder that the user must mend; the message names it and says how."""


def nearest(path: Path) -> str:
    """Return a hint at the most similar name in the nearest folder above that exists, or an empty text."""
    while not path.parent.is_dir():
        path = path.parent
    names = sorted(entry.name for entry in path.parent.iterdir())
    lowered = {name.lower(): name for name in names}
    near = difflib.get_close_matches(path.name.lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean {path.parent / lowered[near[0]]}?" if near else ""
