"""Carry out a method's stage graph in a run folder: skip what is done, continue what is half done, then report."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from domains.files import TEMPORARY
from orchestrator import environment, evaluation, labelling, panels, statistics, training, translation
from orchestrator.checkpoints import newest_verified
from orchestrator.company import Company
from orchestrator.config import config_of
from orchestrator.context import Context, open_domains
from orchestrator.errors import Interrupted
from orchestrator.files import copy_folder, read_json, remove, write_json
from orchestrator.fingerprint import Fingerprint, fingerprints_of
from orchestrator.method import Method, Sizes
from orchestrator.progress import Progress
from orchestrator.report import write_report
from orchestrator.resources import PATIENCE_S, resolve
from orchestrator.runfolder import (
    CHECKPOINTS,
    MODEL,
    RunFolder,
    finish_stage,
    finished_stage,
    reuse_stage,
)
from orchestrator.signals import GRACE_S
from orchestrator.stages import Evaluate, Label, Panels, Stage, Statistics, Train, Translation, representatives
from orchestrator.summary import build_summary, show_result
from orchestrator.tracking import tracked

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
    company: Company | None = None,
    track: Sequence[str] = (),
    grace_s: float = GRACE_S,
    rehearsal: bool = False,
) -> Path:
    """Run a method to its end, in a cluster that is already connected.

    Args:
        method: settings as the user gave them.
        home: the run folder; whatever is finished in it is kept.
        progress: where to report.
        reuse: run folders whose finished stages may be taken over where their fingerprint is the same.
        company: the runs that this one is one of, which share the cluster and finished stages.
        track: names of the tools that are told of the run (`tracking.chosen`).
        grace_s: seconds that a training may take to save a checkpoint when a signal ends the run.
        rehearsal: carry out one of all stages that are alike, and measure what steps cost.

    Returns:
        The path of the report.

    Raises:
        UserError: input that the user must mend.
        Interrupted: a signal, or who runs it in company, asked to stop; the same command continues.
        StageFailed: a stage cannot go on; the same command tries again from what is saved.
    """
    # Among others its turn comes; alone, a cluster that stays busy is worth a word.
    patience = math.inf if company else PATIENCE_S
    method = dataclasses.replace(method, compute=resolve(method.compute, patience))
    home.adopt_config(config_of(method))
    _note_environment(home, progress)
    domains = open_domains(method)
    context = Context(
        method=method,
        domains=domains,
        run=home.path,
        progress=progress,
        company=company,
        grace_s=grace_s,
        measured=rehearsal,
    )
    stages = stages_of(method, domains.sizes)
    if rehearsal:
        stages = representatives(stages)
    context.fingerprints.update(fingerprints_of(stages, method))
    with tracked(home.path, track, progress) as tracking:
        for number, stage in enumerate(stages):
            tracking.began(stage, home.stage(number, stage.name))
            if company is None:
                _run_stage(home, number, stage, context, reuse)
            else:
                company.check()
                with company.turn(context.fingerprints[stage.name].digest):
                    _run_stage(home, number, stage, context, [*reuse, *company.others(home.path)])
                company.notify(stage, context.results[stage.name])
            tracking.finished(stage, context.folders[stage.name], context.results[stage.name])
        return _conclude(home, stages, context)


def stages_of(method: Method, sizes: Sizes) -> list[Stage]:
    """The stage graph of a run: without an evaluation domain nothing is evaluated."""
    measured = method.pair.evaluation.kind != "none"
    return [stage for stage in method.stages(sizes) if measured or not isinstance(stage, Evaluate)]


def _note_environment(home: RunFolder, progress: Progress) -> None:
    """Write environment.json, and say it where this sitting's versions are not those of the sitting before."""
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
