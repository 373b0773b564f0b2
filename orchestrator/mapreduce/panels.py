"""Draw a fixed set of target images as each model sees them, or of source images and translations, for the report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from domains.base.files import replacing
from domains.base.labels import LabelSpace
from domains.base.samples import Labelled, Unlabelled
from domains.stores.pseudo_labels import PseudoLabels
from domains.stores.translations import Translations
from orchestrator.base.files import write_json
from orchestrator.contract.settings import ViewSettings
from orchestrator.contract.stages import Panels
from orchestrator.mapreduce.inference import Predictor
from orchestrator.mapreduce.tasks import run_tasks
from orchestrator.run.context import Context
from orchestrator.run.folder import MODEL

Columns = list[tuple[str, np.ndarray]]
"""Title and picture, H x W x 3, of each column of a panel."""


@dataclass(frozen=True)
class TranslationSheet:
    """The work of one task where source images are drawn: as they are, translated, and with their labels."""

    folder: Path
    source: Labelled
    target: Unlabelled
    space: LabelSpace
    count: int
    store: Path
    """Folder of the translations."""


@dataclass(frozen=True)
class Sheet:
    """The work of one task: all the panels of target images."""

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
    if stage.translated:
        count = min(context.method.panels, len(domains.source))
        folder, store = (context.folders[name].absolute() for name in (stage.name, stage.translated))
        drawn = TranslationSheet(folder, domains.source, domains.target, domains.space, count, store)
        run_tasks(draw_translations, [drawn], context.method.compute, stage.name)
        return {"images": count}
    count = min(context.method.panels, len(domains.target))
    sheet = Sheet(
        folder=context.folders[stage.name].absolute(),
        target=domains.target,
        truth=domains.truth,
        space=domains.space,
        indices=_spread(count, len(domains.target)),
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
        columns: Columns = [("image", _picture(sample.image))]

        def add(title: str, label: Tensor, columns: Columns = columns) -> None:
            columns.append((title, sheet.space.colour(label.numpy())))

        if sheet.truth:
            add("truth", sheet.truth.sample(position).label)
        for title, predictor in predictors[:1]:
            add(title, predictor.labels(sample.image, size))
        if pseudo and sheet.labels:
            add(sheet.labels[0], pseudo.label(sample.id))
        for title, predictor in predictors[1:]:
            add(title, predictor.labels(sample.image, size))
        index.append({"id": sample.id, "columns": _saved(sheet.folder, row, columns)})
    write_json(sheet.folder / "index.json", json.loads(json.dumps(index)))
    return len(index)


def draw_translations(sheet: TranslationSheet) -> int:
    """One task: draw source images, their translations and labels, each beside some target image; returns how many."""
    store, index = Translations(sheet.store), []
    others = _spread(sheet.count, len(sheet.target))
    for row, (position, other) in enumerate(zip(_spread(sheet.count, len(sheet.source)), others, strict=True)):
        sample = sheet.source.sample(position)
        columns: Columns = [
            ("source image", _picture(sample.image)),
            ("translated", _picture(store.image(sample.id))),
            ("label of both", sheet.space.colour(sample.label.numpy())),
            ("a target image", _picture(sheet.target.sample(other).image)),
        ]
        index.append({"id": sample.id, "columns": _saved(sheet.folder, row, columns)})
    write_json(sheet.folder / "index.json", index)
    return len(index)


def _spread(count: int, total: int) -> list[int]:
    """As many positions as wanted, evenly over all."""
    return [total * i // count for i in range(count)]


def _picture(image_3HW: Tensor) -> np.ndarray:
    return image_3HW.permute(1, 2, 0).contiguous().numpy()


def _saved(folder: Path, row: int, columns: Columns) -> list[dict[str, str]]:
    """Write the pictures of a panel; returns their entries of the index."""
    entries = []
    for column, (title, picture) in enumerate(columns):
        name = f"{row:02d}-{column}.png"
        with replacing(folder / name) as temporary:
            Image.fromarray(picture).save(temporary, "PNG", optimize=True)
        entries.append({"title": title, "file": name})
    return entries
