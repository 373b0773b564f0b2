"""Run a pseudo-label round: map (score the target), reduce (thresholds), map (select and write Arrow shards).

A round that was cut off redoes only the parts whose shard is missing or does not match its digest.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from domains.base.files import verified_digest, write_noted
from domains.base.samples import Labelled, Unlabelled
from domains.metrics.iou import confusion_matrix, mean_iou, named, precision_per_class
from domains.pseudo.scores import score_strips
from domains.pseudo.selection import (
    ConfidenceHistogram,
    SelfEntropy,
    confidence_log_odds,
    pseudo_label,
    self_entropy,
    thresholds,
)
from domains.pseudo.spatial_prior import log_spatial_prior, with_prior
from domains.stores.arrow import intact_digest, open_table
from domains.stores.pseudo_labels import (
    LabelRow,
    Manifest,
    ScoreRow,
    read_plane,
    read_scores,
    write_manifest,
    write_scores,
    write_shard,
)
from losses.ignore import IGNORE
from orchestrator.base.errors import StageFailed
from orchestrator.base.files import digest
from orchestrator.contract.settings import ViewSettings
from orchestrator.contract.stages import Label
from orchestrator.mapreduce.inference import Predictor
from orchestrator.mapreduce.statistics import COUNTS as STATISTICS
from orchestrator.mapreduce.tasks import run_tasks, split, written_digest
from orchestrator.run.context import Context
from orchestrator.run.folder import MODEL, handed_on
from orchestrator.run.profile import Meter

COUNTS = "confidence.safetensors"
"""Confidence histogram of the whole target, kept so that a damaged label shard can be cut again alone."""


@dataclass(frozen=True)
class Part:
    """The images that one task scores, and where what it finds goes."""

    number: int
    folder: Path
    model: Path
    target: Unlabelled
    indices: Sequence[int]
    num_classes: int
    views: ViewSettings
    precision: str
    labeller: str
    """Digest of the model's weights, and how it predicts."""
    prior: np.ndarray | None
    """Counts of the source's labels by class and place, where they weigh the predictions."""
    costs: Path | None = None
    """Folder to write down in what each image costs, for a smoke run."""

    @property
    def origin(self) -> dict[str, str]:
        """What scores and counts are made from: stored in both, compared before they are used again."""
        return {"labeller": self.labeller, "images": f"{self.indices[0]}-{self.indices[-1]}"}

    @property
    def scores(self) -> Path:
        """Low-resolution logits; removed when the labels are written, unless these are soft."""
        return self.folder / f"scores-{self.number:03d}.arrow"

    @property
    def counts(self) -> Path:
        """What was counted while scoring."""
        return self.folder / f"scores-{self.number:03d}.safetensors"

    @property
    def labels(self) -> Path:
        """Selected labels."""
        return self.folder / f"labels-{self.number:03d}.arrow"


@dataclass(frozen=True)
class Cut:
    """A part and the thresholds its labels are cut at."""

    part: Part
    thresholds: np.ndarray
    softness: float

    @property
    def origin(self) -> dict[str, str]:
        """What the label shard is made from."""
        thresholds = ",".join(float(k).hex() for k in self.thresholds)
        return {**self.part.origin, "thresholds": thresholds, "softness": str(self.softness)}

    @property
    def digest(self) -> str | None:
        """The sha256 of the label shard if it is whole and was cut just so, else None."""
        return intact_digest(self.part.labels, self.origin)


def _as_metadata(origin: Mapping[str, str]) -> dict[str, str]:
    """One entry: of several, safetensors writes the order anew each time, and equal counts are to be equal files."""
    return {"origin": json.dumps(origin, sort_keys=True)}


@dataclass(frozen=True)
class Counts:
    """All that the choice of thresholds needs to know of the target; its size knows no number of images."""

    histogram: ConfidenceHistogram
    entropy: SelfEntropy

    def __add__(self, other: Counts) -> Counts:
        """The counts of both parts."""
        return Counts(self.histogram + other.histogram, self.entropy + other.entropy)

    def write(self, path: Path, origin: Mapping[str, str]) -> None:
        """Store with what they are made from, and with their digest beside them: one bit of them moves a threshold."""
        entropy = np.array([self.entropy.total, self.entropy.pixels], dtype=np.float64)
        write_noted(path, save({"histogram": self.histogram.counts, "entropy": entropy}, _as_metadata(origin)))

    @classmethod
    def read(cls, path: Path, origin: Mapping[str, str]) -> Counts | None:
        """What `write` stored, or None where there is nothing whole of this origin."""
        if verified_digest(path) is None:
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                if file.metadata() != _as_metadata(origin):
                    return None
                total, pixels = file.get_tensor("entropy").tolist()
                return cls(ConfidenceHistogram(file.get_tensor("histogram")), SelfEntropy(total, int(pixels)))
        except (OSError, SafetensorError):
            return None


@dataclass(frozen=True)
class Inspection:
    """A written label shard and, where there is any, the ground truth it is measured against."""

    part: Part
    truth: Labelled | None
    """For measuring alone: what it finds reaches the report, never training."""


def run(stage: Label, context: Context) -> dict[str, Any]:
    """Label the target's training images; the stage's folder becomes a verified pseudo-label store."""
    parts = make_parts(stage, context)
    method, space = context.method, context.domains.space
    folder = context.folders[stage.name]
    # How the target is cut into parts shows in no count of all of it.
    origin = {"labeller": parts[0].labeller, "images": f"0-{parts[-1].indices[-1]}"}
    counts = Counts.read(folder / COUNTS, origin)
    if counts is None:
        counts = functools.reduce(operator.add, _score(parts, stage, context))
        counts.write(folder / COUNTS, origin)
    cut = thresholds(counts.histogram, stage.portion)
    cuts = [Cut(part, cut, stage.softness) for part in parts]
    missing = [cut for cut in cuts if cut.digest is None]
    _score(parts if stage.softness else [cut.part for cut in missing], stage, context)
    run_tasks(select_part, missing, method.compute, f"{stage.name}: select")
    inspections = [Inspection(part, context.domains.truth) for part in parts]
    found = run_tasks(inspect_part, inspections, method.compute, f"{stage.name}: inspect")
    selected, confusion = (np.sum(values, axis=0) for values in zip(*found, strict=True))
    predicted = counts.histogram.counts.sum(1)
    kept = {part.scores.name: written_digest(part.scores, part.origin) for part in parts} if stage.softness else {}
    write_manifest(
        folder,
        Manifest(
            labeller=parts[0].labeller,
            portion=stage.portion,
            thresholds=dict(zip(space.classes, cut.tolist(), strict=True)),
            class_counts=dict(zip(space.classes, selected.tolist(), strict=True)),
            predicted_counts=dict(zip(space.classes, predicted.tolist(), strict=True)),
            shards={cut.part.labels.name: written_digest(cut.part.labels, cut.origin) for cut in cuts},
            softness=stage.softness,
            scores=kept,
        ),
    )
    for path in [] if stage.softness else folder.glob("scores-*"):
        path.unlink()
    if not selected.any():
        raise StageFailed(
            f"{stage.name}: not one pixel of the target was labelled; thresholds {named(cut, space.classes)}"
        )
    # Above 1 where the rule gives a class pixels that were predicted as others.
    share = np.divide(selected, predicted, out=np.full(len(space), np.nan), where=predicted > 0)
    measured = context.domains.truth is not None
    return {
        "thresholds": named(cut, space.classes),
        "coverage": float(selected.sum() / predicted.sum()),
        "selected": named(share, space.classes),
        "self_entropy": counts.entropy.percent,
        "pseudo_label_miou": mean_iou(confusion) if measured else None,
        "pseudo_label_accuracy": named(precision_per_class(confusion), space.classes) if measured else None,
    }


def make_parts(stage: Label, context: Context) -> list[Part]:
    """Cut the target into the parts of a round."""
    model = (context.folders[stage.by] / MODEL).absolute()
    compute, target = context.method.compute, context.domains.target
    labeller = f"{digest(model / 'model.safetensors')} {stage.views.kind} {compute.precision}"
    prior = None
    if stage.prior:
        content = handed_on(context.folders[stage.prior], STATISTICS)
        labeller += f" prior={hashlib.sha256(content).hexdigest()}"
        prior = load(content)["places"]
    return [
        Part(
            number=number,
            folder=context.folders[stage.name].absolute(),
            model=model,
            target=target,
            indices=indices,
            num_classes=len(context.domains.space),
            views=stage.views,
            precision=compute.precision,
            labeller=labeller,
            prior=prior,
            costs=context.costs(stage.name, number),
        )
        for number, indices in enumerate(split(len(target), compute.tasks))
    ]


def score_part(part: Part) -> None:
    """One task of the first map: predict each image once; keep its low-resolution logits and count confidences.

    Memory does not grow with the number of images: full-resolution probabilities exist a strip of rows at a time.
    """
    predictor = Predictor(part.model, part.precision, part.views)
    histogram, entropy = ConfidenceHistogram.empty(part.num_classes), SelfEntropy()
    prior = None if part.prior is None else log_spatial_prior(part.prior)
    meter = Meter(predictor.device)

    def rows() -> Iterator[ScoreRow]:
        nonlocal entropy
        for index in part.indices:
            sample = part.target.sample(index)
            height, width = sample.image.shape[1:]
            logits = predictor.views(sample.image)
            # Counted as they are stored, in half precision, so that thresholds and selection see the same numbers.
            views = [(view if prior is None else with_prior(view, prior)).half() for view in logits]
            for _, scores in score_strips(views, (height, width)):
                histogram.add(*confidence_log_odds(scores))
                entropy += self_entropy(scores)
            meter.tick()
            yield ScoreRow(sample.id, index, height, width, views)

    write_scores(part.scores, rows(), part.origin)
    # Written last, the counts vouch for the scores.
    Counts(histogram, entropy).write(part.counts, part.origin)
    if part.costs:
        meter.write(part.costs)


def select_part(cut: Cut) -> None:
    """One task of the second map: cut the labels of a part at the round's thresholds and write its shard."""

    def rows() -> Iterator[LabelRow]:
        for row in read_scores(cut.part.scores):
            size = (row.height, row.width)
            label = pseudo_label(row.views, size, cut.thresholds, softness=cut.softness)
            yield LabelRow(row.id, row.index, label)

    write_shard(cut.part.labels, rows(), cut.origin)


def inspect_part(inspection: Inspection) -> tuple[np.ndarray, np.ndarray]:
    """One task: pixels of each class in a label shard, and their confusion with the ground truth (zero without)."""
    part, truth = inspection.part, inspection.truth
    table = open_table(part.labels)
    selected = np.zeros(part.num_classes, dtype=np.int64)
    confusion = np.zeros((part.num_classes, part.num_classes), dtype=np.int64)
    for row, index in enumerate(part.indices):
        label = read_plane(table, row)
        selected += np.bincount(label.numpy().ravel(), minlength=IGNORE + 1)[: part.num_classes]
        if truth:
            confusion += confusion_matrix(truth.sample(index).label, label, part.num_classes)
    return selected, confusion


def _score(parts: list[Part], stage: Label, context: Context) -> list[Counts]:
    """Score the parts that are not scored yet; returns what was counted in each.

    Raises:
        StageFailed: counts of a part cannot be read back: without them the thresholds would be those of fewer images.
    """
    todo = [p for p in parts if intact_digest(p.scores, p.origin) is None or not Counts.read(p.counts, p.origin)]
    with context.progress.bar(stage.name, sum(len(part.indices) for part in todo), unit="image") as bar:
        count = itertools.accumulate(len(part.indices) for part in todo)
        run_tasks(
            score_part, todo, context.method.compute, f"{stage.name}: score", lambda *_: bar.update(next(count), {})
        )
    counted = {part.counts: Counts.read(part.counts, part.origin) for part in parts}
    if lost := [path.name for path, counts in counted.items() if counts is None]:
        raise StageFailed(f"{stage.name}: what was counted is damaged as soon as it is written: {', '.join(lost)}")
    return [counts for counts in counted.values() if counts]
