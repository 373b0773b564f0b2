"""A run at full length as tables: its stages, what their networks weigh, and what a smoke run lets one expect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from domains.placeholder import SHAPES
from models.settings import NO_WEIGHTS
from orchestrator.base.progress import Progress
from orchestrator.contract.method import Method, Sizes
from orchestrator.contract.stages import TARGET, Evaluate, Label, Panels, Stage, Statistics, Train, Translation, alike
from orchestrator.dryrun.memory import Memory, Size, memory_of
from orchestrator.dryrun.smoke_run import DOMAINS, SmokeRun
from orchestrator.run.context import open_domains
from orchestrator.run.profile import read_cost
from orchestrator.runner import stages_of
from orchestrator.train.stage import step_count

GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """What settings ask for; numbers of images that are not here are the published ones."""

    method: Method
    """With compute as it was detected."""
    stages: list[Stage]
    images: dict[str, int]
    """Of each domain."""
    sizes: dict[str, Size]
    """At which the network sees the whole images of each domain, at scale 1."""
    steps: dict[str, int]
    """Of each training stage."""
    memory: dict[str, Memory]
    """Of the first stage of each kind of training."""

    @classmethod
    def of(cls, method: Method, smoke_run: SmokeRun) -> Plan:
        """Lay out a run whose smoke run is prepared."""
        domains = open_domains(smoke_run.method)
        readers = {"source": domains.source, "target": domains.target, "evaluation": domains.evaluation}
        images = {name: len(reader) if reader else 0 for name, reader in readers.items()}
        for name in smoke_run.drawn:
            settings = getattr(method.pair, name)
            images[name] = SHAPES[settings.kind].images(settings)
        shapes = {name: _size(reader.sample(0).image) for name, reader in readers.items() if reader}
        counts = Sizes(source=images["source"], target=images["target"], classes=len(domains.space))
        stages = stages_of(method, counts)
        trainings = [stage for stage in stages if isinstance(stage, Train)]
        bare = replace(method, model=replace(method.model, weights=NO_WEIGHTS))
        soft = {stage.name for stage in stages if isinstance(stage, Label) and stage.softness}
        first = set(alike(stages).values())
        crops = (_crop(method, shapes["source"]), _crop(method, shapes["target"]))
        return cls(
            method=method,
            stages=stages,
            images=images,
            sizes=shapes,
            steps={stage.name: step_count(stage, counts, method.compute) for stage in trainings},
            memory={
                stage.name: memory_of(stage, bare, counts.classes, *crops, soft=stage.target in soft)
                for stage in trainings
                if stage.name in first
            },
        )


def show_plan(plan: Plan, smoke_run: SmokeRun, progress: Progress) -> None:
    """Print data, weights, machine, stages and networks."""
    compute = plan.method.compute
    gpus = f"{compute.workers * compute.gpus_per_worker:g}" if compute.gpus_per_worker else "no"
    progress.say("")
    for name in DOMAINS:
        if name in plan.sizes:
            images = f"{plan.images[name]:,} images, seen at {_by(plan.sizes[name])}"
            progress.say(f"{name:<11} {images:<34} {smoke_run.data[name]}")
        else:
            progress.say(f"{name:<11} {smoke_run.data[name]}")
    progress.say(f"weights     {smoke_run.weights}")
    progress.say(
        f"machine     {compute.workers} training worker{'s' if compute.workers > 1 else ''}, {gpus} GPU, "
        f"{compute.tasks} tasks at a time, {compute.precision}\n"
    )
    columns = ["stage", "does", "reads", "images", "steps", "batch", "size"]
    progress.table("Stages", columns, [_row(stage, plan) for stage in plan.stages], text=3)
    progress.say("")
    networks = [
        [stage, name, f"{count / 1e6:.1f} M"]
        for stage, memory in plan.memory.items()
        for name, count in memory.networks.items()
    ]
    progress.table("Networks", ["stage", "trains", "parameters"], networks, text=2)
    progress.say("")
    rows = [
        [name, *(_gib(value) for value in (m.weights, m.gradients, m.optimisers, m.activations, m.total))]
        for name, m in plan.memory.items()
    ]
    columns = ["stage", "weights", "gradients", "optimisers", "activations", "in all"]
    progress.table("Memory of a training worker, counted in float32 (GiB)", columns, rows)
    progress.say(
        "Counted from the networks and one step without values; the activations are those that wait for the backward\n"
        "pass, about half as much in bf16 or fp16. Libraries, workspace of the kernels and data come on top."
    )


def show_estimates(plan: Plan, run: Path, progress: Progress) -> None:
    """Print what the smoke run in a run folder cost, and what the whole run would at that pace."""
    alike_stages = alike(plan.stages)
    folders = {path.name.split("-", 1)[1]: path for path in (run / "stages").iterdir()}
    rows, total = [], 0.0
    for stage in plan.stages:
        if isinstance(stage, Panels):  # a few images; a smoke run draws none
            continue
        cost = read_cost(folders[alike_stages[stage.name]])
        each = cost.seconds[-1]
        if isinstance(stage, Train):
            times, unit, took = plan.steps[stage.name], "steps", each * plan.steps[stage.name]
        else:
            times, unit = plan.images[_domain(stage)], "images"
            took = each * times / plan.method.compute.tasks
        total += took
        rows.append([stage.name, f"{each:.3g} s", f"{times:,}", unit, duration(took), _gib(cost.peak_bytes)])
    columns = ["stage", "each", "of", "", "in all", "peak GiB"]
    progress.table("At the pace of the smoke run", columns, rows)
    progress.say(
        f"About {duration(total)} together. Each is the last of those that were tried, so that starting up does not\n"
        "count; the peak is that of one process: on the GPU, or without one all of it with the libraries."
    )


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _row(stage: Stage, plan: Plan) -> list[str]:
    settings = stage.settings if isinstance(stage, Train) else None
    if settings is None:
        what = type(stage).__name__.lower()
        shown = f"{plan.images[_domain(stage)]:,}" if not isinstance(stage, Panels) else f"{plan.method.panels}"
        return [
            stage.name,
            what,
            ", ".join(stage.needs) or "the source",
            shown,
            "",
            "",
            _by(plan.sizes[_domain(stage)]),
        ]
    assert isinstance(stage, Train)
    both = bool(stage.target)
    reads = [*([] if stage.start else ["fresh weights"]), *stage.needs]
    images, batch = f"{plan.images['source']:,}", f"{settings.source_batch}"
    crop = _by(_crop(plan.method, plan.sizes["source"]))
    if both:
        images, batch = f"{images} + {plan.images['target']:,}", f"{batch} + {settings.target_batch}"
        reads += ["the target"] if stage.target == TARGET else []
        other = _by(_crop(plan.method, plan.sizes["target"]))
        crop = crop if other == crop else f"{crop}, {other}"
    return [stage.name, "train", ", ".join(reads), images, f"{plan.steps[stage.name]:,}", batch, crop]


def _domain(stage: Stage) -> str:
    if isinstance(stage, Statistics | Translation):
        return "source"
    return "evaluation" if isinstance(stage, Evaluate) else "target"


def _crop(method: Method, size: Size) -> Size:
    return method.augment.crop_height or size[0], method.augment.crop_width or size[1]


def _size(image_3HW: Tensor) -> Size:
    return image_3HW.shape[1], image_3HW.shape[2]


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _gib(count: int | None) -> str:
    return "unknown" if count is None else f"{count / GIB:.2f}"
