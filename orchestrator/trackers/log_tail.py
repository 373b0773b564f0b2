"""Tell a tracker what a run writes: each logged line once, in order, as the run folder has it.

The run folder is the truth and a tracker's copy follows from it, so a copy can be made again at any time. No stage
knows of trackers: the runner says which stage begins and what came out of it, and the lines in between are read from
the log that the stage writes anyway.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.base.files import read_json, read_lines

POLL_S = 1.0
AT_ONCE = 100
"""Lines that a tracker is given at a time."""
PICTURES = 4
"""Panels that are shown; the report has all of them."""
GROUPS = {"Evaluate": "evaluation", "Label": "pseudo-labels", "Translation": "translation"}
"""Where the numbers of a stage's result go, by its kind. Those of one group are a curve over the rounds: point 0 is the
first stage of its kind, for an evaluation mostly the source-only model."""

Line = tuple[int, Mapping[str, float]]
"""A step and the values that were logged at it."""


class Tracker(Protocol):
    """A tool that shows curves. Whatever it raises makes it be given up for now, and never reaches the run."""

    def log(self, group: str, lines: Sequence[Line]) -> None:
        """Take lines of a group (a stage's name, or one of `GROUPS`); steps of a group only grow."""
        ...

    def picture(self, group: str, name: str, file: Path) -> None:
        """Take a PNG."""
        ...

    def close(self, state: str) -> None:
        """The run is "finished", "failed" or "interrupted"; in either of the latter cases it may go on one day."""
        ...


@dataclass(frozen=True)
class Event:
    """What the runner says: a stage begins (no result), a stage is done, or the run is over."""

    folder: str = ""
    """Folder of the stage."""
    stage: str = ""
    kind: str = ""
    """Class name of the stage."""
    result: dict[str, Any] | None = None
    end: str = ""
    """State of the run that is over (`Tracker.close`)."""


class EventLog:
    """All events of a run so far; kept, so that a tracker that was away can read them from the beginning."""

    def __init__(self) -> None:
        self._told: list[Event] = []
        self._changed = threading.Condition()

    def put(self, event: Event) -> None:
        """Add the newest."""
        with self._changed:
            self._told.append(event)
            self._changed.notify_all()

    def after(self, position: int, patience_s: float) -> list[Event]:
        """The events from this position on; waits for one, at most as long as told."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._told) > position, patience_s)
            return self._told[position:]

    def ended(self, patience_s: float) -> bool:
        """Whether the run is over; waits for it, at most as long as told."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._told and self._told[-1].end), patience_s)


def tail_log(events: EventLog, tracker: Tracker, alive: Callable[[], None] = lambda: None) -> None:
    """Tell a tracker everything from the first stage on, until the run is over.

    Args:
        events: those of the run.
        tracker: told of all of them, also of stages that were done in an earlier session.
        alive: called whenever the tracker took something.
    """
    position, current, told = 0, Event(), 0
    results: Counter[str] = Counter()
    while True:
        newest = events.after(position, POLL_S)
        position += len(newest)
        for event in newest:
            if event.folder and event.result is None:
                current, told = event, 0
                continue
            _tell_log(current, told, tracker, alive)
            if event.end:
                tracker.close(event.end)
                return
            _tell_result(event, results, tracker)
            current = Event()
            alive()
        told = _tell_log(current, told, tracker, alive)


def _tell_log(stage: Event, told: int, tracker: Tracker, alive: Callable[[], None]) -> int:
    """Tell the new lines of a stage's log; returns the step of the last one.

    A log is cut back to the newest checkpoint when training lost a worker: what it then repeats was told before.
    """
    lines = read_lines(Path(stage.folder) / "metrics.jsonl") if stage.folder else []
    new = [line for line in lines if line.get("step", 0) > told]
    for start in range(0, len(new), AT_ONCE):
        part = new[start : start + AT_ONCE]
        tracker.log(stage.stage, [(line["step"], numbers(line, ("stage", "step"))) for line in part])
        told = part[-1]["step"]
        alive()
    return told


def _tell_result(stage: Event, results: Counter[str], tracker: Tracker) -> None:
    assert stage.result is not None
    if group := GROUPS.get(stage.kind):
        if values := numbers(stage.result):
            tracker.log(group, [(results[group], values)])
        results[group] += 1
    index = Path(stage.folder) / "index.json"
    if stage.kind == "Panels" and index.exists():
        for number, panel in enumerate(read_json(index)[:PICTURES]):
            for column in panel["columns"]:
                tracker.picture(f"panel-{number}", column["title"], index.with_name(column["file"]))


def numbers(tree: Mapping[str, Any], without: Sequence[str] = (), prefix: str = "") -> dict[str, float]:
    """The numbers of a nested record by their path, such as iou/road; None (an absent class) and text are left out."""
    found: dict[str, float] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= numbers(value, prefix=f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and name not in without:
            found[prefix + name] = float(value)
    return found
