"""Domain pairs with the network and training length that suit them, shared by the presets of all methods.

All train small networks from scratch, so their optimiser is not the papers' (those fine-tune ImageNet weights with
SGD); the differences are listed in docs/protocols.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from domains.base.settings import AugmentSettings, DomainSettings, IsaSettings, PairSettings
from models.settings import SegmenterSettings
from orchestrator.contract.settings import TrainSettings

SMALL = SegmenterSettings(backbone="resnet10", width=16, dilations=(2, 4, 6, 8))
"""Learns from nothing in minutes on a processor; the dilations fit feature maps of 15 x 20 cells, not of 64 x 64."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a preset fixes apart from the method: the same for every method, so that their numbers compare."""

    pair: PairSettings
    augment: AugmentSettings
    model: SegmenterSettings
    source: TrainSettings
    """Supervised training from scratch: on the source, or on the target for the oracle."""
    adapt: TrainSettings
    """One round of adaptation."""
    isa: IsaSettings = field(default_factory=lambda: IsaSettings(ratio=1.0))
    """Input space adaptation in these rounds: the network has seen the originals before."""
    spatial_prior: bool = True
    """Whether both domains are seen from the same kind of place, so that the source tells where classes lie."""


def toy() -> Setting:
    """Toy city, game to street: minutes on two cores, no data needed."""
    return Setting(
        pair=PairSettings(
            source=DomainSettings(style="game", count=240),
            target=DomainSettings(style="street", count=240),
            evaluation=DomainSettings(style="street", split="val", count=60),
            label_space="toycity12",
            height=128,
            width=256,
        ),
        # The street's colour cast is what input space adaptation is there for: jitter would hide it from the start.
        augment=AugmentSettings(
            crop_height=96, crop_width=192, scale_min=0.75, scale_max=1.25, brightness=0.2, contrast=0.2
        ),
        model=SMALL,
        source=_from_scratch(steps=300),
        adapt=_continued(steps=60, lr=1e-3),
    )


def camvid_day_dusk() -> Setting:
    """CamVid by day to CamVid at dusk (needs --root)."""
    return _photographs(
        "camvid11",
        source=DomainSettings(kind="camvid", list="day.txt"),
        target=DomainSettings(kind="camvid", list="dusk_adapt.txt"),
        evaluation=DomainSettings(kind="camvid", list="dusk_eval.txt"),
    )


def toy_camvid() -> Setting:
    """Toy city to CamVid: the synthetic-to-real setting in miniature (needs --root)."""
    return _photographs(
        "camvid11",
        source=DomainSettings(style="game", count=400),
        target=DomainSettings(kind="camvid", split="train"),
        evaluation=DomainSettings(kind="camvid", split="val"),
    )


def folders() -> Setting:
    """Your own folders of images: see "Your own images" in the README for the flags it needs."""
    return _photographs(
        "cityscapes19",
        source=DomainSettings(kind="folder"),
        target=DomainSettings(kind="folder"),
        evaluation=DomainSettings(kind="none"),
        spatial_prior=False,
    )


def _photographs(
    label_space: str,
    source: DomainSettings,
    target: DomainSettings,
    evaluation: DomainSettings,
    spatial_prior: bool = True,
) -> Setting:
    """Photographs as the target: strong colour and blur changes, or a network that saw one light is lost in another."""
    return Setting(
        pair=PairSettings(
            source=source, target=target, evaluation=evaluation, label_space=label_space, height=180, width=240
        ),
        augment=AugmentSettings(
            crop_height=120,
            crop_width=160,
            scale_min=0.75,
            scale_max=1.5,
            brightness=0.4,
            contrast=0.4,
            saturation=0.4,
            gamma=0.4,
            blur=1.0,
        ),
        model=SMALL,
        source=_from_scratch(steps=1500),
        adapt=_continued(steps=150, lr=2e-4),
        spatial_prior=spatial_prior,
    )


def _from_scratch(steps: int) -> TrainSettings:
    return TrainSettings(
        steps=steps,
        source_batch=4,
        optimiser="adamw",
        lr=3e-3,
        head_multiplier=1.0,
        weight_decay=0.01,
        checkpoint_every=100,
    )


def _continued(steps: int, lr: float) -> TrainSettings:
    return TrainSettings(
        steps=steps,
        source_batch=2,
        target_batch=2,
        optimiser="adamw",
        lr=lr,
        head_multiplier=1.0,
        weight_decay=0.01,
        # As the papers: in batches this small the averages would follow the noise, and each round labels by them.
        batchnorm="eval",
        checkpoint_every=30,
    )


def whole_images() -> AugmentSettings:
    """AdaptSegNet and the papers after it train on whole images as they are."""
    return AugmentSettings(crop_height=0, crop_width=0, scale_min=1.0, scale_max=1.0, flip=False)


def adversarial_training(steps: int) -> TrainSettings:
    """SGD as in AdaptSegNet and the papers after it: one image of each domain, stopped before the rate is 0."""
    return TrainSettings(
        steps=steps, schedule_steps=250_000, source_batch=1, target_batch=1, affine="frozen", checkpoint_every=1000
    )


SETTINGS = {"toy": toy, "camvid-day-dusk": camvid_day_dusk, "toy-camvid": toy_camvid, "folders": folders}
"""By preset name; the first is the default."""


Kind = TypeVar("Kind")


def on_every_pair(build: Callable[[Setting], Kind]) -> dict[str, Callable[[], Kind]]:
    """The presets of a method: what it makes of each of these settings, under its name and with its description."""

    def preset_of(make: Callable[[], Setting]) -> Callable[[], Kind]:
        def preset() -> Kind:
            return build(make())

        preset.__doc__ = make.__doc__
        return preset

    return {name: preset_of(make) for name, make in SETTINGS.items()}
