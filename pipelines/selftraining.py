"""What self-training methods share: rounds in which the network labels the target and is trained on both domains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Le

from domains.base.settings import AugmentSettings, IsaSettings
from orchestrator.contract.method import Sizes
from orchestrator.contract.settings import TrainSettings, ViewSettings
from orchestrator.contract.stages import Evaluate, Label, Panels, Stage, Statistics, Train
from pipelines.benchmarks import ONE_SCALE, TORCHVISION, on_every_benchmark, stepped
from pipelines.presets import on_every_pair
from pipelines.source_only import SOURCE_STAGE, SourceOnly
from pipelines.terms.base import Step, View

if TYPE_CHECKING:
    from torch import Generator

    from domains.batches.batch import Batch, PseudoLabelledImages
    from orchestrator.contract.method import Networks, Steps
    from pipelines.terms.base import Makers

STATISTICS_STAGE = "statistics"


@dataclass(frozen=True, kw_only=True)
class PseudoSettings(ViewSettings):
    """Pseudo-label rounds: class-balanced selection with a growing portion (CBST's policy and schedule)."""

    rounds: Annotated[int, Ge(1)] = 3
    """Times the target is labelled and trained on."""
    initial_portion: Annotated[float, Gt(0), Le(1)] = 0.2
    """Share of each class's predicted pixels that round 0 keeps."""
    portion_step: Annotated[float, Ge(0), Le(1)] = 0.05
    """Growth of the share a round."""
    max_portion: Annotated[float, Gt(0), Le(1)] = 0.5
    """The share grows no further than this."""
    spatial_prior: bool = False
    """Multiply each class's probability by how often the source shows it at that place of the image (CBST-SP)."""
    mining: Annotated[float, Ge(0), Le(1)] = 0.0
    """Chance that a target crop is centred on a pixel labelled as a rare class (CRST's code: 0.8); 0: never."""
    rare: Annotated[float, Gt(0), Le(1)] = 1e-3
    """A class is rare where a smaller share of the target's pixels is predicted as it (CRST's code)."""
    source_portion: Annotated[float, Gt(0), Le(1)] = 1.0
    """Share of the source images that round 0 trains on, drawn anew each round (CRST's code: 0.03)."""
    source_portion_step: Annotated[float, Ge(0), Le(1)] = 0.0
    """Growth of that share a round (CRST's code: 0.0025)."""
    max_source_portion: Annotated[float, Gt(0), Le(1)] = 1.0
    """That share grows no further than this (CRST's code: 0.06)."""


@dataclass(frozen=True, kw_only=True)
class SelfTraining(SourceOnly):
    """Base of the self-training methods: the stages of class-balanced self-training (CBST, Zou et al. 2018).

    A subclass lists its ingredients, which read the views `source`, `target` and `both`.
    """

    pseudo: PseudoSettings = field(default_factory=PseudoSettings)
    isa: IsaSettings = field(default_factory=lambda: IsaSettings(ratio=0))
    augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(crop_height=512, crop_width=1024))
    adapt: TrainSettings = field(
        default_factory=lambda: TrainSettings(
            epochs=2, source_batch=1, target_batch=1, lr=5e-5, schedule="constant", batchnorm="eval", affine="frozen"
        )
    )

    @property
    def translation(self) -> IsaSettings:
        """Input space adaptation."""
        return self.isa

    def stages(self, sizes: Sizes) -> list[Stage]:
        """Source training, then rounds of labelling the target and training on both domains."""
        return [self.source_training(), self.source_evaluation(), *self.rounds(SOURCE_STAGE, SOURCE_STAGE)]

    def rounds(self, start: str, labeller: str) -> list[Stage]:
        """Rounds of labelling the target and training on both domains, and what draws the last of them.

        Args:
            start: training stage whose weights the first round adapts.
            labeller: training stage whose model labels in the first round.
        """
        stages: list[Stage] = [Statistics(name=STATISTICS_STAGE)] if self.pseudo.spatial_prior else []
        for number in range(self.pseudo.rounds):
            stages += self._round(number, labeller, start)
            labeller = start = f"adapt-{number}"
        last = self.pseudo.rounds - 1
        panels = Panels(
            name="panels",
            models=(("source-only", SOURCE_STAGE), ("adapted", f"adapt-{last}")),
            labels=(f"pseudo-label (round {last})", f"label-{last}"),
        )
        return [*stages, panels]

    @property
    def softness(self) -> float:
        """Softness of the pseudo-labels: 0, hard labels, but for methods that regularise them."""
        return 0.0

    def _round(self, number: int, labeller: str, start: str) -> list[Stage]:
        from domains.pseudo.selection import portion_of_round

        pseudo = self.pseudo
        portion = portion_of_round(number, pseudo.initial_portion, pseudo.portion_step, pseudo.max_portion)
        last = number == pseudo.rounds - 1
        return [
            Label(
                name=f"label-{number}",
                by=labeller,
                round=number,
                portion=portion,
                views=pseudo.views,
                softness=self.softness,
                prior=STATISTICS_STAGE if pseudo.spatial_prior else "",
            ),
            Train(
                name=f"adapt-{number}",
                step="adaptation",
                networks=self.adapted_networks(),
                settings=self.adapt,
                optimisers=self.adaptation_optimisers(),
                start=start,
                target=f"label-{number}",
                translated=self.isa,
                source_share=portion_of_round(
                    number, pseudo.source_portion, pseudo.source_portion_step, pseudo.max_source_portion
                ),
                mining=pseudo.mining,
                rare=pseudo.rare if pseudo.mining else 0.0,
                uses=self.adaptation_uses(),
            ),
            Evaluate(
                name=f"evaluate-{number}", of=f"adapt-{number}", role="adapted" if last else "round", round=number
            ),
        ]

    def problems(self) -> list[str]:
        """Settings that cannot work together."""
        found = super().problems()
        for first, most in (("initial_portion", "max_portion"), ("source_portion", "max_source_portion")):
            if getattr(self.pseudo, first) > getattr(self.pseudo, most):
                found.append(f"pseudo.{first}: must not exceed pseudo.{most}")
        if self.adapt.target_batch < 1:
            found.append("adapt.target_batch: must be at least 1, adaptation trains on target images")
        return found

    # The step: what each round minimises.

    def adaptation(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """The losses of all ingredients, on source ground truth and target pseudo-labels."""
        return self.minimise(self.ingredients(), Step(nets, batch, draw, self.joined_views()))

    def joined_views(self) -> Makers:
        """Source and target, segmented in one pass; `both` has them together, source images first."""
        return {"both": self._both, "source": _source, "target": _target}

    def _both(self, step: Step) -> View:
        """Segment source images, some of them translated, and target images."""
        import torch

        from domains.batches.style_transfer import mix_translated

        source, target = step.batch.source, _labelled(step)
        translated = mix_translated(source.image, target.image, self.isa, step.draw)
        label = torch.cat([source.label, target.pseudo_label])
        return self.segment(step, torch.cat([translated, target.image]), label)


def _source(step: Step) -> View:
    return step["both"].part(slice(len(step.batch.source.image)))


def _target(step: Step) -> View:
    part = step["both"].part(slice(len(step.batch.source.image), None))
    return part._replace(soft_BKHW=_labelled(step).soft_label)


def _labelled(step: Step) -> PseudoLabelledImages:
    from domains.batches.batch import PseudoLabelledImages

    assert isinstance(step.batch.target, PseudoLabelledImages)
    return step.batch.target


Kind = TypeVar("Kind", bound=SelfTraining)


def presets(method: type[Kind], **settings: Any) -> dict[str, Callable[[], Kind]]:
    """A self-training method on every domain pair, in two rounds.

    Args:
        method: the class.
        settings: what it fixes on all of them.
    """
    return on_every_pair(
        lambda setting: method(
            pair=setting.pair,
            augment=setting.augment,
            model=setting.model,
            source=setting.source,
            adapt=setting.adapt,
            isa=setting.isa,
            pseudo=PseudoSettings(rounds=2, spatial_prior=setting.spatial_prior),
            **settings,
        )
    )


def published(method: type[Kind], note: str = "", **settings: Any) -> dict[str, Callable[[], Kind]]:
    """A self-training method on the full-size pairs: its defaults, with sizes, scales and views of CRST's code.

    Args:
        method: the class.
        note: what of its settings is not published.
        settings: what differs from that.
    """
    plain = method()
    shared: dict[str, Any] = {
        "augment": stepped(plain.augment),
        "model": TORCHVISION,
        "protocol": ONE_SCALE,
        "pseudo": replace(plain.pseudo, scales=(0.9,), flip=True),
    }
    return on_every_benchmark(lambda pair: method(pair=pair, **{**shared, **settings}), "crst", note)
