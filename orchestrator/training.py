"""Run a training stage: a group of workers, again where it lost one; follow its log, pass on a request to stop."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from pathlib import Path
from typing import Any

from domains.errors import DataError
from domains.feed import Feed, Mining
from domains.registry import open_translated
from domains.samples import Unlabelled
from domains.shards import Manifest, PseudoLabelled, PseudoLabels
from domains.transforms import RandomCrop
from models.pretrained import pretrained_record
from orchestrator import loop
from orchestrator.context import Context, protocol
from orchestrator.elastic import fitting, micro_batches
from orchestrator.errors import Interrupted, StageFailed, UserError
from orchestrator.files import read_json, read_lines
from orchestrator.group import FINAL, came_too_late, innermost, train
from orchestrator.method import Sizes
from orchestrator.resources import PATIENCE_S
from orchestrator.settings import ComputeSettings
from orchestrator.signs import sign
from orchestrator.stages import TARGET, Train
from orchestrator.validation import METRIC, Validation

POLL_S = 0.2


def run(stage: Train, context: Context) -> dict[str, Any]:
    """Train; continues from the newest verified checkpoint of the stage's folder.

    Raises:
        Interrupted: the user pressed Ctrl-C; a checkpoint was saved first.
        StageFailed: a worker failed more often than `compute.max_failures`.
        UserError: the cluster has no room for a worker, or the data cannot be used.
    """
    folder = context.folders[stage.name]
    job = make_job(stage, context)
    (folder / loop.STOP).unlink(missing_ok=True)
    outcome: dict[str, BaseException] = {}
    ended = threading.Event()
    # Ray Train takes over Ctrl-C in the main thread and would drop the step in hand.
    threading.Thread(target=_fit, args=(job, context, outcome, ended), daemon=True).start()
    with sign(f"{context.run.name}: {stage.name}"):
        stopped = _follow(ended, folder, job.steps, stage, context)
    (folder / loop.STOP).unlink(missing_ok=True)
    if error := outcome.get("error"):
        cause = innermost(error)
        if isinstance(cause, UserError):
            raise cause
        if isinstance(cause, DataError):
            raise UserError(str(cause)) from error
        raise StageFailed(f"{stage.name}: {type(cause).__name__}: {cause}") from error
    if stopped:
        raise Interrupted
    return {
        "steps": job.steps,
        "workers": read_json(folder / loop.WORKERS),
        **_judged(read_lines(folder / "metrics.jsonl")),
    }


def make_job(stage: Train, context: Context) -> loop.TrainJob:
    """What the workers of a stage are sent."""
    method, domains = context.method, context.domains
    target: Unlabelled | PseudoLabelled | None = None
    mining = None
    if stage.target == TARGET:
        target = domains.target
    elif stage.target:
        labels = PseudoLabels(context.folders[stage.target])
        target = PseudoLabelled(domains.target, labels)
        mining = Mining(rare_classes(labels.manifest, stage.rare), stage.mining) if stage.mining else None
    settings, isa, pair = stage.settings, stage.translated, method.pair
    translated = None
    if isa and isa.ratio > 0 and isa.beforehand:
        translated = Unlabelled(open_translated(domains.source.reader, isa, method.root, *pair.size_of(pair.source)))
    feed = Feed(
        domains.source,
        target,
        RandomCrop(method.augment),
        (settings.source_batch, settings.target_batch),
        (method.seed, stage.name),
        translated,
        isa.ratio if isa else 0.0,
        stage.source_share,
        mining,
    )
    return loop.TrainJob(
        method=method,
        stage=stage,
        num_classes=len(domains.space),
        steps=step_count(stage, domains.sizes, method.compute),
        feed=feed,
        folder=context.folders[stage.name].absolute(),
        start=context.folders[stage.start].absolute() if stage.start else None,
        description={
            "label_space": json.loads(domains.space.to_json()),
            "protocol": protocol(context),
            "pretrained": pretrained_record(method.model),
        },
        validation=_validation(stage, context),
        measured=context.measured,
    )


def _validation(stage: Train, context: Context) -> Validation | None:
    """What the stage is validated on, where it trains a network that segments and is to be validated at all."""
    method, domains = context.method, context.domains
    settings = method.validation
    if not settings.times or method.exported not in stage.networks:
        return None
    return Validation(domains.source, domains.target, len(domains.space), settings.images, settings.times)


def rare_classes(manifest: Manifest, share: float) -> tuple[int, ...]:
    """Ids of the classes that fewer of the target's pixels than this share were predicted as, but some were."""
    counts = list(manifest.predicted_counts.values())
    return tuple(number for number, count in enumerate(counts) if 0 < count < share * sum(counts))


def step_count(stage: Train, sizes: Sizes, compute: ComputeSettings) -> int:
    """Optimiser steps of a stage: as set, or as many as its passes over the images take."""
    settings = stage.settings
    if settings.steps:
        return settings.steps
    images, batch = (sizes.target, settings.target_batch) if stage.target else (sizes.source, settings.source_batch)
    return settings.epochs * -(-images // (batch * micro_batches(compute)))


def _judged(lines: list[dict[str, Any]]) -> dict[str, float]:
    """The newest validation in a log, where there is one."""
    found = [line[METRIC] for line in lines if METRIC in line]
    return {METRIC: found[-1]} if found else {}


def _fit(job: loop.TrainJob, context: Context, outcome: dict[str, BaseException], ended: threading.Event) -> None:
    """Run the group, and again when it lost a worker: the loop then continues from its newest checkpoint.

    Ray waits a while for a lost worker to be replaced; if it is not, the group goes on with fewer.
    """
    asked = job.method.compute
    # Among others its turn comes; alone, those that are there go on.
    patience, failures, most = math.inf if context.company else PATIENCE_S, 0, asked.workers
    group: ComputeSettings | None = None
    while failures <= asked.max_failures:
        outcome.clear()
        try:
            if group is None:
                group = fitting(asked, most, patience)
                _say(job.stage.name, group, asked, context)
            train(dataclasses.replace(job, method=dataclasses.replace(job.method, compute=group)))
            break
        except BaseException as error:  # handed to the main thread, which raises it
            outcome["error"] = error
            if group is None or isinstance(innermost(error), FINAL):
                break
            if came_too_late(error) and group.workers > 1:
                group, most = None, group.workers - 1
            else:
                failures += 1
    ended.set()


def _say(stage: str, group: ComputeSettings, asked: ComputeSettings, context: Context) -> None:
    """Say it where workers are missing."""
    if group.workers < asked.workers:
        context.progress.say(
            f"{stage}: {group.workers} of {asked.workers} workers, with {group.accumulation} micro-batches each: "
            f"a step still has {micro_batches(asked)}"
        )


def _follow(ended: threading.Event, folder: Path, steps: int, stage: Train, context: Context) -> bool:
    """Show the log as it grows, and pass validations on, until the group ends; returns whether it was asked to stop."""
    stopped, told, company = False, 0, context.company
    with context.progress.bar(stage.name, steps, unit="step") as bar:
        # An event, since Ctrl-C in Thread.join would make a live thread look finished.
        while not ended.is_set():
            try:
                ended.wait(POLL_S)
                lines = read_lines(folder / "metrics.jsonl")
                if lines:
                    bar.update(lines[-1]["step"], {k: v for k, v in lines[-1].items() if k not in ("stage", "step")})
                if company is None:
                    continue
                for line in lines:
                    if METRIC in line and line["step"] > told:
                        told = line["step"]
                        company.notify(stage, {"steps": told, "of": steps, METRIC: line[METRIC]})
                if company.stop.is_set() and not stopped:
                    stopped = True
                    (folder / loop.STOP).touch()
            except KeyboardInterrupt:
                if stopped:
                    raise Interrupted from None
                stopped = True
                context.progress.say("stopping: saving a checkpoint (Ctrl-C again to leave at once)")
                (folder / loop.STOP).touch()
        lines = read_lines(folder / "metrics.jsonl")
        if lines:
            bar.update(lines[-1]["step"], {})
    return stopped
