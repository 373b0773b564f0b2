"""Which tools follow a run, and how they are told of it: TensorBoard always, others on request.

A tool never stops or slows a run: TensorBoard's event files are written by a thread, and each other tool has a process
of its own (`orchestrator.trackers.process`) that is given up when it no longer gets on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from orchestrator.base.errors import Interrupted
from orchestrator.base.progress import Progress
from orchestrator.contract.stages import Stage
from orchestrator.trackers.log_tail import Event, EventLog, tail_log
from orchestrator.trackers.process import PATIENCE_S, open_tracker

DEFAULT = "tensorboard"
NONE = "none"
EXTRAS = ("mlflow", "wandb")
"""Trackers that need an extra of the same name, which installs a package of the same name."""
MARGIN_S = 5.0
"""After which a process that should have ended itself is ended."""


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The trackers of a run by what the user named: TensorBoard and these, or none at all."""
    return () if NONE in names else tuple(dict.fromkeys((DEFAULT, *names)))


def problems(names: Sequence[str]) -> list[str]:
    """What is wrong with the trackers that the user named, a sentence each."""
    known = (DEFAULT, *EXTRAS, NONE)
    found = [f"track: {name!r} is no tracker; there are {', '.join(known)}" for name in names if name not in known]
    if NONE in names and len(set(names)) > 1:
        found.append("track: none goes with no other")
    for name in dict.fromkeys(names):
        if name in EXTRAS and find_spec(name) is None:
            found.append(f"track: {name} needs a package that is not installed: pip install 'segadapt[{name}]'")
    if "mlflow" in names and not os.environ.get("MLFLOW_TRACKING_URI"):
        found.append("track: mlflow needs the address of a server in MLFLOW_TRACKING_URI")
    return found


def environment() -> dict[str, str]:
    """How the tools are set up here, for processes of a run that start on other nodes."""
    return {name: value for name, value in os.environ.items() if name.startswith(("MLFLOW_", "WANDB_"))}


class Tracking:
    """What the runner tells all trackers of a run."""

    def __init__(self, listeners: Sequence[_Listener]) -> None:
        self._listeners = listeners

    def began(self, stage: Stage, folder: Path) -> None:
        """A stage is about to be carried out, or was before: its log may be read."""
        self._tell(Event(folder=str(folder), stage=stage.name, kind=type(stage).__name__))

    def finished(self, stage: Stage, folder: Path, result: dict[str, Any]) -> None:
        """A stage is done."""
        self._tell(Event(folder=str(folder), stage=stage.name, kind=type(stage).__name__, result=result))

    def end(self, state: str) -> None:
        """The run is over: waits for the trackers, a bounded time."""
        self._tell(Event(end=state))
        for listener in self._listeners:
            listener.join()

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener.tell(event)


@contextlib.contextmanager
def tracked(run: Path, names: Sequence[str], progress: Progress) -> Iterator[Tracking]:
    """Start the trackers of a run (`chosen`), and let them go when it is over, however it ends.

    Args:
        run: the run folder, with its config.yaml.
        names: of the trackers.
        progress: where a tracker that cannot be used is told of, once.
    """

    def say(name: str) -> Callable[[str], None]:
        return lambda text: progress.say(f"warning: {name} is not being told of this run, which goes on: {text}")

    tracking = Tracking([(_Thread if name == DEFAULT else _Process)(name, run, say(name)) for name in names])
    state = "failed"
    try:
        yield tracking
        state = "finished"
    except (Interrupted, KeyboardInterrupt):
        state = "interrupted"
        raise
    finally:
        tracking.end(state)


class _Listener(Protocol):
    def tell(self, event: Event) -> None: ...

    def join(self) -> None: ...


class _Thread:
    """A tracker that writes files and waits for nobody."""

    def __init__(self, name: str, run: Path, complain: Callable[[str], None]) -> None:
        self._name, self._run, self._complain = name, run, complain
        self._events = EventLog()
        self._thread = threading.Thread(target=self._tail, daemon=True)
        self._thread.start()

    def tell(self, event: Event) -> None:
        self._events.put(event)

    def join(self) -> None:
        self._thread.join()

    def _tail(self) -> None:
        try:
            tail_log(self._events, open_tracker(self._name, self._run))
        except Exception as error:
            self._complain(str(error))


class _Process:
    """A tracker in a process of its own."""

    def __init__(self, name: str, run: Path, complain: Callable[[str], None]) -> None:
        self._complain, self._complained = complain, False
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        # -P: nothing in the folder that the run was started in hides a package. A session of its own: Ctrl-C is for the
        # run, which then says how it ended.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "orchestrator.trackers.process", name, str(run)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._heard = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def tell(self, event: Event) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended
            self._process.stdin.write(json.dumps(vars(event)) + "\n")
            self._process.stdin.flush()

    def join(self) -> None:
        while self._process.poll() is None:
            self._heard.clear()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE_S + MARGIN_S)
            if self._process.poll() is None and not self._heard.is_set():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
        self._thread.join(MARGIN_S)
        if self._process.returncode and not self._complained:
            self._complain("it did not answer; the same command sends what it lacks")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._heard.set()
            if text := line.strip():
                self._complained = True
                self._complain(text)
