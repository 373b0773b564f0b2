"""Rewrite golden files on purpose: `python -m tests.golden [RUN ...]`, without names all of them."""

from __future__ import annotations

import sys

from tests.golden import expected
from tests.golden.pinned import installed, pinned, unpinnable
from tests.golden.runs import RUNS


def main() -> None:
    names = sys.argv[1:] or list(RUNS)
    if problem := unpinnable() or ", ".join(name for name in names if name not in RUNS):
        sys.exit(f"{problem}: no file was changed; runs are {', '.join(RUNS)}")
    with pinned() as result_of:
        for name in names:
            found = expected.Result(*result_of(name), installed())
            changes = expected.differences(found, expected.read(name)) if expected.exists(name) else ["new"]
            expected.write(name, found)
            print(f"{name}: {'; '.join(changes) or 'unchanged'}", flush=True)


if __name__ == "__main__":
    main()
