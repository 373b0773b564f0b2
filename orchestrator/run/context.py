"""What every stage of a run shares: the method, its data, where outputs lie, and who is told of progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domains.base.labels import LabelSpace
from domains.base.samples import Labelled, Reader, Unlabelled
from domains.base.settings import DomainSettings
from domains.registry import FIELDS, open_reader
from orchestrator.base.progress import Progress
from orchestrator.base.signals import GRACE_S
from orchestrator.contract.method import Method, Sizes
from orchestrator.run.fingerprint import Fingerprint
from orchestrator.run.peers import ConcurrentRuns
from orchestrator.run.protocol import stamp


@dataclass(frozen=True)
class Domains:
    """The opened domain pair.

    Training receives `source` and `target`; `truth` and `evaluation` are for measuring alone, and nothing in
    `orchestrator.train.stage` or `domains.batches.microbatches` refers to them.
    """

    space: LabelSpace
    source: Labelled
    target: Unlabelled
    truth: Labelled | None
    """The target's training images with ground truth where there is any: measures pseudo-labels."""
    evaluation: Labelled | None
    """None where the user has no labelled target images: nothing is measured then."""

    @property
    def sizes(self) -> Sizes:
        """Numbers that the stage graph depends on."""
        return Sizes(source=len(self.source), target=len(self.target), classes=len(self.space))


@dataclass(frozen=True)
class Context:
    """Passed to the function that runs a stage."""

    method: Method
    domains: Domains
    run: Path
    progress: Progress
    peers: ConcurrentRuns | None = None
    """The runs that go on at the same time, where there are any."""
    fingerprints: dict[str, Fingerprint] = field(default_factory=dict)
    """What decides each stage, by name."""
    folders: dict[str, Path] = field(default_factory=dict)
    """Folder of each stage, by name."""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Result of each finished stage, by name."""
    grace_s: float = GRACE_S
    """Seconds that saving may take after a signal other than Ctrl-C."""
    measured: bool = False
    """Whether stages also write down what their steps and images cost (`orchestrator.run.profile`)."""

    def costs(self, stage: str, part: int = 0) -> Path | None:
        """Folder that a task writes its costs to: the first of a stage does, where they are wanted."""
        return self.folders[stage].absolute() if self.measured and part == 0 else None


def open_domains(method: Method) -> Domains:
    """Open the readers of a method's domain pair, all in the run's label space.

    Raises:
        DataError: a domain is missing or malformed; the message names it.
    """
    from domains.base.labels import label_space

    pair = method.pair
    space = label_space(pair.label_space)

    def reader(settings: DomainSettings, *, resize_labels: bool = True) -> Reader:
        return open_reader(settings, space, method.root, *pair.size_of(settings), resize_labels=resize_labels)

    target = reader(pair.target)
    return Domains(
        space=space,
        source=Labelled(reader(pair.source)),
        target=Unlabelled(target),
        truth=Labelled(target) if target.has_labels else None,
        # Predictions are measured against labels at their own size, whatever size the network sees.
        evaluation=None if pair.evaluation.kind == "none" else Labelled(reader(pair.evaluation, resize_labels=False)),
    )


def describe(settings: DomainSettings, count: int) -> str:
    """A domain in words, for tables and the report."""
    if settings.kind == "none":
        return "none: nothing was measured"
    if settings.kind == "toycity":
        return f"toy city, {settings.style}/{settings.split} ({count} images)"
    named = [name for name in ("condition", "fog_beta", "split") if name in FIELDS[settings.kind]]
    parts = [str(getattr(settings, name)) for name in named]
    what = settings.list or settings.images or "/".join(parts) or "all"
    return f"{settings.kind}, {what} ({count} images)"


def protocol(context: Context) -> dict[str, Any]:
    """How the numbers of a run are measured; goes with every one of them."""
    domains = context.domains
    height, width = domains.target.sample(0).image.shape[1:]
    shown, judged = (height, width), (height, width)
    if domains.evaluation:
        first = domains.evaluation.sample(0)
        shown, judged = first.image.shape[1:], first.label.shape
    resolution = f"prediction {shown[0]}x{shown[1]}, labels {judged[0]}x{judged[1]} (height x width)"
    found = stamp(context.method.protocol, domains.space, (height, width), resolution)
    return found if domains.evaluation else {**found, "name": "not measured"}
