"""Run a training stage: a group of workers, again where it lost one; follow its log, pass on a request to stop."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import threading
from pathlib import Path
from typing import Any

from domains.base.samples import Unlabelled
from domains.batches.crop import RandomCrop
from domains.batches.microbatches import MicroBatches, Mining
from domains.registry import open_translated
from domains.stores.pseudo_labels import Manifest, PseudoLabelled, PseudoLabels
from models.pretrained import pretrained_record
from orchestrator.base.errors import Interrupted, Lost, TooLate, UserError, failure
from orchestrator.base.files import read_json, read_lines
from orchestrator.base.signals import Note, noted
from orchestrator.cluster.backend import backend_of
from orchestrator.cluster.elastic import micro_batches
from orchestrator.cluster.resources import PATIENCE_S
from orchestrator.contract.method import Sizes
from orchestrator.contract.settings import ComputeSettings
from orchestrator.contract.stages import TARGET, Train
from orchestrator.run.context import Context, protocol
from orchestrator.run.folder import CHECKPOINTS, DONE
from orchestrator.train import checkpoints, loop
from orchestrator.train.validation import METRIC, Validation

POLL_S = 0.2


def run(stage: Train, context: Context) -> dict[str, Any]:
    """Train; continues from the newest verified checkpoint of the stage's folder.

    Raises:
        Interrupted: a signal, or a search, asked to stop; a checkpoint was saved first.
        Stopped: a second signal came, or the grace of the first one is over.
        StageFailed: a worker failed more often than `compute.max_failures`.
        UserError: the cluster has no room for a worker, or the data cannot be used.
    """
    folder = context.folders[stage.name]
    job = make_job(stage, context)
    _require_beginning(folder, stage)
    stop = folder / loop.STOP
    stop.unlink(missing_ok=True)
    attempts = Attempts(job, context)
    try:
        # In a thread of its own: Ray Train takes over Ctrl-C in the main thread and would drop the step in hand.
        attempts.start()
        label = backend_of(context.method.compute).label(f"{context.run.name}: {stage.name}")
        with label, noted(stop.touch, context.grace_s) as note:
            _follow(attempts, note, job.steps, stage, context)
    finally:
        attempts.abandoned.set()  # where a second signal came, what asks the workers to stop is left to them
    stop.unlink(missing_ok=True)
    if note.number or (context.peers and context.peers.stop.is_set()):
        raise Interrupted(note.number or signal.SIGINT)
    if attempts.error:
        cause = (isinstance(attempts.error, Lost) and attempts.error.__cause__) or attempts.error
        if isinstance(cause, UserError):
            raise cause
        raise failure(stage.name, cause) from attempts.error
    return {
        "steps": job.steps,
        "workers": read_json(folder / loop.WORKERS),
        **_judged(read_lines(folder / "metrics.jsonl")),
    }


def _require_beginning(folder: Path, stage: Train) -> None:
    """Refuse to begin again where the log says that there must be a checkpoint.

    Raises:
        UserError: the stage is not at its beginning, but its checkpoints are gone.
    """
    log = folder / "metrics.jsonl"
    if checkpoints.exist(folder / CHECKPOINTS):
        return
    if (folder / DONE).exists():  # it was finished, which removed its checkpoints, and is no longer as it was
        log.unlink(missing_ok=True)
        (folder / DONE).unlink()
    reached = max((line["step"] for line in read_lines(log)), default=0)
    if reached > stage.settings.checkpoint_every:
        raise UserError(
            f"The log of {folder} shows step {reached}, but its checkpoints are gone.",
            "Put the folder checkpoints back, remove the whole folder of the stage to train it again, or start a new "
            "run with --fresh.",
        )


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
    feed = MicroBatches(
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
        identity=context.fingerprints[stage.name],
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
    if not settings.times or method.exported not in stage.saved:
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


class Attempts(threading.Thread):
    """Trains with a group of workers, and again when it lost one: the loop goes on from its newest checkpoint.

    Ray waits a while for a lost worker to be replaced; if it is not, the group goes on with fewer.
    """

    def __init__(self, job: loop.TrainJob, context: Context) -> None:
        super().__init__(daemon=True)
        self._job, self._context = job, context
        self.error: BaseException | None = None
        """What the last attempt ended with."""
        self.ended = threading.Event()
        self.abandoned = threading.Event()
        """Set by whoever no longer waits: nothing is tried again."""

    def run(self) -> None:
        """Try until it is done, is not worth another try, or nobody waits for it."""
        asked = self._job.method.compute
        backend = backend_of(asked)
        # Beside other runs it waits until they are done; alone, it takes the workers that are there.
        patience, failures, most = math.inf if self._context.peers else PATIENCE_S, 0, asked.workers
        group: ComputeSettings | None = None
        while failures <= asked.max_failures and not self._unwanted():
            self.error = None
            try:
                if group is None:
                    group = backend.fitting(asked, most, patience)
                    _say(self._job.stage.name, group, asked, self._context)
                self._train(group)
                break
            except Lost as error:
                self.error = error
                if isinstance(error, TooLate) and group and group.workers > 1:
                    group, most = None, group.workers - 1
                else:
                    failures += 1
            except BaseException as error:  # handed to the main thread, which raises it
                self.error = error
                break
        self.ended.set()

    def _train(self, group: ComputeSettings) -> None:
        method = dataclasses.replace(self._job.method, compute=group)
        job = dataclasses.replace(self._job, method=method)
        name, records = f"{self._context.run.name}-{job.stage.name}", job.folder / CHECKPOINTS / ".ray"
        backend_of(group).train(loop.train_worker, {"job": job}, group, name, records)

    def _unwanted(self) -> bool:
        return self.abandoned.is_set() or (self._job.folder / loop.STOP).exists()


def _say(stage: str, group: ComputeSettings, asked: ComputeSettings, context: Context) -> None:
    """Say it where workers are missing."""
    if group.workers < asked.workers:
        context.progress.say(
            f"{stage}: {group.workers} of {asked.workers} workers, with {group.accumulation} micro-batches each: "
            f"a step still has {micro_batches(asked)}"
        )


def _follow(attempts: Attempts, note: Note, steps: int, stage: Train, context: Context) -> None:
    """Show the log as it grows, pass validations on, and pass a request to stop on, until the group ends."""
    folder, peers = context.folders[stage.name], context.peers
    told, asked = 0, False
    with context.progress.bar(stage.name, steps, unit="step") as bar:
        # An event, since a signal in Thread.join would make a live thread look finished.
        while not attempts.ended.wait(POLL_S):
            lines = read_lines(folder / "metrics.jsonl")
            if lines:
                bar.update(lines[-1]["step"], {k: v for k, v in lines[-1].items() if k not in ("stage", "step")})
            if peers:
                for line in lines:
                    if METRIC in line and line["step"] > told:
                        told = line["step"]
                        peers.notify(stage, {"steps": told, "of": steps, METRIC: line[METRIC]})
                if peers.stop.is_set():
                    (folder / loop.STOP).touch()
            if note.number and not asked:  # not in the answer to the signal, which may come amid another print
                asked = True
                context.progress.say(f"stopping: saving a checkpoint ({_way_out(note.number, context)})")
        lines = read_lines(folder / "metrics.jsonl")
        if lines:
            bar.update(lines[-1]["step"], {})


def _way_out(number: int, context: Context) -> str:
    """How a command that saves is left at once."""
    if number == signal.SIGINT:
        return "Ctrl-C again to leave at once"
    return f"for {context.grace_s:g} s at most, see --grace"
