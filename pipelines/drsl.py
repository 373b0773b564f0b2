"""DRSL and DRSL+: self-training regularised by class-aware multi-modal distribution learning (arXiv 2206.09683).

A network is trained on the source (Eq. 1 or, with the mixture head, Eq. 8). Then, round by round, it labels the
target by itself, class-balanced, and trains on both domains (Eq. 9, or Eq. 10 with the consistency loss of DRSL+).
The head that learns several modes for every class regularises the encoder and is dropped at the end.

Run `python pipelines/drsl.py --help` for every setting.
"""

from __future__ import annotations

if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import drsl

    drsl.main()

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from annotated_types import Ge

from domains.base.settings import AugmentSettings, IsaSettings
from models.settings import MmdlSettings
from orchestrator import cli
from orchestrator.contract.published_table import PublishedTable
from orchestrator.contract.stages import Train
from pipelines.benchmarks import MIT_B5, transformer
from pipelines.drsl_tables import TABLES
from pipelines.selftraining import Preparation, Reduction, SelfTraining, presets, published, total
from pipelines.source_only import SOURCE_STAGE

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from domains.batches.batch import Batch
    from models.segmenter import Prediction
    from orchestrator.contract.method import Networks, Steps


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Weights of the terms of Eq. 8 to 10. All zero: plain class-balanced self-training (CBST)."""

    triplet: Annotated[float, Ge(0)] = 0.25
    """lambda_1, weight of the triplet loss to the modes (Eq. 4, 7)."""
    mixture: Annotated[float, Ge(0)] = 0.1
    """lambda_2, weight of the mixture cross-entropy (Eq. 5)."""
    consistency: Annotated[float, Ge(0)] = 0.1
    """lambda_3, weight of the cross-domain consistency loss (Eq. 6): above 0 is DRSL+, 0 is DRSL."""
    reduction: Reduction = "per_domain"
    """Segmentation loss: one mean a domain (Eq. 3), or one mean over the pixels of both (CRST's code)."""


@dataclass(frozen=True, kw_only=True)
class Drsl(SelfTraining):
    """DRSL+ as the paper describes it; values that the paper leaves open are those of docs/protocols.md."""

    name: ClassVar[str] = "drsl"
    tables: ClassVar[Mapping[str, PublishedTable]] = TABLES

    mmdl: MmdlSettings = field(default_factory=MmdlSettings)
    pretrain: Literal["joint", "frozen_backbone"] = "joint"
    """How the head is prepared on the source: a second source training by Eq. 8, or beside the first on its fixed
    features."""
    loss: LossSettings = field(default_factory=LossSettings)
    labeller: Literal["source_only", "source_mmdl"] = "source_only"
    """Model that labels in round 0: trained on segmentation alone, or by Eq. 8."""
    isa: IsaSettings = field(default_factory=IsaSettings)
    augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(crop_height=512, crop_width=512))

    @property
    def regularised(self) -> bool:
        """Whether the mixture head takes part at all."""
        return self.loss.triplet > 0 or self.loss.mixture > 0 or self.loss.consistency > 0

    @property
    def title(self) -> str:
        """DRSL+, DRSL, or self-training where every weight is 0."""
        if not self.regularised:
            return "self-training (CBST)"
        return "DRSL+" if self.loss.consistency > 0 else "DRSL"

    def networks(self, num_classes: int) -> Networks:
        """The segmenter, and the mixture head on its encoder."""
        from models.build import build_mmdl_head

        head = build_mmdl_head(self.mmdl, self.model, num_classes, self.seed)
        return {**super().networks(num_classes), "mmdl": head}

    def preparation(self) -> Preparation:
        """Source training by Eq. 1, and the head's: in a second training by Eq. 8, or beside the first."""
        if not self.regularised:
            return super().preparation()
        both = ("segmenter", "mmdl")
        # Of the weights, those that source training knows: DRSL and DRSL+ can share it.
        uses = (self.model, self.augment, self.mmdl, self.loss.triplet, self.loss.mixture)
        if self.pretrain == "frozen_backbone":
            source = Train(
                name=SOURCE_STAGE,
                step="source_with_fixed_features",
                networks=both,
                settings=self.source,
                uses=uses,
            )
            return Preparation([source, self.source_evaluation()], SOURCE_STAGE, SOURCE_STAGE)
        regularised = Train(
            name="source-mmdl", step="source_regularised", networks=both, settings=self.source, uses=uses
        )
        stages = [*super().preparation().stages, regularised]
        return Preparation(
            stages, regularised.name, SOURCE_STAGE if self.labeller == "source_only" else regularised.name
        )

    def adapted_networks(self) -> tuple[str, ...]:
        """The head takes part where one of its losses counts."""
        return ("segmenter", "mmdl") if self.regularised else ("segmenter",)

    def adaptation_uses(self) -> tuple[object, ...]:
        """The head and the weights of its losses too."""
        return (self.model, self.augment, self.mmdl, self.loss)

    def problems(self) -> list[str]:
        """Settings that cannot work together."""
        found = super().problems()
        ratio = self.mmdl.label_reduction
        if self.regularised and (self.augment.crop_height % ratio or self.augment.crop_width % ratio):
            crop = f"{self.augment.crop_height}x{self.augment.crop_width}"
            found.append(f"mmdl.label_reduction: {ratio} must divide the crop of {crop}")
        return found

    # The steps: what each training stage minimises.

    def source_regularised(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 8: segmentation, triplet and mixture losses on the source."""
        prediction, terms = self.segment_source(nets, batch.source, draw)
        points = self._embed(nets, prediction, batch.source.label, draw)
        terms |= self._mode_terms(points)
        yield ("segmenter", "mmdl"), self._total(terms), terms

    def source_with_fixed_features(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 1 for the segmenter, Eq. 8's other terms for the head alone: no gradient reaches the encoder."""
        prediction, terms = self.segment_source(nets, batch.source, draw)
        fixed = prediction._replace(features_BDhw=prediction.features_BDhw.detach())
        points = self._embed(nets, fixed, batch.source.label, draw)
        terms |= self._mode_terms(points)
        yield ("segmenter", "mmdl"), self._total(terms), terms

    def adaptation(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 9 (DRSL) and Eq. 10 (DRSL+) on source ground truth and target pseudo-labels."""
        both = self.segment_both(nets, batch, draw, self.loss.reduction)
        terms = both.terms
        if not self.regularised:
            yield ("segmenter",), self._total(terms), terms
            return
        source, target = self._embed(nets, both.prediction, both.label_BHW, draw).split(both.sources)
        for name, value in self._mode_terms(source).items():
            terms[name] = value + self._mode_terms(target)[name]
        if self.loss.consistency > 0:
            terms["consistency"] = self._consistency(source, target, draw)
        yield ("segmenter", "mmdl"), self._total(terms), terms

    def _embed(self, nets: Networks, prediction: Prediction, label: Tensor, draw: Generator) -> EmbeddedPoints:
        """Sample points of every class and image, and embed those alone."""
        from losses.sampling import point_coordinates, reduce_labels, stratified_points

        mmdl = self.mmdl
        reduced = reduce_labels(label, mmdl.label_reduction, mmdl.label_reduction_rule)
        num_classes = prediction.logits_BKhw.shape[1]
        points = stratified_points(reduced, num_classes, mmdl.samples_per_class, draw, mmdl.sampling)
        coordinates = point_coordinates(points.index_BP, reduced.shape[1], reduced.shape[2])
        embedding, distance = nets["mmdl"](prediction.features_BDhw, coordinates)
        return EmbeddedPoints(embedding, distance, points.label_BP)

    def _mode_terms(self, points: EmbeddedPoints) -> dict[str, Tensor]:
        from losses.mixture import mixture_cross_entropy
        from losses.triplet import triplet_to_modes

        mmdl = self.mmdl
        distance, label = points.distance_BPKM.flatten(0, 1), points.label_BP.flatten()
        return {
            "triplet": triplet_to_modes(distance, label, mmdl.margin, mmdl.triplet_distance),
            "mixture": mixture_cross_entropy(distance, label, mmdl.sigma2, mmdl.posterior, mmdl.mode_pooling),
        }

    def _consistency(self, source: EmbeddedPoints, target: EmbeddedPoints, draw: Generator) -> Tensor:
        from losses.consistency import mode_consistency
        from losses.distance import nearest_mode

        def flat(points: EmbeddedPoints) -> tuple[Tensor, Tensor, Tensor]:
            distance, label = points.distance_BPKM.flatten(0, 1), points.label_BP.flatten()
            return points.embedding_BPd.flatten(0, 1), label, nearest_mode(distance, label)

        mmdl = self.mmdl
        return mode_consistency(
            *flat(target), *flat(source), mmdl.margin_consistency, draw, mmdl.negative, mmdl.detach_source
        )

    def _total(self, terms: dict[str, Tensor]) -> Tensor:
        loss = self.loss
        return total(terms, triplet=loss.triplet, mixture=loss.mixture, consistency=loss.consistency)


class EmbeddedPoints(NamedTuple):
    """Sampled points of a batch: embeddings, distances to all modes, labels (255: padding)."""

    embedding_BPd: Tensor
    distance_BPKM: Tensor
    label_BP: Tensor

    def split(self, first: int) -> tuple[EmbeddedPoints, EmbeddedPoints]:
        """The points of the first images and of the rest."""
        return EmbeddedPoints(*(t[:first] for t in self)), EmbeddedPoints(*(t[first:] for t in self))


_SMALL = presets(Drsl, mmdl=MmdlSettings(embed_dim=32, samples_per_class=100))


def _demo() -> Drsl:
    """Toy city, game to street: minutes on two cores, no data needed."""
    # The head learns beside the first source training instead of in a second one: the demo has three minutes.
    return replace(_SMALL["toy"](), pretrain="frozen_backbone")


# The paper translates source images by CycleGAN.
_TRANSLATION = IsaSettings()

_FULL_SIZE = published(
    Drsl, note="DRSL: --loss.consistency 0; optimiser, crop and rounds reconstructed", isa=_TRANSLATION
)


def _transformer() -> Drsl:
    """GTA5 to Cityscapes on MiT-B5: DRSL+ with DAFormer's optimiser, which no paper has tried; name --model.weights."""
    base = _FULL_SIZE["gta5-cityscapes"]()
    return replace(
        base,
        model=MIT_B5,
        source=transformer(base.source, lr=6e-5, steps=40_000, source_batch=2),
        # As far below the first rate as CRST's second is below its first.
        adapt=transformer(base.adapt, lr=1.2e-5),
    )


PRESETS = {**_SMALL, "toy": _demo, **_FULL_SIZE, "gta5-cityscapes-mitb5": _transformer}


def main() -> None:
    """Entry point of the command line."""
    cli.main(Drsl, PRESETS)
