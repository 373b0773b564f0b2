"""Domain pairs with the network and training length that suit them, shared by the presets of all methods.

All train small networks from scratch, so their optimiser is not the papers' (those fine-tune ImageNet weights with
SGD); the differences are listed in docs/protocols.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from domains.settings import AugmentSettings, DomainSettings, PairSettings
from models.settings import SegmenterSettings
from orchestrator.settings import TrainSettings

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
        source=_from_scratch(steps=400),
        adapt=_continued(steps=180),
    )


def camvid_day_dusk() -> Setting:
    """CamVid by day to CamVid at dusk (needs --root)."""
    return Setting(
        pair=PairSettings(
            source=DomainSettings(kind="camvid", list="day.txt"),
            target=DomainSettings(kind="camvid", list="dusk_adapt.txt"),
            evaluation=DomainSettings(kind="camvid", list="dusk_eval.txt"),
            label_space="camvid11",
            height=180,
            width=240,
        ),
        augment=_camera_jitter(),
        model=SMALL,
        source=_from_scratch(steps=700),
        adapt=_continued(steps=100),
    )


def toy_camvid() -> Setting:
    """Toy city to CamVid: the synthetic-to-real setting in miniature (needs --root)."""
    return Setting(
        pair=PairSettings(
            source=DomainSettings(style="game", count=400),
            target=DomainSettings(kind="camvid", split="train"),
            evaluation=DomainSettings(kind="camvid", split="val"),
            label_space="camvid11",
            height=180,
            width=240,
        ),
        augment=_camera_jitter(),
        model=SMALL,
        source=_from_scratch(steps=700),
        adapt=_continued(steps=100),
    )


def folders() -> Setting:
    """Your own folders of images: see "Your own images" in the README for the flags it needs."""
    return Setting(
        pair=PairSettings(
            source=DomainSettings(kind="folder"),
            target=DomainSettings(kind="folder"),
            evaluation=DomainSettings(kind="none"),
            label_space="cityscapes19",
            height=180,
            width=240,
        ),
        augment=_camera_jitter(),
        model=SMALL,
        source=_from_scratch(steps=700),
        adapt=_continued(steps=100),
    )


def _camera_jitter() -> AugmentSettings:
    """Strong colour and blur changes: without them a network that saw only daylight is lost at dusk."""
    return AugmentSettings(
        crop_height=120,
        crop_width=160,
        scale_min=0.75,
        scale_max=1.5,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        gamma=0.4,
        blur=1.0,
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


def _continued(steps: int) -> TrainSettings:
    return TrainSettings(
        steps=steps,
        source_batch=2,
        target_batch=2,
        optimiser="adamw",
        lr=2e-3,
        head_multiplier=1.0,
        weight_decay=0.01,
        checkpoint_every=30,
    )


SETTINGS = {"toy": toy, "camvid-day-dusk": camvid_day_dusk, "toy-camvid": toy_camvid, "folders": folders}
"""By preset name; the first is the default."""
