"""The mixture head of DRSL: several modes a class, learned by embeddings of sampled pixels (arXiv 2206.09683).

Shapes: B images, H W pixels, P points an image, K classes, M modes a class, d embedding length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from annotated_types import Ge

from models.settings import MmdlSettings
from pipelines.terms.base import Term

if TYPE_CHECKING:
    from torch import Generator, Tensor
    from torch.nn import Module

    from models.segmenter import Prediction
    from orchestrator.contract.method import Method, Networks
    from pipelines.terms.base import Step


@dataclass(frozen=True, kw_only=True)
class ModeWeights:
    """Weights of the terms of Eq. 8 to 10. All zero: the head takes no part."""

    triplet: Annotated[float, Ge(0)] = 0.25
    """lambda_1, weight of the triplet loss to the modes (Eq. 4, 7)."""
    mixture: Annotated[float, Ge(0)] = 0.1
    """lambda_2, weight of the mixture cross-entropy (Eq. 5)."""
    consistency: Annotated[float, Ge(0)] = 0.1
    """lambda_3, weight of the cross-domain consistency loss (Eq. 6): above 0 is DRSL+, 0 is DRSL."""


class EmbeddedPoints(NamedTuple):
    """Sampled points of a batch: embeddings, distances to all modes, labels (255: padding)."""

    embedding_BPd: Tensor
    distance_BPKM: Tensor
    label_BP: Tensor

    def split(self, first: int) -> tuple[EmbeddedPoints, EmbeddedPoints]:
        """The points of the first images and of the rest."""
        return EmbeddedPoints(*(t[:first] for t in self)), EmbeddedPoints(*(t[first:] for t in self))


@dataclass(frozen=True)
class Modes(Term):
    """Triplet and mixture losses of both domains and the consistency of their modes; or the former on the source."""

    learns: ClassVar[tuple[str, ...]] = ("mmdl",)

    mmdl: MmdlSettings
    weight: ModeWeights
    view: Literal["both", "source"] = "both"
    """Both domains, segmented in one pass (Eq. 9, 10), or the source alone (Eq. 8)."""
    fixed: bool = False
    """Whether the head learns on features that its gradient does not reach."""

    @property
    def decides(self) -> tuple[object, ...]:
        """The head and its weights; the rest is a matter of the step."""
        return (self.mmdl, self.weight)

    def networks(self, method: Method, num_classes: int) -> Networks:
        """The mixture head, on the segmenter's encoder."""
        from models.build import build_mmdl_head

        return {"mmdl": build_mmdl_head(self.mmdl, method.model, num_classes, method.seed)}

    def problems(self, method: Method) -> list[str]:
        """Labels are reduced by whole blocks."""
        ratio, crop = self.mmdl.label_reduction, method.augment
        if crop.crop_height % ratio or crop.crop_width % ratio:
            return [f"mmdl.label_reduction: {ratio} must divide the crop of {crop.crop_height}x{crop.crop_width}"]
        return []

    def losses(self, step: Step) -> dict[str, Tensor]:
        """Sample points of every class and image, embed those alone, and compare them with the modes."""
        seen = step[self.view]
        prediction = seen.prediction
        if self.fixed:
            prediction = prediction._replace(features_BDhw=prediction.features_BDhw.detach())
        points = embed(step.nets["mmdl"], prediction, seen.labels_BHW, self.mmdl, step.draw)
        if self.view == "source":
            return mode_losses(points, self.mmdl)
        source, target = points.split(len(step.batch.source.image))
        of_source, of_target = mode_losses(source, self.mmdl), mode_losses(target, self.mmdl)
        found = {name: of_source[name] + of_target[name] for name in of_source}
        if self.weight.consistency > 0:
            found["consistency"] = consistency(source, target, self.mmdl, step.draw)
        return found

    def weights(self) -> dict[str, float]:
        """lambda_1 to lambda_3."""
        weight = self.weight
        return {"triplet": weight.triplet, "mixture": weight.mixture, "consistency": weight.consistency}


def embed(
    head: Module, prediction: Prediction, label_BHW: Tensor, mmdl: MmdlSettings, draw: Generator
) -> EmbeddedPoints:
    """Sample points of every class and image, and embed those alone."""
    from losses.sampling import point_coordinates, reduce_labels, stratified_points

    reduced = reduce_labels(label_BHW, mmdl.label_reduction, mmdl.label_reduction_rule)
    num_classes = prediction.logits_BKhw.shape[1]
    points = stratified_points(reduced, num_classes, mmdl.samples_per_class, draw, mmdl.sampling)
    coordinates = point_coordinates(points.index_BP, reduced.shape[1], reduced.shape[2])
    embedding, distance = head(prediction.features_BDhw, coordinates)
    return EmbeddedPoints(embedding, distance, points.label_BP)


def mode_losses(points: EmbeddedPoints, mmdl: MmdlSettings) -> dict[str, Tensor]:
    """Triplet loss to the modes (Eq. 4) and mixture cross-entropy (Eq. 5) of the points."""
    from losses.mixture import mixture_cross_entropy
    from losses.triplet import triplet_to_modes

    distance, label = points.distance_BPKM.flatten(0, 1), points.label_BP.flatten()
    return {
        "triplet": triplet_to_modes(distance, label, mmdl.margin, mmdl.triplet_distance),
        "mixture": mixture_cross_entropy(distance, label, mmdl.sigma2, mmdl.posterior, mmdl.mode_pooling),
    }


def consistency(source: EmbeddedPoints, target: EmbeddedPoints, mmdl: MmdlSettings, draw: Generator) -> Tensor:
    """Cross-domain consistency of the modes (Eq. 6)."""
    from losses.consistency import mode_consistency
    from losses.distance import nearest_mode

    def flat(points: EmbeddedPoints) -> tuple[Tensor, Tensor, Tensor]:
        distance, label = points.distance_BPKM.flatten(0, 1), points.label_BP.flatten()
        return points.embedding_BPd.flatten(0, 1), label, nearest_mode(distance, label)

    return mode_consistency(
        *flat(target), *flat(source), mmdl.margin_consistency, draw, mmdl.negative, mmdl.detach_source
    )
