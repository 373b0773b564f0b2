"""Target oracle: the same network and budget trained on target labels. What adaptation could reach, not a method.

It is the only pipeline that trains on target labels, and says so in every output.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from orchestrator import cli
from orchestrator.method import Method, Sizes
from orchestrator.settings import TrainSettings
from orchestrator.stages import Evaluate, Panels, Stage, Train
from pipelines.presets import Setting, on_every_pair

if TYPE_CHECKING:
    from torch import Generator

    from domains.feed import Batch
    from orchestrator.method import Networks, Steps


@dataclass(frozen=True, kw_only=True)
class Oracle(Method):
    """Supervised training on the labelled target domain, which takes the source's place in the pair."""

    name: ClassVar[str] = "oracle"
    oracle: ClassVar[bool] = True

    source: TrainSettings = dataclasses.field(default_factory=lambda: TrainSettings(steps=100_000, source_batch=4))

    @property
    def title(self) -> str:
        """The name shown in tables."""
        return "target oracle"

    def networks(self, num_classes: int) -> Networks:
        """The segmenter alone."""
        from models.build import build_segmenter

        return {"segmenter": build_segmenter(self.model, num_classes, self.seed)}

    def stages(self, sizes: Sizes) -> list[Stage]:
        """Train, measure, draw."""
        train = Train(
            name="oracle",
            step="supervised",
            networks=("segmenter",),
            settings=self.source,
            uses=(self.model, self.augment),
        )
        return [
            train,
            Evaluate(name="evaluate", of="oracle", role="adapted"),
            Panels(name="panels", models=(("oracle", "oracle"),)),
        ]

    def supervised(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Cross-entropy on ground truth."""
        from domains.photometric import photometric
        from losses.segmentation import cross_entropy
        from models.deeplab import upsample

        image, label = photometric(batch.source.image, self.augment, draw), batch.source.label
        loss = cross_entropy(upsample(nets["segmenter"](image).logits_BKhw, label.shape[1:]), label)
        yield ("segmenter",), loss, {"seg_target_truth": loss}


def _on_target(setting: Setting) -> Oracle:
    pair = dataclasses.replace(setting.pair, source=setting.pair.target)
    return Oracle(pair=pair, augment=setting.augment, model=setting.model, source=setting.source)


PRESETS = on_every_pair(_on_target)


def main() -> None:
    """Entry point of the command line."""
    cli.main(Oracle, PRESETS)


if __name__ == "__main__":
    # By its importable name: classes of a script called __main__ would not be found by the workers.
    from pipelines.oracle import main

    main()
