"""Run an evaluation stage: parallel tasks, one confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from domains.base.labels import LabelSpace
from domains.base.samples import Labelled
from domains.metrics.class_rules import RULES
from domains.metrics.iou import confusion_matrix, mean_of, named
from orchestrator.base.files import write_json, write_text
from orchestrator.base.progress import Progress
from orchestrator.contract.settings import ComputeSettings, ProtocolSettings, ViewSettings
from orchestrator.contract.stages import Evaluate
from orchestrator.mapreduce.inference import Predictor
from orchestrator.mapreduce.tasks import run_tasks, split
from orchestrator.run.context import Context, protocol
from orchestrator.run.folder import MODEL
from orchestrator.run.profile import Meter
from orchestrator.run.protocol import name_of


@dataclass(frozen=True)
class Part:
    """The images that one task measures."""

    model: Path
    domain: Labelled
    indices: Sequence[int]
    precision: str
    num_classes: int
    views: ViewSettings
    costs: Path | None = None
    """Folder to write down in what each image costs, for a smoke run."""


def run(stage: Evaluate, context: Context) -> dict[str, Any]:
    """Measure a stage's model on the evaluation domain; writes evaluation.json and a line of metrics."""
    import json

    folder = context.folders[stage.name]
    model = context.folders[stage.of] / MODEL
    domains = context.domains
    assert domains.evaluation is not None, "runs without an evaluation domain have no such stage"
    settings, compute = context.method.protocol, context.method.compute
    confusion = measure(
        *(model, domains.evaluation, domains.space, compute, stage.name, context.progress, settings.views),
        costs=context.costs(stage.name),
    )
    result = evaluation_result(confusion, domains.space, settings)
    content = evaluation_content(result, confusion, domains.space, protocol(context))
    write_json(folder / "evaluation.json", content)
    write_text(folder / "metrics.jsonl", json.dumps({"stage": stage.name, **result}) + "\n")
    return result


def measure(
    model: Path,
    domain: Labelled,
    space: LabelSpace,
    compute: ComputeSettings,
    name: str,
    progress: Progress,
    views: ViewSettings,
    costs: Path | None = None,
) -> np.ndarray:
    """The confusion matrix of a model over a labelled domain, in parallel tasks."""
    parts = [
        Part(model.absolute(), domain, list(indices), compute.precision, len(space), views, None if number else costs)
        for number, indices in enumerate(split(len(domain), compute.tasks))
    ]
    done = 0
    with progress.bar(name, len(domain), unit="image") as bar:

        def advance(index: int, _confusion: np.ndarray) -> None:
            nonlocal done
            done += len(parts[index].indices)
            bar.update(done, {})

        return np.sum(run_tasks(measure_part, parts, compute, name, advance), axis=0)


def measure_part(part: Part) -> np.ndarray:
    """One task: the confusion matrix of a part, against labels at their own size."""
    predictor = Predictor(part.model, part.precision, part.views)
    meter = Meter(predictor.device)
    total = np.zeros((part.num_classes, part.num_classes), dtype=np.int64)
    for index in part.indices:
        sample = part.domain.sample(index)
        size = (sample.label.shape[0], sample.label.shape[1])
        total += confusion_matrix(sample.label, predictor.labels(sample.image, size), part.num_classes)
        meter.tick()
    if part.costs:
        meter.write(part.costs)
    return total


def evaluation_result(confusion: np.ndarray, space: LabelSpace, settings: ProtocolSettings) -> dict[str, Any]:
    """The name of the protocol, and by it the mean and the IoU of its classes, as fractions.

    Absent classes are None and leave the mean.
    """
    rule = RULES[settings.classes]
    iou = rule.iou(confusion, space)
    return {"protocol": name_of(settings, space), "miou": mean_of(iou), "iou": named(iou, rule.classes(space))}


def evaluation_content(
    result: dict[str, Any], confusion: np.ndarray, space: LabelSpace, protocol: dict[str, Any]
) -> dict[str, Any]:
    """What evaluation.json holds: the result, its protocol in full, and the counts of all classes.

    From these the numbers of any other class rule follow.
    """
    return {**result, "protocol": protocol, "classes": list(space.classes), "confusion": confusion.tolist()}
