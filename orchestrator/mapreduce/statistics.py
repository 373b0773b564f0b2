"""Run a statistics stage: parallel tasks count where in the image each source class occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from domains.base.files import write_bytes
from domains.base.samples import Labelled
from domains.metrics.iou import named
from domains.pseudo.spatial_prior import CELLS, count_places, shares
from orchestrator.contract.stages import Statistics
from orchestrator.mapreduce.tasks import run_tasks, split
from orchestrator.run.context import Context
from orchestrator.run.profile import Meter

COUNTS = "statistics.safetensors"


@dataclass(frozen=True)
class Part:
    """The images that one task counts."""

    domain: Labelled
    indices: Sequence[int]
    num_classes: int
    costs: Path | None = None
    """Folder to write down in what each image costs, for a smoke run."""


def run(stage: Statistics, context: Context) -> dict[str, Any]:
    """Count the labels of the source; writes the counts by class and place."""
    domains, compute = context.domains, context.method.compute
    parts = [
        Part(domains.source, indices, len(domains.space), context.costs(stage.name, number))
        for number, indices in enumerate(split(len(domains.source), compute.tasks))
    ]
    counts = np.sum(run_tasks(count_part, parts, compute, stage.name), axis=0)
    write_bytes(context.folders[stage.name] / COUNTS, save({"places": counts}))
    return {"share": named(shares(counts), domains.space.classes)}


def count_part(part: Part) -> np.ndarray:
    """One task: pixels of each class at each place in the images of a part."""
    total = np.zeros((part.num_classes, *CELLS), dtype=np.int64)
    meter = Meter()
    for index in part.indices:
        total += count_places(part.domain.label(index), part.num_classes)
        meter.tick()
    if part.costs:
        meter.write(part.costs)
    return total
