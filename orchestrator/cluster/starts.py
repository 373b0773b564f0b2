"""A start of Ray that fails or is interrupted leaves nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

KILLED_S = 10.0
"""How long processes that were killed may take to be gone."""


@contextlib.contextmanager
def nothing_left_of_a_failure() -> Iterator[None]:
    """End what was started where the start fails or is interrupted: Ray knows of its processes at the end alone."""
    import psutil
    import ray

    others = set(psutil.Process().children())
    try:
        yield
    except BaseException:
        ray.shutdown()
        started: set[psutil.Process] = set()
        # Stopped before it is looked for what they started: nothing can be added meanwhile.
        while found := _descendants(others) - started:
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
            started |= found
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(started, timeout=KILLED_S)
        raise


def _descendants(others: Collection[psutil.Process]) -> set[psutil.Process]:
    """What this process has started, and so on, without some of its children."""
    import psutil

    found = set()
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= set() if process in others else {process, *process.children(recursive=True)}
    return found
