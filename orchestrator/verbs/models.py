"""The verbs that use a trained model on the user's own images: evaluate and label."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from domains.base.files import refuse_links, replacing
from domains.base.labels import LabelSpace, label_space
from domains.base.samples import Labelled, Unlabelled
from domains.metrics.class_rules import rule_problem
from domains.readers.folder import FolderReader
from domains.readers.images import resize_image
from domains.readers.wrappers import Mapped, ResizedImages
from domains.stores.pseudo_labels import LabelRow, Manifest, write_manifest, write_shard
from losses.ignore import IGNORE
from models.weights import load_model
from orchestrator.base.errors import UserError
from orchestrator.base.files import write_json
from orchestrator.cluster.backend import backend_of
from orchestrator.contract.settings import ComputeSettings, ViewSettings
from orchestrator.mapreduce.evaluation import evaluation_content, evaluation_result, measure
from orchestrator.mapreduce.inference import Predictor
from orchestrator.mapreduce.tasks import run_tasks, split
from orchestrator.run.protocol import stamp

if TYPE_CHECKING:
    from orchestrator.cluster.session import Session
    from orchestrator.contract.flags import EvaluateFlags, LabelFlags, ModelFlags


def evaluate(flags: EvaluateFlags, session: Session) -> None:
    """Measure a model folder on labelled images; write the numbers with their protocol.

    Raises:
        UserError, DataError: the model, a folder or the label space cannot be used.
    """
    config, space = open_model(flags.model)
    problem = rule_problem(flags.classes, space)
    if problem:
        raise UserError(f"--classes: {problem}.")
    # Absolute: a worker's folder is another one.
    images, labels = Path(flags.images).absolute(), Path(flags.labels).absolute()
    reader = FolderReader(images, labels, label_space(flags.label_space))
    domain = Labelled(Mapped(ResizedImages(reader, *_size(flags.size, config)), space))
    session.connect(flags.compute)
    compute, progress = _resolved(flags), session.progress
    confusion = measure(Path(flags.model), domain, space, compute, "evaluate", progress, flags.views)
    result = evaluation_result(confusion, space, flags)
    height, width = domain.sample(0).image.shape[1:]
    resolution = f"prediction {height}x{width} (height x width), labels at their own size"
    protocol = {**stamp(flags, space, (height, width), resolution), "images": len(domain)}
    write_json(Path(flags.out), {"model": flags.model, **evaluation_content(result, confusion, space, protocol)})
    rows = [[name, "absent" if iou is None else f"{iou:.3f}"] for name, iou in result["iou"].items()]
    rows.append(["mean", f"{result['miou']:.3f}"])
    progress.table(f"{protocol['name']}, {len(domain)} images", ["class", "IoU"], rows)
    progress.say(f"written: {flags.out}")


@dataclass(frozen=True)
class Part:
    """The images that one task labels."""

    number: int
    model: Path
    images: Unlabelled
    size: tuple[int, int]
    """Height and width that the network sees."""
    indices: Sequence[int]
    out: Path
    num_classes: int
    pictures: LabelSpace | None
    """Colours of the pictures; None where none are wanted."""
    views: ViewSettings
    precision: str

    @property
    def shard(self) -> Path:
        """The shard that this part becomes."""
        return self.out / f"labels-{self.number:03d}.arrow"


def label(flags: LabelFlags, session: Session) -> None:
    """Label every image of a folder, at its own size, with the most probable class of each pixel.

    Raises:
        UserError, DataError: the model or a folder cannot be used, or a symbolic link leads out of that for the labels.
    """
    config, space = open_model(flags.model)
    refuse_links(Path(flags.out))
    images = Unlabelled(FolderReader(Path(flags.images).absolute(), None, space))
    height, width = _size(flags.size, config)
    session.connect(flags.compute)
    compute, progress = _resolved(flags), session.progress
    parts = [
        Part(
            number=number,
            model=Path(flags.model).absolute(),
            images=images,
            size=(height, width),
            indices=indices,
            out=Path(flags.out).absolute(),
            num_classes=len(space),
            pictures=space if flags.pictures else None,
            views=flags.views,
            precision=compute.precision,
        )
        for number, indices in enumerate(split(len(images), compute.tasks))
    ]
    done = 0
    with progress.bar("label", len(images), unit="image") as bar:

        def advance(index: int, _written: object) -> None:
            nonlocal done
            done += len(parts[index].indices)
            bar.update(done, {})

        written = run_tasks(label_part, parts, compute, "label", advance)
    counts = np.sum([count for _, count in written], axis=0)
    write_manifest(
        Path(flags.out),
        Manifest(
            labeller=config["sha256"],
            portion=1.0,
            thresholds=dict.fromkeys(space.classes, 0.0),
            class_counts=dict(zip(space.classes, counts.tolist(), strict=True)),
            predicted_counts=dict(zip(space.classes, counts.tolist(), strict=True)),
            shards={part.shard.name: digest for part, (digest, _) in zip(parts, written, strict=True)},
        ),
    )
    progress.say(f"written: {len(images)} labels in {len(parts)} shards in {flags.out}")


def label_part(part: Part) -> tuple[str, np.ndarray]:
    """One task: label the images of a part; returns the digest of their shard and the pixels of each class."""
    predictor = Predictor(part.model, part.precision, part.views)
    counts = np.zeros(IGNORE, dtype=np.int64)

    def rows() -> Iterator[LabelRow]:
        for index in part.indices:
            sample = part.images.sample(index)
            own_size = (sample.image.shape[1], sample.image.shape[2])
            labels = predictor.labels(resize_image(sample.image, *part.size), own_size)
            if part.pictures:
                picture = (part.out / "pictures" / sample.id).with_suffix(".png")
                with replacing(picture) as temporary:
                    Image.fromarray(part.pictures.colour(labels.numpy())).save(temporary, "PNG")
            counts[:] += np.bincount(labels.numpy().ravel(), minlength=IGNORE)
            yield LabelRow(sample.id, index, labels)

    return write_shard(part.shard, rows(), {"labeller": predictor.config["sha256"]}), counts[: part.num_classes]


def open_model(folder: str) -> tuple[dict[str, Any], LabelSpace]:
    """The configuration and label space of a model folder.

    Raises:
        UserError: there is no intact model in it.
    """
    try:
        _, config = load_model(folder)
    except ValueError as error:
        raise UserError(f"--model: {error}") from error
    return config, LabelSpace.from_json(json.dumps(config["label_space"]))


def _resolved(flags: ModelFlags) -> ComputeSettings:
    backend = flags.compute.backend
    return backend_of(flags.compute).resolve(ComputeSettings(backend=backend, precision=flags.precision))


def _size(size: tuple[int, ...], config: dict[str, Any]) -> tuple[int, int]:
    """Height and width asked for, or those that the model was trained and evaluated at."""
    if len(size) not in (0, 2):
        raise UserError(f"--size takes a height and a width, got {len(size)} numbers.")
    height, width = size or config["protocol"]["size"]
    return height, width
