"""A tracker in a process of its own: a server that is down or hangs, a prompt or a crash costs the run nothing there.

    python -m orchestrator.trackers.process mlflow RUN_FOLDER

reads events as JSON, one a line, until its input ends, which it also does when the run is killed. It answers with empty
lines while it gets on, and with one line of text when it does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from orchestrator.trackers.log_tail import Event, EventLog, Tracker, tail_log

PRIVATE = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
"""Nothing is told to the makers of the tools, unless the user's own variables say so."""
RETRY_S = 30.0
"""Between two attempts to reach a server."""
PATIENCE_S = 10.0
"""How long a tracker may take, when the run is over, without getting on."""


def main() -> None:
    """Follow a run until it is over."""
    _, name, run = sys.argv
    for variable, value in PRIVATE.items():
        os.environ.setdefault(variable, value)
    answers = os.fdopen(os.dup(1), "w")
    # What the tools print is for a terminal of their own.
    with open(os.devnull, "w") as nothing:
        for stream in (1, 2):
            os.dup2(nothing.fileno(), stream)
    events = EventLog()
    threading.Thread(target=_receive, args=(events,), daemon=True).start()
    watch = _Watch(answers)
    threading.Thread(target=watch.over, args=(events,), daemon=True).start()
    _attempt(lambda: open_tracker(name, Path(run)), events, watch)
    os._exit(0)  # the tools' own threads and exit handlers may wait for a server


def open_tracker(name: str, run: Path) -> Tracker:
    """A tracker by its name; imports its tool."""
    if name == "mlflow":
        from orchestrator.trackers.mlflow import Mlflow

        return Mlflow(run)
    if name == "wandb":
        from orchestrator.trackers.wandb import Wandb

        return Wandb(run)
    from orchestrator.trackers.tensorboard import TensorBoard

    return TensorBoard(run)


def _attempt(connect: Callable[[], Tracker], events: EventLog, watch: _Watch) -> None:
    """Follow the run; where that fails, again and again until the run is over, with one complaint."""
    complained = False
    while True:
        try:
            tail_log(events, connect(), watch.alive)
            return
        except Exception as error:
            if not complained:
                watch.say(_short(error))
            complained = True
            if events.ended(RETRY_S):
                return


def _receive(events: EventLog) -> None:
    for line in sys.stdin:
        events.put(Event(**json.loads(line)))
    events.put(Event(end="interrupted"))  # counts only where the run did not say how it ended


class _Watch:
    """Ends the process where it no longer gets on and the run, or whatever started it, is gone."""

    def __init__(self, answers: TextIO) -> None:
        self._answers, self._last = answers, time.monotonic()

    def alive(self) -> None:
        """It got on."""
        self._last = time.monotonic()
        self.say("")

    def say(self, text: str) -> None:
        """Write a line to who started this process, if that is still there."""
        with contextlib.suppress(OSError):
            print(text, file=self._answers, flush=True)

    def over(self, events: EventLog) -> None:
        """Wait for the end of the run, then for the tracker as long as it gets on."""
        while not events.ended(RETRY_S):
            pass
        self._last = time.monotonic()
        while time.monotonic() - self._last < PATIENCE_S:
            time.sleep(0.1)
        os._exit(1)


def _short(error: Exception) -> str:
    """What went wrong, on one line."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text if len(text) <= 200 else f"{text[:200]} ..."


if __name__ == "__main__":
    main()
