"""What a training step is made of: views of the images, terms of the loss, and the recipe that lists them.

The engine sees none of it: a recipe is a method whose steps yield (network names, loss, terms), as every method's do.

Shapes: B images, H W pixels, h w feature grid, K classes, D E feature channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from orchestrator.contract.method import Method
from orchestrator.contract.settings import OptimiserSettings

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from domains.batches.batch import Batch
    from models.segmenter import Prediction
    from orchestrator.contract.method import Networks, Steps


class View(NamedTuple):
    """Images and what the networks make of them."""

    image_B3HW: Tensor
    """As the network saw them, in [0, 1]."""
    prediction: Prediction
    levels: tuple[Tensor, ...]
    """Full-size logits B x K x H x W of the main classifier and, where there is one, of the auxiliary."""
    label_BHW: Tensor | None = None
    """Ground truth of the source, pseudo-labels of the target, 255 where there is none; None: an unlabelled target."""
    soft_BKHW: Tensor | None = None
    """Probabilities that the pseudo-labels of the target stand for, where labels are soft."""

    @property
    def logits_BKHW(self) -> Tensor:
        """Full-size logits of the main classifier."""
        return self.levels[0]

    @property
    def labels_BHW(self) -> Tensor:
        """The labels of images that have some."""
        assert self.label_BHW is not None, "these images have no labels"
        return self.label_BHW

    def part(self, images: slice) -> View:
        """Some of the images, with their hard labels."""
        return View(
            self.image_B3HW[images],
            type(self.prediction)(*(tensor[images] for tensor in self.prediction)),
            tuple(level[images] for level in self.levels),
            None if self.label_BHW is None else self.label_BHW[images],
        )


Makers = Mapping[str, "Callable[[Step], View]"]
"""By name, how a view is made."""


class Step:
    """One micro-batch on its way: views by name, each made when it is first read, and once.

    A view that nothing reads costs nothing, and moves no average of batch normalisation. Views and terms draw from
    `draw` in the order in which they are first read.
    """

    def __init__(self, nets: Networks, batch: Batch, draw: Generator, makers: Makers) -> None:
        self.nets, self.batch, self.draw = nets, batch, draw
        self._makers = makers
        self._made: dict[str, View] = {}

    def __getitem__(self, name: str) -> View:
        """The view of that name."""
        if name not in self._made:
            self._made[name] = self._makers[name](self)
        return self._made[name]


@dataclass(frozen=True)
class Term:
    """Base of the ingredients: losses on some views, and the networks that these need.

    An ingredient is a frozen dataclass whose fields are its settings; the method fills them from its own. It may be
    used in any method that has the views which it reads.
    """

    learns: ClassVar[tuple[str, ...]] = ()
    """Networks it brings that learn from the common loss, together with the segmenter."""

    @property
    def rivals(self) -> tuple[str, ...]:
        """Networks it brings that learn in turns of their own."""
        return ()

    @property
    def decides(self) -> tuple[object, ...]:
        """What decides its outcome, for the fingerprint: all its fields."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def networks(self, method: Method, num_classes: int) -> Networks:
        """Build the networks it brings, by name, with the seed and the encoder of the method."""
        return {}

    def optimisers(self) -> tuple[tuple[str, OptimiserSettings], ...]:
        """(network, optimiser) of each network it brings that learns otherwise than the stage says."""
        return ()

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Named parts of the common loss, scalars, without their weights."""
        raise NotImplementedError

    def weights(self) -> dict[str, float]:
        """Weights of these parts by name; a part without one counts once."""
        return {}

    def turns(self, step: Step) -> Steps:
        """Updates of the rivals, after that of the common loss; each yields (network names, loss, terms)."""
        yield from ()

    def problems(self, method: Method) -> list[str]:
        """What of its settings cannot work in this method, a sentence each."""
        return []


@dataclass(frozen=True, kw_only=True)
class Recipe(Method):
    """Base of the methods that are a list of ingredients."""

    @property
    def segmenting(self) -> tuple[str, ...]:
        """Names of the networks that segment."""
        return ("segmenter",)

    def ingredients(self) -> list[Term]:
        """What adaptation minimises, in the order in which it is computed."""
        return []

    def networks(self, num_classes: int) -> Networks:
        """The segmenter, and what the ingredients bring."""
        from models.build import build_segmenter

        found: Networks = {"segmenter": build_segmenter(self.model, num_classes, self.seed)}
        for term in self.ingredients():
            found |= term.networks(self, num_classes)
        return found

    def adapted_networks(self) -> tuple[str, ...]:
        """Networks that adaptation trains."""
        brought = (name for term in self.ingredients() for name in (*term.learns, *term.rivals))
        return (*self.segmenting, *brought)

    def adaptation_optimisers(self) -> tuple[tuple[str, OptimiserSettings], ...]:
        """(network, optimiser) of each of these that learns otherwise than the stage says."""
        return tuple(pair for term in self.ingredients() for pair in term.optimisers())

    def adaptation_uses(self) -> tuple[object, ...]:
        """Settings that decide the outcome of adaptation, beside those of its training."""
        return (self.model, self.augment, *(value for term in self.ingredients() for value in term.decides))

    def problems(self) -> list[str]:
        """Settings that cannot work together."""
        return [*super().problems(), *(line for term in self.ingredients() for line in term.problems(self))]

    def views(self) -> Makers:
        """Source and target, each in a pass of its own."""
        return {
            "source": lambda step: self.segment(step, step.batch.source.image, step.batch.source.label),
            "target": lambda step: self.segment(step, _target_of(step.batch)),
        }

    def segment(self, step: Step, image_B3HW: Tensor, label_BHW: Tensor | None = None) -> View:
        """Segment images with their colours changed."""
        from domains.batches.photometric import photometric
        from models.deeplab import upsample

        image = photometric(image_B3HW, self.augment, step.draw)
        prediction = step.nets["segmenter"](image)
        levels = [prediction.logits_BKhw]
        if "auxiliary" in self.segmenting:
            levels.append(step.nets["auxiliary"](prediction.middle_BEhw))
        return View(image, prediction, tuple(upsample(level, image.shape[2:]) for level in levels), label_BHW)

    def minimise(self, terms: Sequence[Term], step: Step) -> Steps:
        """The generator of a training stage: one update by the sum of all losses, then the turns of rivals."""
        found: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for term in terms:
            losses = term.losses(step)
            assert not found.keys() & losses.keys(), "two ingredients give a loss the same name"
            found |= losses
            weights |= term.weights()
        yield (*self.segmenting, *(name for term in terms for name in term.learns)), total(found, weights), found
        for term in terms:
            yield from term.turns(step)


def total(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of named losses, in their order; one without a weight counts once."""
    parts = (weights.get(name, 1.0) * value for name, value in losses.items())
    return sum(parts, start=next(iter(losses.values())).new_zeros(()))


def _target_of(batch: Batch) -> Tensor:
    assert batch.target is not None, "this stage trains on the source alone"
    return batch.target.image
