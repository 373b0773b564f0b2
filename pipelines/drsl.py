"""DRSL and DRSL+: self-training regularised by class-aware multi-modal distribution learning (arXiv 2206.09683).

A network is trained on the source (Eq. 1 or, with the mixture head, Eq. 8). Then, round by round, it labels the
target by itself, class-balanced, and trains on both domains (Eq. 9, or Eq. 10 with the consistency loss of DRSL+).
The head that learns several modes for every class regularises the encoder and is dropped at the end.

Run `python pipelines/drsl.py --help` for every setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from annotated_types import Ge, Gt, Le

from domains.settings import IsaSettings
from models.settings import MmdlSettings
from orchestrator import cli
from orchestrator.method import Method, Sizes
from orchestrator.settings import TrainSettings
from orchestrator.stages import Evaluate, Label, Panels, Stage, Train
from pipelines.presets import SETTINGS, Setting

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from domains.feed import Batch, LabelledImages
    from models.segmenter import Prediction
    from orchestrator.method import Networks, Steps


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Weights of the terms of Eq. 8 to 10. All zero: plain class-balanced self-training (CBST)."""

    triplet: Annotated[float, Ge(0)] = 0.25
    """lambda_1, weight of the triplet loss to the modes (Eq. 4, 7)."""
    mixture: Annotated[float, Ge(0)] = 0.1
    """lambda_2, weight of the mixture cross-entropy (Eq. 5)."""
    consistency: Annotated[float, Ge(0)] = 0.1
    """lambda_3, weight of the cross-domain consistency loss (Eq. 6): above 0 is DRSL+, 0 is DRSL."""
    reduction: Literal["per_domain", "joint"] = "per_domain"
    """Segmentation loss: one mean a domain (Eq. 3), or one mean over the pixels of both (CRST's code)."""


@dataclass(frozen=True, kw_only=True)
class PseudoSettings:
    """Pseudo-label rounds: class-balanced selection with a growing portion (CBST's policy, DRSL's schedule)."""

    rounds: Annotated[int, Ge(1)] = 3
    """Times the target is labelled and trained on."""
    initial_portion: Annotated[float, Gt(0), Le(1)] = 0.2
    """Share of each class's predicted pixels that round 0 keeps."""
    portion_step: Annotated[float, Ge(0), Le(1)] = 0.05
    """Growth of the share a round."""
    max_portion: Annotated[float, Gt(0), Le(1)] = 0.5
    """The share grows no further than this."""
    flip: bool = False
    """Average each prediction with that of the mirrored image before selecting."""
    labeller: Literal["source_only", "source_mmdl"] = "source_only"
    """Model that labels in round 0: trained on segmentation alone, or by Eq. 8."""


@dataclass(frozen=True, kw_only=True)
class Drsl(Method):
    """DRSL+ as the paper describes it; values that the paper leaves open are those of docs/protocols.md."""

    name: ClassVar[str] = "drsl"

    mmdl: MmdlSettings = field(default_factory=MmdlSettings)
    pretrain: Literal["joint", "frozen_backbone"] = "joint"
    """How the head is prepared on the source: a second source training by Eq. 8, or beside the first on its fixed
    features."""
    loss: LossSettings = field(default_factory=LossSettings)
    pseudo: PseudoSettings = field(default_factory=PseudoSettings)
    isa: IsaSettings = field(default_factory=IsaSettings)
    source: TrainSettings = field(
        default_factory=lambda: TrainSettings(steps=100_000, source_batch=4, batchnorm="eval", checkpoint_every=1000)
    )
    adapt: TrainSettings = field(
        default_factory=lambda: TrainSettings(
            epochs=2, source_batch=1, target_batch=1, lr=5e-5, schedule="constant", batchnorm="eval"
        )
    )

    @property
    def translation(self) -> IsaSettings:
        """Input space adaptation."""
        return self.isa

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
        from models.build import build_mmdl_head, build_segmenter

        return {
            "segmenter": build_segmenter(self.model, num_classes, self.seed),
            "mmdl": build_mmdl_head(self.mmdl, self.model, num_classes, self.seed),
        }

    def stages(self, sizes: Sizes) -> list[Stage]:
        """Source training, then rounds of labelling the target and training on both domains."""
        both = ("segmenter", "mmdl")
        beside = self.regularised and self.pretrain == "frozen_backbone"
        jointly = self.regularised and self.pretrain == "joint"
        plain = (self.model, self.augment)
        # Of the weights, those that source training knows: DRSL and DRSL+ can share it.
        head = (self.mmdl, self.loss.triplet, self.loss.mixture)
        source = Train(
            name="source",
            step="source_with_fixed_features" if beside else "source_alone",
            networks=both if beside else ("segmenter",),
            settings=self.source,
            uses=(*plain, *head) if beside else plain,
        )
        stages: list[Stage] = [source, Evaluate(name="source-only", of="source", role="source_only")]
        start = labeller = "source"
        if jointly:
            start = "source-mmdl"
            stages.append(
                Train(
                    name=start,
                    step="source_regularised",
                    networks=both,
                    settings=self.source,
                    uses=(*plain, *head),
                )
            )
            if self.pseudo.labeller == "source_mmdl":
                labeller = start
        for number in range(self.pseudo.rounds):
            stages += self._round(number, labeller, start)
            labeller = start = f"adapt-{number}"
        last = self.pseudo.rounds - 1
        stages.append(
            Panels(
                name="panels",
                models=(("source-only", "source"), ("adapted", f"adapt-{last}")),
                labels=(f"pseudo-label (round {last})", f"label-{last}"),
            )
        )
        return stages

    def _round(self, number: int, labeller: str, start: str) -> list[Stage]:
        from domains.selection import portion_of_round

        pseudo = self.pseudo
        portion = portion_of_round(number, pseudo.initial_portion, pseudo.portion_step, pseudo.max_portion)
        last = number == pseudo.rounds - 1
        return [
            Label(name=f"label-{number}", by=labeller, round=number, portion=portion, flip=pseudo.flip),
            Train(
                name=f"adapt-{number}",
                step="adaptation",
                networks=("segmenter", "mmdl") if self.regularised else ("segmenter",),
                settings=self.adapt,
                start=start,
                target=f"label-{number}",
                translated=self.isa,
                uses=(self.model, self.augment, self.mmdl, self.loss),
            ),
            Evaluate(
                name=f"evaluate-{number}", of=f"adapt-{number}", role="adapted" if last else "round", round=number
            ),
        ]

    def problems(self) -> list[str]:
        """Settings that cannot work together."""
        found = super().problems()
        ratio = self.mmdl.label_reduction
        if self.regularised and (self.augment.crop_height % ratio or self.augment.crop_width % ratio):
            crop = f"{self.augment.crop_height}x{self.augment.crop_width}"
            found.append(f"mmdl.label_reduction: {ratio} must divide the crop of {crop}")
        if self.pseudo.initial_portion > self.pseudo.max_portion:
            found.append("pseudo.initial_portion: must not exceed pseudo.max_portion")
        if self.adapt.target_batch < 1:
            found.append("adapt.target_batch: must be at least 1, adaptation trains on target images")
        return found

    # The steps: what each training stage minimises.

    def source_alone(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 1: segmentation of the source."""
        _, terms = self._segment_source(nets, batch.source, draw)
        yield ("segmenter",), terms["seg_source"], terms

    def source_regularised(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 8: segmentation, triplet and mixture losses on the source."""
        prediction, terms = self._segment_source(nets, batch.source, draw)
        points = self._embed(nets, prediction, batch.source.label, draw)
        terms |= self._mode_terms(points)
        yield ("segmenter", "mmdl"), self._total(terms), terms

    def source_with_fixed_features(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 1 for the segmenter, Eq. 8's other terms for the head alone: no gradient reaches the encoder."""
        prediction, terms = self._segment_source(nets, batch.source, draw)
        fixed = prediction._replace(features_BDhw=prediction.features_BDhw.detach())
        points = self._embed(nets, fixed, batch.source.label, draw)
        terms |= self._mode_terms(points)
        yield ("segmenter", "mmdl"), self._total(terms), terms

    def adaptation(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 9 (DRSL) and Eq. 10 (DRSL+) on source ground truth and target pseudo-labels."""
        import torch

        from domains.feed import PseudoLabelledImages
        from domains.photometric import photometric
        from domains.translate import mix_translated
        from losses.segmentation import cross_entropy
        from models.deeplab import upsample

        assert isinstance(batch.target, PseudoLabelledImages)
        translated = mix_translated(batch.source.image, batch.target.image, self.isa, draw)
        image = photometric(torch.cat([translated, batch.target.image]), self.augment, draw)
        label = torch.cat([batch.source.label, batch.target.pseudo_label])
        prediction = nets["segmenter"](image)
        logits = upsample(prediction.logits_BKhw, label.shape[1:])
        sources = len(batch.source.image)
        if self.loss.reduction == "joint":
            terms = {"seg_joint": cross_entropy(logits, label)}
        else:
            terms = {
                "seg_source": cross_entropy(logits[:sources], label[:sources]),
                "seg_target": cross_entropy(logits[sources:], label[sources:]),
            }
        if not self.regularised:
            yield ("segmenter",), self._total(terms), terms
            return
        points = self._embed(nets, prediction, label, draw)
        source, target = points.split(sources)
        for name, value in self._mode_terms(source).items():
            terms[name] = value + self._mode_terms(target)[name]
        if self.loss.consistency > 0:
            terms["consistency"] = self._consistency(source, target, draw)
        yield ("segmenter", "mmdl"), self._total(terms), terms

    def _segment_source(
        self, nets: Networks, source: LabelledImages, draw: Generator
    ) -> tuple[Prediction, dict[str, Tensor]]:
        from domains.photometric import photometric
        from losses.segmentation import cross_entropy
        from models.deeplab import upsample

        prediction = nets["segmenter"](photometric(source.image, self.augment, draw))
        loss = cross_entropy(upsample(prediction.logits_BKhw, source.label.shape[1:]), source.label)
        return prediction, {"seg_source": loss}

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
        weights = {
            "triplet": self.loss.triplet,
            "mixture": self.loss.mixture,
            "consistency": self.loss.consistency,
        }
        parts: Iterator[Tensor] = (weights.get(name, 1.0) * value for name, value in terms.items())
        return sum(parts, start=next(iter(terms.values())).new_zeros(()))


class EmbeddedPoints(NamedTuple):
    """Sampled points of a batch: embeddings, distances to all modes, labels (255: padding)."""

    embedding_BPd: Tensor
    distance_BPKM: Tensor
    label_BP: Tensor

    def split(self, first: int) -> tuple[EmbeddedPoints, EmbeddedPoints]:
        """The points of the first images and of the rest."""
        return EmbeddedPoints(*(t[:first] for t in self)), EmbeddedPoints(*(t[first:] for t in self))


def _preset(make: Callable[[], Setting]) -> Callable[[], Drsl]:
    def preset() -> Drsl:
        setting = make()
        return Drsl(
            pair=setting.pair,
            augment=setting.augment,
            model=setting.model,
            source=setting.source,
            adapt=setting.adapt,
            mmdl=MmdlSettings(embed_dim=32, samples_per_class=100),
            pseudo=PseudoSettings(rounds=2),
        )

    preset.__doc__ = make.__doc__
    return preset


def _demo() -> Drsl:
    """Toy city, game to street: minutes on two cores, no data needed."""
    # The head learns beside the first source training instead of in a second one: the demo has three minutes.
    return replace(_preset(SETTINGS["toy"])(), pretrain="frozen_backbone")


PRESETS = {"toy": _demo, **{name: _preset(make) for name, make in SETTINGS.items() if name != "toy"}}


def main() -> None:
    """Entry point of the command line."""
    cli.main(Drsl, PRESETS)


if __name__ == "__main__":
    # By its importable name: classes of a script called __main__ would not be found by the workers.
    from pipelines.drsl import main

    main()
