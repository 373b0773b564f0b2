"""Draw a fixed set of target images as each model sees them, for the report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from domains.labels import LabelSpace
from domains.samples import Labelled, Unlabelled
from domains.shards import PseudoLabels
from orchestrator.context import Context
from orchestrator.files import write_json
from orchestrator.inference import Predictor
from orchestrator.runfolder import MODEL
from orchestrator.settings import ViewSettings
from orchestrator.stages import Panels
from orchestrator.tasks import run_tasks


@dataclass(frozen=True)
class Sheet:
    """The work of one task: all the panels."""

    folder: Path
    target: Unlabelled
    truth: Labelled | None
    """For looking at alone: nothing is trained here."""
    space: LabelSpace
    indices: list[int]
    models: list[tuple[str, Path]]
    labels: tuple[str, Path] | None
    precision: str
    views: ViewSettings


def run(stage: Panels, context: Context) -> dict[str, Any]:
    """Write panels/*.png and panels/index.json into the run folder's stage."""
    domains = context.domains
    count = min(context.method.panels, len(domains.target))
    sheet = Sheet(
        folder=context.folders[stage.name].absolute(),
        target=domains.target,
        truth=domains.truth,
        space=domains.space,
        indices=[len(domains.target) * i // count for i in range(count)],
        models=[(title, (context.folders[name] / MODEL).absolute()) for title, name in stage.models],
        labels=(stage.labels[0], context.folders[stage.labels[1]].absolute()) if stage.labels else None,
        precision=context.method.compute.precision,
        views=context.method.protocol.views,
    )
    run_tasks(draw, [sheet], context.method.compute, stage.name)
    return {"images": count}


def draw(sheet: Sheet) -> int:
    """One task: draw every panel; returns how many."""
    predictors = [(title, Predictor(model, sheet.precision, sheet.views)) for title, model in sheet.models]
    pseudo = PseudoLabels(sheet.labels[1]) if sheet.labels else None
    index = []
    for row, position in enumerate(sheet.indices):
        sample = sheet.target.sample(position)
        size = (sample.image.shape[1], sample.image.shape[2])
        columns: list[tuple[str, np.ndarray]] = [("image", sample.image.permute(1, 2, 0).numpy())]

        def add(title: str, label: Tensor, columns: list[tuple[str, np.ndarray]] = columns) -> None:
            columns.append((title, sheet.space.colour(label.numpy())))

        if sheet.truth:
            add("truth", sheet.truth.sample(position).label)
        for title, predictor in predictors[:1]:
            add(title, predictor.labels(sample.image, size))
        if pseudo and sheet.labels:
            add(sheet.labels[0], pseudo.label(sample.id))
        for title, predictor in predictors[1:]:
            add(title, predictor.labels(sample.image, size))
        entries = []
        for column, (title, picture) in enumerate(columns):
            name = f"{row:02d}-{column}.png"
            Image.fromarray(picture).save(sheet.folder / name, optimize=True)
            entries.append({"title": title, "file": name})
        index.append({"id": sample.id, "columns": entries})
    write_json(sheet.folder / "index.json", json.loads(json.dumps(index)))
    return len(index)
