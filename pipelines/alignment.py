"""What methods share that align the outputs of the two domains: a source training, then one on both domains.

In adaptation source images carry labels and target images none; what the network makes of the target is judged by a
term of the method, by its entropy or by a discriminator that learns in turn with the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from annotated_types import Ge

from domains.base.settings import AugmentSettings
from orchestrator.contract.method import Sizes
from orchestrator.contract.settings import OptimiserSettings, TrainSettings
from orchestrator.contract.stages import TARGET, Evaluate, Panels, Stage, Train
from pipelines.benchmarks import CAFFE, on_every_benchmark
from pipelines.presets import adversarial_training, on_every_pair, whole_images
from pipelines.terms.base import Recipe, Step
from pipelines.terms.labels import SourceLabels

if TYPE_CHECKING:
    from torch import Generator

    from domains.batches.batch import Batch
    from orchestrator.contract.method import Networks, Steps


def adversary(lr: float = 1e-4) -> OptimiserSettings:
    """Adam as AdaptSegNet, ADVENT and Structure Enhancement train their discriminators."""
    return OptimiserSettings(optimiser="adam", lr=lr, head_multiplier=1.0, beta2=0.99, weight_decay=0.0)


@dataclass(frozen=True, kw_only=True)
class Alignment(Recipe):
    """Base: the networks and the stages.

    A subclass lists its ingredients, which read the views `source` and `target`, each segmented in a pass of its own.
    """

    augment: AugmentSettings = field(default_factory=whole_images)
    source: TrainSettings = field(default_factory=lambda: adversarial_training(150_000))
    adapt: TrainSettings = field(default_factory=lambda: adversarial_training(150_000))
    start: Literal["fresh", "source"] = "fresh"
    """Weights that adaptation begins with: fresh ones as in the papers, or those trained on the source."""
    auxiliary: Annotated[float, Ge(0)] = 0.1
    """Weight of the segmentation loss of a second classifier on the encoder's third stage; 0: no such classifier."""

    @property
    def segmenting(self) -> tuple[str, ...]:
        """Names of the networks that segment."""
        return ("segmenter", "auxiliary") if self.auxiliary > 0 else ("segmenter",)

    def networks(self, num_classes: int) -> Networks:
        """With two levels the auxiliary classifier too."""
        from models.build import build_auxiliary

        found = super().networks(num_classes)
        if self.auxiliary > 0:
            found["auxiliary"] = build_auxiliary(self.model, num_classes, self.seed)
        return found

    def stages(self, sizes: Sizes) -> list[Stage]:
        """Train on the source, measure, train on both, measure."""
        return [
            Train(
                name="source",
                step="source_alone",
                networks=self.segmenting,
                settings=self.source,
                # Without a second classifier it is the training of `SourceOnly`, and can be taken over from one.
                uses=(self.model, self.augment, *([self.auxiliary] if self.auxiliary else [])),
                common=True,
            ),
            Evaluate(name="source-only", of="source", role="source_only"),
            Train(
                name="adapt",
                step="adaptation",
                networks=self.adapted_networks(),
                settings=self.adapt,
                optimisers=self.adaptation_optimisers(),
                start="source" if self.start == "source" else "",
                target=TARGET,
                uses=self.adaptation_uses(),
            ),
            Evaluate(name="evaluate", of="adapt", role="adapted"),
            Panels(name="panels", models=(("source-only", "source"), ("adapted", "adapt"))),
        ]

    def problems(self) -> list[str]:
        """Settings that cannot work together."""
        found = super().problems()
        if self.adapt.target_batch < 1:
            found.append("adapt.target_batch: must be at least 1, adaptation trains on target images")
        return found

    # The steps: what each training stage minimises.

    def source_alone(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Cross-entropy on the source."""
        return self.minimise([SourceLabels(self.auxiliary)], Step(nets, batch, draw, self.views()))

    def adaptation(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """The losses of all ingredients, then the turns of their rivals."""
        return self.minimise(self.ingredients(), Step(nets, batch, draw, self.views()))


Kind = TypeVar("Kind", bound=Alignment)


def presets(method: type[Kind], **settings: Any) -> dict[str, Callable[[], Kind]]:
    """A method on every domain pair: adaptation goes on from the source network, as long as two rounds.

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
            adapt=replace(setting.adapt, steps=2 * setting.adapt.steps),
            start="source",
            **settings,
        )
    )


def published(method: type[Kind], note: str = "") -> dict[str, Callable[[], Kind]]:
    """A method with its defaults on the full-size pairs, at the sizes of AdaptSegNet's code, seen once.

    Args:
        method: the class.
        note: what of its settings is not published.
    """
    return on_every_benchmark(lambda pair: method(pair=pair, model=CAFFE), "adaptsegnet", note)
