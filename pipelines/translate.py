"""Translate the source images into the look of the target (CycleGAN, Zhu et al. 2017), for input space adaptation.

Two generators learn to translate source to target and back, against two discriminators of real and translated images;
what was translated there and back must be what it was. Then every source image is translated and kept as Arrow shards,
which the self-training methods read with `--isa.translator run --isa.run RUN_FOLDER`. Nothing is segmented here: the
run measures how far the colours of source and target are apart, before and after.

Run `python pipelines/translate.py --help` for every setting.
"""

from __future__ import annotations

if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import translate

    translate.main()

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from domains.base.settings import AugmentSettings, DomainSettings, PairSettings
from models.settings import TranslatorSettings
from orchestrator import cli
from orchestrator.contract.method import Method, Sizes
from orchestrator.contract.settings import TrainSettings
from orchestrator.contract.stages import TARGET, Panels, Stage, Train, Translation
from pipelines.presets import Setting, on_every_pair

if TYPE_CHECKING:
    from torch import Generator

    from domains.batches.batch import Batch
    from orchestrator.contract.method import Networks, Steps

GENERATORS, JUDGES = ("to_target", "to_source"), ("judge_target", "judge_source")
POOLS = ("pool_target", "pool_source")
UNMEASURED = DomainSettings(kind="none")


def cyclegan_training(**changes: object) -> TrainSettings:
    """Adam as in the paper, one image of each domain a step, a constant rate and then a linear decline to 0."""
    settings = TrainSettings(
        epochs=200,
        source_batch=1,
        target_batch=1,
        optimiser="adam",
        lr=2e-4,
        head_multiplier=1.0,
        momentum=0.5,
        weight_decay=0.0,
        schedule="constant_linear",
        constant_share=0.5,
        checkpoint_every=1000,
    )
    return replace(settings, **changes)


@dataclass(frozen=True, kw_only=True)
class Translate(Method):
    """CycleGAN as its paper trains it: crops of 256x256, 200 passes over the target images."""

    name: ClassVar[str] = "translate"
    exported: ClassVar[str] = ""

    pair: PairSettings = field(default_factory=lambda: PairSettings(evaluation=UNMEASURED))
    augment: AugmentSettings = field(
        default_factory=lambda: AugmentSettings(crop_height=256, crop_width=256, scale_min=1.0, scale_max=1.0)
    )
    translator: TranslatorSettings = field(default_factory=TranslatorSettings)
    train: TrainSettings = field(default_factory=cyclegan_training)
    cycle: Annotated[float, Ge(0)] = 10.0
    """lambda, weight of the cycle-consistency loss (Eq. 2, 3)."""
    identity: Annotated[float, Ge(0)] = 5.0
    """Weight of the identity loss (Sec. 5.2: half of the cycle's, which keeps colours); 0: none."""

    @property
    def title(self) -> str:
        """The name shown in tables."""
        return "translation (CycleGAN)"

    def networks(self, num_classes: int) -> Networks:
        """Of each direction a generator, the discriminator of what it makes, and what that is shown again."""
        from models.build import build_generator, build_patchgan, build_pool

        found: Networks = {}
        for number, (generator, judge, pool) in enumerate(zip(GENERATORS, JUDGES, POOLS, strict=True)):
            found[generator] = build_generator(self.translator, self.seed + number)
            found[judge] = build_patchgan(self.translator, self.seed + number)
            found[pool] = build_pool(self.translator, *self._crop())
        return found

    def stages(self, sizes: Sizes) -> list[Stage]:
        """Train both directions, translate the source, draw."""
        return [
            Train(
                name="translator",
                step="both_directions",
                networks=(*GENERATORS, *JUDGES, *POOLS),
                settings=self.train,
                target=TARGET,
                uses=(self.translator, self.augment, self.cycle, self.identity),
            ),
            Translation(name="translation", by="translator", network="to_target"),
            Panels(name="panels", translated="translation"),
        ]

    def problems(self) -> list[str]:
        """Settings that cannot work together."""
        from models.translator import smallest_side

        found = super().problems()
        if self.pair.evaluation.kind != "none":
            found.append("pair.evaluation.kind: nothing is segmented here, so nothing is measured: say none")
        if self.train.target_batch < 1:
            found.append("train.target_batch: must be at least 1, a translator learns from images of both domains")
        least, side = smallest_side(self.translator.halvings, self.translator.judge_layers), min(self._crop())
        if side < least:
            size = f"its shorter side has {side}" if side else "neither it nor the size of the images is set"
            found.append(
                f"augment.crop_height, augment.crop_width: the crop must have {least} pixels a side, but {size}"
            )
        return found

    def _crop(self) -> tuple[int, int]:
        height, width = self.pair.size_of(self.pair.source)
        return self.augment.crop_height or height, self.augment.crop_width or width

    # The step: what the training stage minimises.

    def both_directions(self, nets: Networks, batch: Batch, draw: Generator) -> Steps:
        """Eq. 3 for the generators against fixed discriminators, then Eq. 1 for these, in least squares (Sec. 4)."""
        from losses.adversarial import discriminator_loss, domain_loss
        from losses.cycle import cycle_loss, identity_loss
        from models.discriminator import frozen

        assert batch.target is not None
        source, target = batch.source.image, batch.target.image
        to_target, to_source = (nets[name] for name in GENERATORS)
        made = {"target": to_target(source), "source": to_source(target)}
        terms = {
            f"adversarial_{side}": domain_loss(frozen(nets[judge])(made[side]), True, "least_squares")
            for judge, side in zip(JUDGES, made, strict=True)
        }
        # The paper's images lie in [-1, 1], where every difference is twice what it is here.
        terms["cycle"] = 2 * cycle_loss(to_source(made["target"]), source, to_target(made["source"]), target)
        loss = terms["adversarial_target"] + terms["adversarial_source"] + self.cycle * terms["cycle"]
        if self.identity > 0:
            terms["identity"] = 2 * identity_loss(to_source(source), source, to_target(target), target)
            loss = loss + self.identity * terms["identity"]
        yield GENERATORS, loss, terms

        real = {"target": target, "source": source}
        found = {}
        for judge, pool, side in zip(JUDGES, POOLS, made, strict=True):
            shown = nets[pool](made[side].detach(), draw)
            found[judge] = discriminator_loss(nets[judge](real[side]), nets[judge](shown), "least_squares")
        yield JUDGES, sum(found.values(), start=loss.new_zeros(())), found


def _on_pair(setting: Setting) -> Translate:
    """Small networks, in minutes on a processor."""
    return Translate(
        pair=replace(setting.pair, evaluation=UNMEASURED),
        augment=AugmentSettings(crop_height=64, crop_width=128, scale_min=1.0, scale_max=1.0),
        translator=TranslatorSettings(width=16, blocks=3, judge_width=16),
        train=cyclegan_training(steps=3000, epochs=0, lr=5e-4, checkpoint_every=250),
    )


def _published() -> Translate:
    """GTA5 to Cityscapes as CyCADA translates: 1024 pixels wide, crops of 400x400 (needs --root)."""
    return Translate(
        pair=PairSettings(
            source=DomainSettings(kind="gta5", root="gta5", height=563, width=1024),
            target=DomainSettings(kind="cityscapes", root="cityscapes", height=512, width=1024),
            evaluation=UNMEASURED,
            label_space="cityscapes19",
        ),
        augment=AugmentSettings(crop_height=400, crop_width=400, scale_min=1.0, scale_max=1.0),
        train=cyclegan_training(epochs=20),
    )


PRESETS = {**on_every_pair(_on_pair), "gta5-cityscapes": _published}


def main() -> None:
    """Entry point of the command line."""
    cli.main(Translate, PRESETS)
