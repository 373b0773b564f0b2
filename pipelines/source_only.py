"""Source only: supervised training on the source, measured on the target. What every method is compared with.

Run `python pipelines/source_only.py --help` for every setting.
"""

from __future__ import annotations

if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import source_only

    source_only.main()

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from domains.base.settings import AugmentSettings, PairSettings
from orchestrator import cli
from orchestrator.contract.method import Sizes
from orchestrator.contract.settings import TrainSettings
from orchestrator.contract.stages import Evaluate, Panels, Stage, Train
from pipelines.benchmarks import CAFFE, ONE_SCALE, TORCHVISION, on_every_benchmark, stepped
from pipelines.presets import Setting, adversarial_training, on_every_pair, whole_images
from pipelines.terms.base import Recipe, Step
from pipelines.terms.labels import SourceLabels

if TYPE_CHECKING:
    from torch import Generator

    from domains.batches.batch import Batch
    from orchestrator.contract.method import Networks, Steps

SOURCE_STAGE = "source"


@dataclass(frozen=True, kw_only=True)
class SourceOnly(Recipe):
    """One supervised training; by default that of CRST's public code, which DRSL and CBST start from."""

    name: ClassVar[str] = "source_only"

    augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(crop_height=500, crop_width=500))
    source: TrainSettings = field(
        default_factory=lambda: TrainSettings(
            steps=100_000, source_batch=4, batchnorm="eval", affine="frozen", checkpoint_every=1000
        )
    )

    @property
    def title(self) -> str:
        """The name shown in tables."""
        return "source only"

    def stages(self, sizes: Sizes) -> list[Stage]:
        """Train, measure, draw."""
        return [
            self.source_training(),
            self.source_evaluation(),
            Panels(name="panels", models=(("source-only", SOURCE_STAGE),)),
        ]

    def source_training(self) -> Train:
        """Train the segmenter on the source alone."""
        return Train(
            name=SOURCE_STAGE,
            step="source_alone",
            networks=("segmenter",),
            settings=self.source,
            uses=(self.model, self.augment),
            common=True,
        )

    def source_evaluation(self) -> Evaluate:
        """Measure the network that knows the source alone."""
        return Evaluate(name="source-only", of=SOURCE_STAGE, role="source_only")

    def source_alone(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Cross-entropy on the source."""
        return self.minimise([SourceLabels()], Step(nets, batch, draw, self.views()))


def _on_source(setting: Setting) -> SourceOnly:
    return SourceOnly(pair=setting.pair, augment=setting.augment, model=setting.model, source=setting.source)


def _crst() -> SourceOnly:
    """As CRST trains it: crops of 500x500, batches of 4, batch normalisation fixed (name the domains with --pair)."""
    return SourceOnly()


def _adaptsegnet() -> SourceOnly:
    """As AdaptSegNet trains it: whole images one by one, averages learning (name the domains with --pair)."""
    return SourceOnly(augment=whole_images(), source=adversarial_training(150_000))


def _published(pair: PairSettings) -> SourceOnly:
    return replace(_crst(), pair=pair, augment=stepped(_crst().augment), model=TORCHVISION, protocol=ONE_SCALE)


def _published_whole(pair: PairSettings) -> SourceOnly:
    return replace(_adaptsegnet(), pair=pair, model=CAFFE)


_WHOLE = on_every_benchmark(_published_whole, "adaptsegnet", note="as AdaptSegNet")

PRESETS = {
    **on_every_pair(_on_source),
    "crst": _crst,
    "adaptsegnet": _adaptsegnet,
    **on_every_benchmark(_published, "crst", note="as CRST"),
    **{f"{name}-adaptsegnet": make for name, make in _WHOLE.items()},
}


def main() -> None:
    """Entry point of the command line."""
    cli.main(SourceOnly, PRESETS)
