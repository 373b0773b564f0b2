"""Try a run out and keep nothing: what it is made of, whether it works here, and what it would take.

The smoke run is a run like any other, by `orchestrator.runner` in a folder that is removed: two steps of each kind of
training, one image of labelling and evaluation.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator import runner
from orchestrator.base.errors import UserError
from orchestrator.base.progress import Bar, Progress
from orchestrator.base.scratch import scratch_folder, temporary
from orchestrator.cluster.backend import backend_of
from orchestrator.cluster.session import Session
from orchestrator.contract.method import Method
from orchestrator.dryrun.plan import Plan, duration, show_estimates, show_plan
from orchestrator.dryrun.smoke_run import STEPS, prepare, scaled_down
from orchestrator.run.folder import RunFolder


@contextmanager
def private_folder(runs: Path) -> Iterator[Path]:
    """A folder for a smoke run, removed afterwards: a temporary one, or on a cluster one in the folder of runs.

    That is on storage which all nodes see; it is made where it is missing, and then removed again too.
    """
    shared = bool(os.environ.get("RAY_ADDRESS"))
    made = shared and not runs.exists()
    if shared:
        runs.mkdir(parents=True, exist_ok=True)
    try:
        with scratch_folder(runs if shared else temporary()) as folder:
            yield folder.resolve()
    finally:
        if made:
            runs.rmdir()


def dry_run(settings: Method, problems: list[str], folder: Path, session: Session) -> None:
    """Check, show, try out, and estimate.

    Args:
        settings: as the user gave them.
        problems: what is wrong with the words themselves.
        folder: where everything of it lies; the caller removes it.
        session: a console, and Ray that is not yet started.

    Raises:
        UserError: the settings, or the data that are here, cannot be used.
        StageFailed: a stage fails here.
    """
    progress = session.progress
    smoke_run = prepare(settings, folder)
    problems = [*problems, *smoke_run.method.problems()]
    if problems:
        raise UserError("The settings cannot be used:", *problems)
    progress.say(f"{settings.title}, {settings.preset or 'settings of your own'}: a dry run, nothing of it is kept")
    session.connect(settings.compute)
    settings = dataclasses.replace(settings, compute=backend_of(settings.compute).resolve(settings.compute))
    plan = Plan.of(settings, smoke_run)
    show_plan(plan, smoke_run, progress)
    progress.say(f"\nRehearsal: {STEPS} steps of each kind of training, one image of labelling and evaluation")
    home = RunFolder(folder / "run")
    try:
        runner.run(
            scaled_down(smoke_run, gpu=settings.compute.gpus_per_worker > 0),
            home,
            Quiet(progress),
            [],
            smoke_run=True,
        )
    finally:
        home.close()
    progress.say("")
    show_estimates(plan, home.path, progress)
    progress.say("\nEverything passed.")


class Quiet(Progress):
    """The console of a smoke run: a line for each stage that passes; numbers of untrained networks would mislead."""

    def __init__(self, outer: Progress) -> None:
        super().__init__(outer.console)
        self._outer = outer

    def say(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def bar(self, name: str, total: int, unit: str) -> Iterator[Bar]:
        """A bar on a terminal; at its end the stage's line."""
        began = time.monotonic()
        if self.console.is_terminal:
            with super().bar(name, total, unit) as bar:
                yield bar
        else:
            yield Silent(self.console, None, name, total, unit)
        # A labelling stage asks for its scores again where some are gone: mostly none are.
        if total:
            what = f"{total} {unit}{'s' if total != 1 else ''}"
            self._outer.say(f"  {name:<14} {what:<9} passed in {duration(time.monotonic() - began)}")


class Silent(Bar):
    """A bar that shows nothing."""

    def update(self, done: int, terms: object) -> None:
        """Nothing."""
