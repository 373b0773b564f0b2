"""Run an evaluation stage: parallel tasks, one confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from domains.labels import LabelSpace
from domains.metrics import confusion_matrix, iou_per_class, mean_iou, named
from domains.samples import Labelled
from orchestrator.context import Context, protocol
from orchestrator.files import write_json, write_text
from orchestrator.inference import Predictor
from orchestrator.progress import Progress
from orchestrator.runfolder import MODEL
from orchestrator.settings import ComputeSettings
from orchestrator.stages import Evaluate
from orchestrator.tasks import run_tasks, split


@dataclass(frozen=True)
class Part:
    """The images that one task measures."""

    model: Path
    domain: Labelled
    indices: Sequence[int]
    precision: str
    num_classes: int
    flip: bool = False


def run(stage: Evaluate, context: Context) -> dict[str, Any]:
    """Measure a stage's model on the evaluation domain; writes evaluation.json and a line of metrics."""
    import json

    folder = context.folders[stage.name]
    model = context.folders[stage.of] / MODEL
    domains = context.domains
    assert domains.evaluation is not None, "runs without an evaluation domain have no such stage"
    confusion = measure(model, domains.evaluation, domains.space, context.method.compute, stage.name, context.progress)
    result = evaluation_result(confusion, domains.space)
    write_json(folder / "evaluation.json", {**result, "confusion": confusion.tolist(), "protocol": protocol(context)})
    write_text(folder / "metrics.jsonl", json.dumps({"stage": stage.name, **result}) + "\n")
    return result


def measure(
    model: Path,
    domain: Labelled,
    space: LabelSpace,
    compute: ComputeSettings,
    name: str,
    progress: Progress,
    flip: bool = False,
) -> np.ndarray:
    """The confusion matrix of a model over a labelled domain, in parallel tasks."""
    parts = [
        Part(model.absolute(), domain, list(indices), compute.precision, len(space), flip)
        for indices in split(len(domain), compute.tasks)
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
    predictor = Predictor(part.model, part.precision, part.flip)
    total = np.zeros((part.num_classes, part.num_classes), dtype=np.int64)
    for index in part.indices:
        sample = part.domain.sample(index)
        size = (sample.label.shape[0], sample.label.shape[1])
        total += confusion_matrix(sample.label, predictor.labels(sample.image, size), part.num_classes)
    return total


def evaluation_result(confusion: np.ndarray, space: LabelSpace) -> dict[str, Any]:
    """The mean and the classes' IoU, as fractions; absent classes are None and leave the mean."""
    return {"miou": mean_iou(confusion), "iou": named(iou_per_class(confusion), space.classes)}
