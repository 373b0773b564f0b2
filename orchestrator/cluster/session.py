"""What every command needs about it: a console, Ray when it is wanted, and nothing left behind."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.base.signals import cleaning_up, listen

if TYPE_CHECKING:
    from orchestrator.base.progress import Progress
    from orchestrator.contract.settings import BackendSettings


@dataclass(frozen=True)
class Session:
    """A console, and Ray from the moment that it is wanted."""

    progress: Progress
    connect: Callable[[BackendSettings], None]
    """Start or join Ray where that computes: called when everything that can be checked without it has been."""


@contextlib.contextmanager
def open_session(verbose: bool = False) -> Iterator[Session]:
    """Set the process up; Ray and the scratch folder are gone afterwards."""
    from orchestrator.base.scratch import scratch_folder, temporary

    with scratch_folder(temporary()) as scratch, _session(scratch, verbose) as session:
        yield session


@contextlib.contextmanager
def _session(scratch: Path, verbose: bool) -> Iterator[Session]:
    from orchestrator.cluster.environment import prepare

    overridden = prepare(scratch)
    try:
        if not verbose:
            warnings.filterwarnings("ignore")
            logging.disable(logging.INFO)
        from orchestrator.base.progress import Progress

        progress = Progress()

        def connect(compute: BackendSettings) -> None:
            if compute.backend == "local":
                return
            from orchestrator.cluster.resources import connect

            if overridden:
                progress.say(f"{', '.join(overridden)}: for clusters that are joined; a run's own Ray is always closed")
            progress.say("starting Ray ...")
            with _signals_kept():
                connect(scratch, verbose)

        yield Session(progress, connect)
    finally:
        cleaning_up()
        if "ray" in sys.modules:
            import ray

            ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray has SIGTERM end a driver at once, by two handlers; here a training saves a checkpoint first."""
    import ray._private.utils

    # One of Python's, while Ray starts.
    ray._private.utils.set_sigterm_handler = lambda _handler: None
    yield
    # And one below Python, which writes the stack and aborts the process three seconds later.
    listen()
