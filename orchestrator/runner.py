"""Carry out a method's stage graph in a run folder: skip what is done, continue what is half done, then report."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from domains.base.files import TEMPORARY
from orchestrator.base.errors import Interrupted
from orchestrator.base.files import copy_folder, read_json, remove, write_json
from orchestrator.base.progress import Progress
from orchestrator.base.signals import GRACE_S
from orchestrator.cluster import environment
from orchestrator.cluster.backend import backend_of
from orchestrator.cluster.resources import PATIENCE_S
from orchestrator.contract.config import config_of
from orchestrator.contract.method import Method, Sizes
from orchestrator.contract.neutral import neutral_values
from orchestrator.contract.stages import Evaluate, Label, Panels, Stage, Statistics, Train, Translation, representatives
from orchestrator.mapreduce import evaluation, labelling, panels, statistics, translation
from orchestrator.report.page import write_report
from orchestrator.report.summary import build_summary, show_result
from orchestrator.run.context import Context, open_domains
from orchestrator.run.fingerprint import Fingerprint, fingerprints_of
from orchestrator.run.folder import CHECKPOINTS, MODEL, RunFolder, finish_stage, finished_stage, reuse_stage
from orchestrator.run.peers import ConcurrentRuns
from orchestrator.trackers.tracking import tracked
from orchestrator.train import stage as training
from orchestrator.train.checkpoints import newest_verified

RUNNERS: dict[type, Callable[[Any, Context], dict[str, Any]]] = {
    Train: training.run,
    Label: labelling.run,
    Statistics: statistics.run,
    Translation: translation.run,
    Evaluate: evaluation.run,
    Panels: panels.run,
}


def run(
    method: Method,
    home: RunFolder,
    progress: Progress,
    reuse: list[Path],
    *,
    peers: ConcurrentRuns | None = None,
    track: Sequence[str] = (),
    grace_s: float = GRACE_S,
    smoke_run: bool = False,
) -> Path:
    """Run a method to its end, in a cluster that is already connected.

    Args:
        method: settings as the user gave them.
        home: the run folder; whatever is finished in it is kept.
        progress: where to report.
        reuse: run folders whose finished stages may be taken over where their fingerprint is the same.
        peers: the runs that go on at the same time; they share the cluster and finished stages.
        track: names of the tools that are told of the run (`tracking.chosen`).
        grace_s: seconds that a training may take to save a checkpoint when a signal ends the run.
        smoke_run: carry out one of all stages that are alike, and measure what steps cost.

    Returns:
        The path of the report.

    Raises:
        UserError: input that the user must mend.
        Interrupted: a signal, or whoever runs it beside others, asked to stop; the same command continues.
        StageFailed: a stage cannot go on; the same command tries again from what is saved.
    """
    # Beside other runs it waits until they are done; alone, a cluster that stays busy is worth a word.
    patience = math.inf if peers else PATIENCE_S
    method = dataclasses.replace(method, compute=backend_of(method.compute).resolve(method.compute, patience))
    home.adopt_config(config_of(method), neutral=neutral_values(type(method)))
    _note_environment(home, progress)
    domains = open_domains(method)
    context = Context(
        method=method,
        domains=domains,
        run=home.path,
        progress=progress,
        peers=peers,
        grace_s=grace_s,
        measured=smoke_run,
    )
    stages = stages_of(method, domains.sizes)
    if smoke_run:
        stages = representatives(stages)
    context.fingerprints.update(fingerprints_of(stages, method))
    with tracked(home.path, track, progress) as tracking:
        for number, stage in enumerate(stages):
            tracking.began(stage, home.stage(number, stage.name))
            if peers is None:
                _run_stage(home, number, stage, context, reuse)
            else:
                peers.check()
                with peers.stage_lock(context.fingerprints[stage.name].digest):
                    _run_stage(home, number, stage, context, [*reuse, *peers.others(home.path)])
                peers.notify(stage, context.results[stage.name])
            tracking.finished(stage, context.folders[stage.name], context.results[stage.name])
        return _conclude(home, stages, context)


def stages_of(method: Method, sizes: Sizes) -> list[Stage]:
    """The stage graph of a run: without an evaluation domain nothing is evaluated."""
    measured = method.pair.evaluation.kind != "none"
    return [stage for stage in method.stages(sizes) if measured or not isinstance(stage, Evaluate)]


def _note_environment(home: RunFolder, progress: Progress) -> None:
    """Write environment.json, and say it where this session's versions are not those of the session before."""
    path = home.path / "environment.json"
    now = environment.describe()
    changed = environment.changes(read_json(path), now) if path.exists() else []
    if changed:
        home.record("environment", changed=changed)
        progress.say(f"warning: this run was begun with other versions: {'; '.join(changed)}")
    write_json(path, now)


def _run_stage(home: RunFolder, number: int, stage: Stage, context: Context, reuse: list[Path]) -> None:
    folder = home.stage(number, stage.name)
    context.folders[stage.name] = folder
    identity = context.fingerprints[stage.name]
    fingerprint = identity.digest
    done = finished_stage(folder, fingerprint)
    if done is None and (origin := reuse_stage(reuse, fingerprint, folder)):
        context.progress.say(f"{stage.name}: taken over from {origin}")
        home.record("reused", stage=stage.name, origin=str(origin))
        done = finished_stage(folder, fingerprint)
    if done is None:
        if folder.exists():
            context.progress.say(f"{stage.name}: continuing {_where(folder, identity)}")
        folder.mkdir(parents=True, exist_ok=True)
        home.record("started", stage=stage.name, fingerprint=fingerprint)
        began = time.monotonic()
        try:
            result = RUNNERS[type(stage)](stage, context)
        except (Interrupted, KeyboardInterrupt):
            home.record("interrupted", stage=stage.name, seconds=time.monotonic() - began)
            raise
        _sweep(folder)
        finish_stage(folder, fingerprint, result)
        home.record("finished", stage=stage.name, seconds=time.monotonic() - began)
        home.collect_metrics()
        show_result(stage, result, context)
    else:
        result = done.result
        context.progress.say(f"{stage.name}: done before")
    context.results[stage.name] = result


def _sweep(folder: Path) -> None:
    """Remove what writers that were killed had begun."""
    for path in [*folder.rglob(TEMPORARY)]:
        remove(path)


def _where(folder: Path, identity: Fingerprint) -> str:
    found = newest_verified(folder / CHECKPOINTS, identity)
    return f"from step {found.step}" if found else "from its beginning"


def _conclude(home: RunFolder, stages: list[Stage], context: Context) -> Path:
    if context.method.exported:
        last = next(stage for stage in reversed(stages) if isinstance(stage, Train))
        copy_folder(context.folders[last.name] / MODEL, home.path / MODEL)
    write_json(home.path / "summary.json", build_summary(stages, context))
    return write_report(home.path)
