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
from typing import TYPE_CHECKING, ClassVar, Literal

from domains.base.settings import AugmentSettings, IsaSettings
from models.settings import MmdlSettings
from orchestrator import cli
from orchestrator.contract.method import Sizes
from orchestrator.contract.published_table import PublishedTable
from orchestrator.contract.stages import Stage, Train
from pipelines.benchmarks import MIT_B5, transformer
from pipelines.drsl_tables import TABLES
from pipelines.selftraining import SelfTraining, presets, published
from pipelines.source_only import SOURCE_STAGE
from pipelines.terms.base import Step
from pipelines.terms.labels import Labels, Reduction, SourceLabels
from pipelines.terms.modes import Modes, ModeWeights

if TYPE_CHECKING:
    from torch import Generator

    from domains.batches.batch import Batch
    from orchestrator.contract.method import Networks, Steps
    from pipelines.terms.base import Term


@dataclass(frozen=True, kw_only=True)
class LossSettings(ModeWeights):
    """Weights of the terms of Eq. 8 to 10. All zero: plain class-balanced self-training (CBST)."""

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

    def stages(self, sizes: Sizes) -> list[Stage]:
        """Source training by Eq. 1, and the head's: in a second training by Eq. 8, or beside the first; then rounds."""
        if not self.regularised:
            return super().stages(sizes)
        # Of the weights, those that source training knows: DRSL and DRSL+ can share it.
        uses = (self.model, self.augment, self.mmdl, self.loss.triplet, self.loss.mixture)
        head = Train(
            name="source-mmdl",
            step="source_regularised",
            networks=("segmenter", "mmdl"),
            settings=self.source,
            uses=uses,
        )
        if self.pretrain == "frozen_backbone":
            source = replace(head, name=SOURCE_STAGE, step="source_with_fixed_features")
            return [source, self.source_evaluation(), *self.rounds(SOURCE_STAGE, SOURCE_STAGE)]
        labeller = SOURCE_STAGE if self.labeller == "source_only" else head.name
        return [self.source_training(), self.source_evaluation(), head, *self.rounds(head.name, labeller)]

    def ingredients(self) -> list[Term]:
        """Eq. 9 (DRSL) and Eq. 10 (DRSL+): cross-entropy on both domains, and the head's losses where they count."""
        modes = [Modes(self.mmdl, self.loss)] if self.regularised else []
        return [Labels(self.loss.reduction), *modes]

    def adaptation_uses(self) -> tuple[object, ...]:
        """The head and all weights, also where none counts; `loss` has the reduction of the labels too."""
        own = (self.model, self.augment, self.mmdl, self.loss)
        added = (value for value in super().adaptation_uses() if value not in (*own, self.loss.reduction))
        return (*own, *added)

    # The steps of source training; `adaptation` is that of every self-training method.

    def source_regularised(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 8: segmentation, triplet and mixture losses on the source."""
        modes = Modes(self.mmdl, self.loss, view="source")
        return self.minimise([SourceLabels(), modes], Step(nets, batch, draw, self.views()))

    def source_with_fixed_features(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 1 for the segmenter, Eq. 8's other terms for the head alone: no gradient reaches the encoder."""
        modes = Modes(self.mmdl, self.loss, view="source", fixed=True)
        return self.minimise([SourceLabels(), modes], Step(nets, batch, draw, self.views()))


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
