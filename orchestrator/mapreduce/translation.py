"""Run a translation stage: parallel tasks translate the source images and write Arrow shards.

A stage that was cut off redoes only the parts whose shard is missing or does not match its digest.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import nn

from domains.base.samples import Unlabelled
from domains.metrics.colours import ColourMoments
from domains.stores.arrow import intact_digest, open_table
from domains.stores.translations import (
    KIND,
    TranslatedRow,
    TranslationManifest,
    read_picture,
    write_translation_manifest,
    write_translations,
)
from models.weights import load_tensors
from orchestrator.base.errors import StageFailed
from orchestrator.contract.method import Method
from orchestrator.contract.stages import Translation
from orchestrator.mapreduce.tasks import run_tasks, split, written_digest
from orchestrator.run.context import Context
from orchestrator.run.folder import handed_on
from orchestrator.run.profile import Meter
from orchestrator.train.loop import NETWORKS


@dataclass(frozen=True)
class Part:
    """The images that one task translates, and the shard that they become."""

    number: int
    folder: Path
    method: Method
    num_classes: int
    network: str
    weights: Path
    translator: str
    """Digest of the weights."""
    source: Unlabelled
    indices: Sequence[int]
    costs: Path | None = None
    """Folder to write down in what each image costs, for a smoke run."""

    @property
    def origin(self) -> dict[str, str]:
        """What the shard is made from: stored in it, compared before it is kept."""
        return {"translator": self.translator, "images": f"{self.indices[0]}-{self.indices[-1]}"}

    @property
    def shard(self) -> Path:
        """Where the translations go."""
        return self.folder / f"images-{self.number:03d}.arrow"

    @property
    def digest(self) -> str | None:
        """The sha256 of the shard if it is whole and was made just so, else None."""
        return intact_digest(self.shard, self.origin)


@dataclass(frozen=True)
class Look:
    """Images whose colours one task counts: a part before and after translation, or some of the target."""

    images: Unlabelled
    indices: Sequence[int]
    shard: Path | None = None
    """Their translations, in the same order."""


@dataclass(frozen=True)
class Seen:
    """What was counted in a `Look`."""

    before: ColourMoments = field(default_factory=ColourMoments)
    after: ColourMoments = field(default_factory=ColourMoments)

    def __add__(self, other: Seen) -> Seen:
        """The counts of both."""
        return Seen(self.before + other.before, self.after + other.after)


def run(stage: Translation, context: Context) -> dict[str, Any]:
    """Translate the source; the stage's folder becomes a verified store of images."""
    parts = make_parts(stage, context)
    compute, domains = context.method.compute, context.domains
    missing = [part for part in parts if part.digest is None]
    with context.progress.bar(stage.name, sum(len(part.indices) for part in missing), unit="image") as bar:
        count = itertools.accumulate(len(part.indices) for part in missing)
        run_tasks(translate_part, missing, compute, stage.name, lambda *_: bar.update(next(count), {}))
    height, width = context.method.pair.size_of(context.method.pair.source)
    write_translation_manifest(
        context.folders[stage.name],
        TranslationManifest(
            kind=KIND,
            translator=parts[0].translator,
            height=height,
            width=width,
            shards={part.shard.name: written_digest(part.shard, part.origin) for part in parts},
        ),
    )
    source = [Look(part.source, part.indices, part.shard) for part in parts]
    target = [Look(domains.target, indices) for indices in split(len(domains.target), compute.tasks)]
    found = run_tasks(count_colours, [*source, *target], compute, f"{stage.name}: colours")
    moved = functools.reduce(operator.add, found[: len(source)])
    wanted = functools.reduce(operator.add, found[len(source) :]).before
    return colours(len(domains.source), moved, wanted)


def make_parts(stage: Translation, context: Context) -> list[Part]:
    """Cut the source into the parts of a translation."""
    folder, name = context.folders[stage.by], f"{NETWORKS}/{stage.network}.safetensors"
    translator = hashlib.sha256(handed_on(folder, name)).hexdigest()
    source = Unlabelled(context.domains.source.reader)
    return [
        Part(
            number=number,
            folder=context.folders[stage.name].absolute(),
            method=context.method,
            num_classes=len(context.domains.space),
            network=stage.network,
            weights=(folder / name).absolute(),
            translator=translator,
            source=source,
            indices=indices,
            costs=context.costs(stage.name, number),
        )
        for number, indices in enumerate(split(len(source), context.method.compute.tasks))
    ]


def translate_part(part: Part) -> None:
    """One task: translate each image of a part and write its shard."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)  # one core a task: tasks are the parallelism
    network = load_network(part).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    meter = Meter(device)

    @torch.inference_mode()
    def rows() -> Iterator[TranslatedRow]:
        for index in part.indices:
            sample = part.source.sample(index)
            # In float32 whatever training ran in: colours need more than the 8 bits of bfloat16.
            image_13HW = sample.image[None].to(device, memory_format=torch.channels_last).float() / 255
            moved_3HW = network(image_13HW)[0].mul(255).round().clamp(0, 255).byte().cpu()
            meter.tick()
            yield TranslatedRow(sample.id, index, moved_3HW)

    write_translations(part.shard, rows(), part.origin)
    if part.costs:
        meter.write(part.costs)


def load_network(part: Part) -> nn.Module:
    """The trained network that translates, ready for use.

    Raises:
        StageFailed: its weights changed since the stage began.
    """
    content = part.weights.read_bytes()
    if hashlib.sha256(content).hexdigest() != part.translator:
        raise StageFailed(f"{part.weights} was damaged or changed while it was in use.")
    network = part.method.networks(part.num_classes)[part.network]
    load_tensors(network, load(content))
    return network.eval()


def count_colours(look: Look) -> Seen:
    """One task: the moments of the colours of images, and of their translations where there are any."""
    table, seen = open_table(look.shard) if look.shard else None, Seen()
    for row, index in enumerate(look.indices):
        after = ColourMoments.of(read_picture(table, row)) if table else ColourMoments()
        seen += Seen(ColourMoments.of(look.images.sample(index).image), after)
    return seen


def colours(images: int, moved: Seen, wanted: ColourMoments) -> dict[str, Any]:
    """What a translation did: the colours of source, translation and target, and how far the target's are."""
    domains = {"source": moved.before, "translated": moved.after, "target": wanted}
    return {
        "images": images,
        "colours": {
            name: {"mean": list(moments.mean), "deviation": list(moments.deviation)}
            for name, moments in domains.items()
        },
        "distance": {name: domains[name].distance(wanted) for name in ("source", "translated")},
    }
