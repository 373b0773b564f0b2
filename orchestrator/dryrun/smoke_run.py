"""A run made small enough to try out: placeholders for what is not here, two steps a training, an image a domain."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domains.base.settings import DomainSettings
from domains.placeholder import missing, write_placeholder
from models.placeholder import write_placeholder_weights
from models.settings import HUB, NO_WEIGHTS, family_of
from orchestrator.contract.method import Method
from orchestrator.contract.settings import TrainSettings

STEPS = 2
IMAGES = 2
"""Of each placeholder; a smoke run reads as many source images and one of the others."""
HARDLY = 1e-12
"""A learning rate that changes nothing to speak of."""
DOMAINS = ("source", "target", "evaluation")


@dataclass(frozen=True)
class SmokeRun:
    """A run that can be carried out here and now."""

    method: Method
    """The settings with placeholders for data and weights that are not here; otherwise at full length."""
    data: dict[str, str]
    """What each domain is, in words."""
    weights: str
    """What the encoder begins with, in words."""
    drawn: frozenset[str]
    """Domains that placeholders stand in for."""
    random: bool
    """Whether the encoder's weights are random."""


def prepare(settings: Method, folder: Path) -> SmokeRun:
    """Write placeholders for what a run lacks.

    Args:
        settings: as the user gave them, not yet checked.
        folder: where placeholders are written.
    """
    pair, data, drawn = settings.pair, {}, set()
    for name in DOMAINS:
        domain: DomainSettings = getattr(pair, name)
        if missing(domain, settings.root):
            drawn.add(name)
            where = f"{Path(settings.root) / domain.root} is no folder" if settings.root else "no --root is given"
            data[name] = f"{domain.kind} ({where}: drawn images stand in)"
            pair = replace(pair, **{name: write_placeholder(domain, folder / name, IMAGES)})
        else:
            data[name] = domain.kind
    here, why = _weights(settings)
    changes: dict[str, Any] = {"pair": pair}
    if not here and write_placeholder_weights(replace(settings.model, weights=NO_WEIGHTS), folder / "weights"):
        changes["model"] = replace(settings.model, weights=str(folder / "weights"))
    elif not here:
        changes["model"] = replace(settings.model, weights=NO_WEIGHTS)
    isa = settings.translation
    if isa.translator in ("folder", "run") and "source" in drawn:
        # Any images of the source's names will do: those that are drawn.
        images = next(path for path in (folder / "source").iterdir() if "label" not in path.name.lower())
        changes["isa"] = replace(isa, translator="folder", folder=str(images))
    return SmokeRun(replace(settings, **changes), data, why, frozenset(drawn), not here)


def _weights(settings: Method) -> tuple[bool, str]:
    """Whether the weights that a run begins with are here, and what is to say of it."""
    model, instead = settings.model, "random ones of the same shape stand in"
    if model.wanted:
        return False, f"not given, which the run itself refuses: {instead}"
    if not model.pretrained:
        return False, f"none, by name{_warning(settings)}"
    if model.local and not Path(model.weights).exists():
        return False, f"{model.weights} is not here: {instead}"
    if HUB.fullmatch(model.weights):
        from models.pretrained import read_pretrained

        try:
            read_pretrained(model.weights)
        except ValueError as error:
            return False, f"{error}: {instead}"
    return True, model.weights


def _warning(settings: Method) -> str:
    """What to know of a random encoder whose averages never learn."""
    trainings = {name: value for name, value in vars(settings).items() if isinstance(value, TrainSettings)}
    first = next(iter(trainings), "")
    if not first or trainings[first].batchnorm == "train" or family_of(settings.model.backbone) != "resnet":
        return ""
    return (
        f"; beware: {first}.batchnorm eval keeps the averages of a random network, and such a run diverges at once: "
        f"add --{first}.batchnorm train (here the averages are tempered)"
    )


def scaled_down(smoke_run: SmokeRun, gpu: bool = False) -> Method:
    """The same run of two steps a training, two source images, one target and one evaluation image, no pictures.

    Random weights hardly learn: at a rate that is meant for trained ones two steps may be enough to diverge. On a GPU
    two images of each domain are seen: the first starts it up, which would take most of what is measured.
    """
    method, seen = smoke_run.method, IMAGES if gpu else 1
    pair = method.pair
    counts = {"source": IMAGES, "target": seen, "evaluation": seen if pair.evaluation.kind != "none" else 0}
    domains = {name: replace(getattr(pair, name), count=count) for name, count in counts.items()}
    shorter = {
        name: replace(
            value,
            steps=STEPS,
            epochs=0,
            log_every=1,
            checkpoint_every=STEPS,
            lr=HARDLY if smoke_run.random else value.lr,
        )
        for name, value in vars(method).items()
        if isinstance(value, TrainSettings)
    }
    return dataclasses.replace(method, pair=replace(pair, **domains), panels=0, **shorter)
