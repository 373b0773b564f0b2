"""One trial of a search: a run beside the other trials' runs, which reports to Ray Tune as it goes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import DONE
from rich.console import Console

from domains.base.files import open_itself
from orchestrator import runner
from orchestrator.base.errors import StageFailed, UserError
from orchestrator.base.files import append, digest_of, drop_cut_line, read_json, read_lines
from orchestrator.base.progress import Progress
from orchestrator.contract.config import read_settings
from orchestrator.contract.method import Method
from orchestrator.contract.stages import Evaluate, Stage, Train
from orchestrator.run.context import open_domains
from orchestrator.run.folder import RunFolder
from orchestrator.run.peers import ConcurrentRuns
from orchestrator.run.resume import taken_up
from orchestrator.train.validation import METRIC

OBJECTIVE = "objective"
REPORT = "report"
"""Number of a trial's report, from 1: what trials are compared at. Unlike Ray Tune's own count it is a function of how
far the run is, so a trial that was continued is compared as if it had never stopped."""
REPORTS = "reports.jsonl"
"""What a trial reported, in its run folder."""
LOCK_PATIENCE_S = 60.0
"""Until the processes of a search that was killed have let go of their folders."""


@dataclass(frozen=True)
class Plan:
    """What all trials share."""

    base: Method
    folder: Path
    """Folder of their run folders."""
    reuse: tuple[Path, ...]
    """Other runs whose finished stages may be taken over."""
    objective: str
    """"validation", or "miou" on the labelled evaluation domain."""
    track: tuple[str, ...] = ()
    """Names of the tools that are told of each trial's run (`tracking.chosen`)."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """How these tools are set up (`tracking.environment`); may hold keys."""

    def run_folder(self, config: Mapping[str, Any]) -> Path:
        """The run folder of a trial; a function of what it varies, so that it finds its own work again."""
        return self.folder / f"trial-{digest_of(dict(config))[:10]}"


def reports_of(folder: Path) -> dict[int, float]:
    """The objective of each report of a trial, by number."""
    return {line[REPORT]: line[OBJECTIVE] for line in read_lines(folder / REPORTS)}


def reporting(stages: list[Stage], objective: str) -> list[Stage]:
    """The stages that the objective is reported of: where the target is seen, or all where it never is."""
    if objective == "miou":
        measured = [stage for stage in stages if isinstance(stage, Evaluate)]
        return [stage for stage in measured if stage.role != "source_only"] or list(measured)
    trained = [stage for stage in stages if isinstance(stage, Train)]
    return [stage for stage in trained if stage.target] or list(trained)


class Trial(tune.Trainable):
    """Runs in a process of Ray Tune's, which may stop it between two reports: then it saves a checkpoint and leaves."""

    def setup(self, config: dict[str, Any], plan: Plan) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin the run, or go on with it."""
        warnings.filterwarnings("ignore")
        logging.disable(logging.INFO)
        os.environ.update(plan.environment)
        self._plan = plan
        self._folder = plan.run_folder(config)
        self._reports: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._last: dict[str, Any] = {}
        self._number = 0
        self._error: BaseException | None = None
        self._peers = ConcurrentRuns(plan.folder, self._notify)
        self._method = read_settings(type(plan.base), config, plan.base)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def step(self) -> dict[str, Any]:
        """Wait for the next report; the last one comes when the run has ended, too late to be stopped."""
        report = self._reports.get()
        if report is not None:
            return report
        if self._error is not None:
            raise StageFailed(str(self._error) or type(self._error).__name__) from self._error
        adapted = read_json(self._folder / "summary.json").get("adapted", {})
        return {**self._last, "finished": True, "miou": adapted.get("miou"), DONE: True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the run folder is the checkpoint."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: the run goes on from its folder."""

    def cleanup(self) -> None:
        """Let the run save a checkpoint and leave, so that nothing of it holds resources that others wait for."""
        self._peers.stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            if problems := self._method.problems():
                raise UserError("The settings of this trial cannot be used:", *problems)
            stages = self._method.stages(open_domains(self._method).sizes)
            self._reporting = [stage.name for stage in reporting(stages, self._plan.objective)]
            with (
                contextlib.closing(RunFolder(self._folder, LOCK_PATIENCE_S)) as home,
                open_itself(self._folder / "log.txt", "a") as log,
            ):
                drop_cut_line(self._folder / REPORTS)
                progress = Progress(Console(file=log, width=160, markup=False))
                method = taken_up(home, self._method)
                reuse = [*home.earlier(), *self._plan.reuse]
                runner.run(method, home, progress, reuse, peers=self._peers, track=self._plan.track)
        except BaseException as error:  # handed to `step`, which raises it
            self._error = error
        self._reports.put(None)

    def _notify(self, stage: Stage, result: dict[str, Any]) -> None:
        metric = METRIC if self._plan.objective == "validation" else self._plan.objective
        if stage.name not in self._reporting or metric not in result:
            return
        times = self._method.validation.times if isinstance(stage, Train) else 1
        done = result["steps"] / result.get("of", result["steps"]) if isinstance(stage, Train) else 1
        number = round((self._reporting.index(stage.name) + done) * times)
        if number > self._number:  # a result repeats the last validation on the way
            self._number = number
            self._last = {OBJECTIVE: result[metric], REPORT: number}
            if number not in reports_of(self._folder):
                append(self._folder / REPORTS, json.dumps(self._last) + "\n")
            if number < len(self._reporting) * times:
                self._reports.put(self._last)
