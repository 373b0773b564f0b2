"""The kinds of stage a run is made of, as plain data. What they do stands in the module named after each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from domains.base.settings import IsaSettings
from orchestrator.contract.settings import NEUTRAL, OptimiserSettings, TrainSettings, ViewSettings

TARGET = "target"
"""Names the unlabelled target domain where a stage could also name a labelling stage."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train networks with one step function of the method (`orchestrator.train.stage`)."""

    name: str
    step: str
    """Method attribute: a generator of (optimiser names, loss, logged terms)."""
    networks: tuple[str, ...]
    """Names, among the method's networks, of those that learn."""
    settings: TrainSettings
    optimisers: tuple[tuple[str, OptimiserSettings], ...] = ()
    """(network, optimiser) of each network that learns otherwise than `settings` says."""
    start: str = ""
    """Stage whose weights these networks begin with; networks it lacks, and all where empty, begin fresh."""
    target: str = ""
    """"": source alone; "target": unlabelled target images; else the labelling stage whose labels join them."""
    translated: IsaSettings | None = None
    """Input space adaptation of the source images, where the stage uses it."""
    source_share: float = 1.0
    """Share of the source images that it trains on, in (0, 1]."""
    mining: float = 0.0
    """Chance that a target crop is centred on a pixel of a rare class, in [0, 1]; needs pseudo-labels."""
    rare: float = 0.0
    """A class is rare where a smaller share of the target's pixels is predicted as it."""
    uses: tuple[object, ...] = ()
    """Further settings that decide the outcome: part of the stage's fingerprint."""
    kept: tuple[str, ...] = field(default=(), metadata=NEUTRAL)
    """Networks that get no gradient and that the method itself changes (`Method.begin`, `Method.after_step`): teachers,
    prototypes. They are in checkpoints and handed on."""
    fixed: tuple[str, ...] = field(default=(), metadata=NEUTRAL)
    """Networks that never change: built anew each time and not saved. Their weights are part of the fingerprint."""
    passes: Literal["one", "several"] = field(default="one", metadata=NEUTRAL)
    """several: the step may yield losses that update no network, `(), loss, terms`, whose gradients add up until one
    that does."""
    common: bool = False
    """Whether every method with this step and these settings trains alike, so that one can take over from another."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Stages whose output this one reads."""
        return tuple(name for name in (self.start, self.target) if name and name != TARGET)

    def __post_init__(self) -> None:
        """Refuse a network of two roles."""
        names = (*self.networks, *self.kept, *self.fixed)
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.name}: {', '.join(doubled)} must be in one of networks, kept and fixed, once")

    @property
    def saved(self) -> tuple[str, ...]:
        """Networks that are in its checkpoints, and that it hands on."""
        return (*self.networks, *self.kept)


@dataclass(frozen=True, kw_only=True)
class Label:
    """Pseudo-label the target's training images (`orchestrator.mapreduce.labelling`)."""

    name: str
    by: str
    """Training stage whose model labels."""
    round: int
    portion: float
    """Share of each class's predicted pixels that is kept, in (0, 1]."""
    views: ViewSettings = field(default_factory=ViewSettings)
    """What the labelling network is shown of each image."""
    softness: float = 0.0
    """Above 0: labels are soft (`domains.pseudo.selection.SoftLabel`)."""
    prior: str = ""
    """Statistics stage whose places of classes weigh the predictions; "": none does."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Stages whose output this one reads."""
        return (self.by, *([self.prior] if self.prior else []))


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Count where in the image each class of the source occurs (`orchestrator.mapreduce.statistics`)."""

    name: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Stages whose output this one reads: none."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Translation:
    """Translate every source image with a trained network, and keep that (`orchestrator.mapreduce.translation`)."""

    name: str
    by: str
    """Training stage whose network translates."""
    network: str
    """Its name; it maps images in [0, 1] to images in [0, 1] of the same size."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Stages whose output this one reads."""
        return (self.by,)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure a model on the evaluation domain, under the protocol of the run (`orchestrator.mapreduce.evaluation`)."""

    name: str
    of: str
    """Training stage whose model is measured."""
    role: Literal["source_only", "adapted", "round"]
    """Where the numbers go in summary.json; "round": to the round of the same number."""
    round: int = -1

    @property
    def needs(self) -> tuple[str, ...]:
        """Stages whose output this one reads."""
        return (self.of,)


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Draw a fixed set of target images with what each model makes of them (`orchestrator.mapreduce.panels`)."""

    name: str
    models: tuple[tuple[str, str], ...] = ()
    """(title, training stage) of each column of predictions."""
    labels: tuple[str, str] | None = None
    """(title, labelling stage) of the pseudo-label column."""
    translated: str = ""
    """Translation stage: source images and what it made of them are drawn in place of target images."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Stages whose output this one reads."""
        drawn = (*(stage for _, stage in self.models), *((self.labels[1],) if self.labels else ()))
        return (*drawn, self.translated) if self.translated else drawn


Stage = Train | Label | Statistics | Translation | Evaluate | Panels


def alike(stages: Iterable[Stage]) -> dict[str, str]:
    """For each stage the first that does the same, maybe with other inputs, as later rounds do."""
    first: dict[Stage, str] = {}
    return {stage.name: first.setdefault(_kind(stage), stage.name) for stage in stages}


def representatives(stages: Sequence[Stage]) -> list[Stage]:
    """One of all stages that are alike.

    What those that remain would read from a stage that is gone they read from the one that is left of its kind.
    """
    names = {"": "", TARGET: TARGET, **alike(stages)}
    return [_rewired(stage, names) for stage in stages if names[stage.name] == stage.name]


def _kind(stage: Stage) -> Stage:
    """A stage without what tells one round from another."""
    match stage:
        case Train():
            target = "labels" if stage.target not in ("", TARGET) else stage.target
            return replace(stage, name="", start="", target=target, source_share=1.0)
        case Label():
            return replace(stage, name="", by="", round=0, portion=1.0)
        case Evaluate():
            return replace(stage, name="", of="", role="round", round=0)
        case _:
            return stage


def _rewired(stage: Stage, names: dict[str, str]) -> Stage:
    match stage:
        case Train():
            return replace(stage, start=names[stage.start], target=names[stage.target])
        case Label():
            return replace(stage, by=names[stage.by], prior=names[stage.prior])
        case Evaluate():
            return replace(stage, of=names[stage.of])
        case Panels():
            labels = stage.labels and (stage.labels[0], names[stage.labels[1]])
            models = tuple((title, names[of]) for title, of in stage.models)
            return replace(stage, models=models, labels=labels, translated=names[stage.translated])
        case Translation():
            return replace(stage, by=names[stage.by])
        case Statistics():
            return stage
