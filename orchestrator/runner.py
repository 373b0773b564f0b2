"""Carry out a method's stage graph in a run folder: skip what is done, continue what is half done, then report."""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from domains.settings import DomainSettings, PairSettings
from domains.translations import translations_record
from models.pretrained import pretrained_record
from orchestrator import environment, evaluation, labelling, panels, statistics, training, translation
from orchestrator.checkpoints import newest_verified
from orchestrator.company import Company
from orchestrator.config import config_of
from orchestrator.context import Context, open_domains
from orchestrator.elastic import micro_batches
from orchestrator.errors import Interrupted
from orchestrator.files import read_json, write_json
from orchestrator.method import Method, Sizes
from orchestrator.progress import Progress
from orchestrator.report import write_report
from orchestrator.resources import PATIENCE_S, resolve
from orchestrator.runfolder import (
    CHECKPOINTS,
    MODEL,
    RunFolder,
    fingerprint_of,
    finish_stage,
    finished_stage,
    reuse_stage,
)
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
        rehearsal: carry out one of all stages that are alike, and measure what steps cost.

    Returns:
        The path of the report.

    Raises:
        UserError: input that the user must mend.
        Interrupted: the user, or who runs it in company, asked to stop; the same command continues.
        StageFailed: a stage cannot go on; the same command tries again from what is saved.
    """
    # Among others its turn comes; alone, a cluster that stays busy is worth a word.
    patience = math.inf if company else PATIENCE_S
    method = dataclasses.replace(method, compute=resolve(method.compute, patience))
    home.adopt_config(config_of(method))
    _note_environment(home, progress)
    domains = open_domains(method)
    context = Context(
        method=method, domains=domains, run=home.path, progress=progress, company=company, measured=rehearsal
    )
    stages = stages_of(method, domains.sizes)
    if rehearsal:
        stages = representatives(stages)
    fingerprints = _fingerprints(stages, method)
    with tracked(home.path, track, progress) as tracking:
        for number, stage in enumerate(stages):
            tracking.began(stage, home.stage(number, stage.name))
            if company is None:
                _run_stage(home, number, stage, fingerprints[stage.name], context, reuse)
            else:
                company.check()
                with company.turn(fingerprints[stage.name]):
                    others = company.others(home.path)
                    _run_stage(home, number, stage, fingerprints[stage.name], context, [*reuse, *others])
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


def _run_stage(
    home: RunFolder, number: int, stage: Stage, fingerprint: str, context: Context, reuse: list[Path]
) -> None:
    folder = home.stage(number, stage.name)
    context.folders[stage.name] = folder
    done = finished_stage(folder, fingerprint)
    if done is None and (origin := reuse_stage(reuse, fingerprint, folder)):
        context.progress.say(f"{stage.name}: taken over from {origin}")
        home.record("reused", stage=stage.name, origin=str(origin))
        done = finished_stage(folder, fingerprint)
    if done is None:
        if folder.exists():
            context.progress.say(f"{stage.name}: continuing {_where(folder)}")
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
    for path in [*folder.rglob(".*.tmp"), *folder.rglob("*.partial")]:
        if path.is_file():
            path.unlink()


def _where(folder: Path) -> str:
    found = newest_verified(folder / CHECKPOINTS)
    return f"from step {found.step}" if found else "from its beginning"


def _fingerprints(stages: list[Stage], method: Method) -> dict[str, str]:
    """What decides the outcome of each stage: its settings, the data, the seed, the arithmetic, and its inputs."""
    compute, pair = method.compute, method.pair
    pretrained = {"pretrained": record} if (record := pretrained_record(method.model)) else {}
    found: dict[str, str] = {}
    for stage in stages:
        spec = {
            "kind": type(stage).__name__,
            **dataclasses.asdict(stage),
            "seed": method.seed,
            "domains": [dataclasses.asdict(domain) for domain in _domains_of(stage, pair)],
            "read as": [method.root, pair.label_space, pair.height, pair.width],
            "arithmetic": [micro_batches(compute), compute.cpus_per_worker, compute.precision],
        }
        if isinstance(stage, Evaluate):
            spec["classes"] = method.protocol.classes
        if isinstance(stage, Panels):
            spec["count"] = method.panels
        if isinstance(stage, Evaluate | Panels):
            spec["views"] = dataclasses.asdict(method.protocol.views)
        if isinstance(stage, Train):
            spec |= pretrained  # the content: what a path names can change
            spec["method"] = "" if stage.common else method.name
            spec |= {"validation": dataclasses.asdict(method.validation)} if method.validation.times else {}
            if record := translations_record(stage.translated):
                spec["translations"] = record
        found[stage.name] = fingerprint_of(spec, [found[name] for name in stage.needs])
    return found


def _domains_of(stage: Stage, pair: PairSettings) -> list[DomainSettings]:
    """The domains that a stage reads."""
    if isinstance(stage, Evaluate):
        return [pair.evaluation]
    if isinstance(stage, Train):
        return [pair.source, *([pair.target] if stage.target else [])]
    if isinstance(stage, Statistics):
        return [pair.source]
    if isinstance(stage, Translation) or (isinstance(stage, Panels) and stage.translated):
        return [pair.source, pair.target]
    return [pair.target]


def _conclude(home: RunFolder, stages: list[Stage], context: Context) -> Path:
    if context.method.exported:
        last = next(stage for stage in reversed(stages) if isinstance(stage, Train))
        partial = home.path / ".model.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(context.folders[last.name] / MODEL, partial)
        shutil.rmtree(home.path / MODEL, ignore_errors=True)
        partial.replace(home.path / MODEL)
    write_json(home.path / "summary.json", build_summary(stages, context))
    return write_report(home.path)
