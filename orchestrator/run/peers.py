"""Concurrent runs: they compute a stage once, all of them reuse its result, and each of them can be stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domains.base.files import open_itself
from orchestrator.base.errors import Interrupted
from orchestrator.base.files import try_lock
from orchestrator.contract.stages import Stage

POLL_S = 0.2


@dataclass(frozen=True)
class ConcurrentRuns:
    """Runs that go on at the same time, as each of them sees it."""

    folder: Path
    """Folder of their run folders, on storage that all of them see."""
    notify: Callable[[Stage, dict[str, Any]], None]
    """Told the result of each stage, done now or before, and on the way each validation as
    `{"steps": done, "of": all, "validation": score}`."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set from another thread: the run saves a checkpoint and raises Interrupted."""

    def others(self, own: Path) -> list[Path]:
        """The other run folders."""
        return sorted(path.parent for path in self.folder.glob("*/stages") if path.parent != own)

    def check(self) -> None:
        """Raise Interrupted where the run is to stop."""
        if self.stop.is_set():
            raise Interrupted

    @contextmanager
    def stage_lock(self, fingerprint: str) -> Iterator[None]:
        """Lock a stage, so that concurrent runs compute it once and reuse the result.

        Waits while another run holds the lock of the same fingerprint.

        Raises:
            Interrupted: the run is to stop.
        """
        path = self.folder / ".turns" / fingerprint
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_itself(path, "w") as file:
            while not try_lock(file):
                self.check()
                time.sleep(POLL_S)
            yield
