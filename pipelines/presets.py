"""Domain pairs with the network and training length that suit them, shared by the presets of all methods."""

from __future__ import annotations

from dataclasses import dataclass

from domains.settings import AugmentSettings, DomainSettings, PairSettings
from models.settings import SegmenterSettings
from orchestrator.settings import TrainSettings


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
            source=DomainSettings(style="game"),
            target=DomainSettings(style="street"),
            evaluation=DomainSettings(style="street", split="val"),
            label_space="toycity12",
            height=128,
            width=256,
        ),
        augment=AugmentSettings(crop_height=96, crop_width=192, scale_min=0.75, scale_max=1.25, **COLOUR),
        model=SegmenterSettings(backbone="resnet18", width=16),
        source=TrainSettings(steps=150, source_batch=8, checkpoint_every=50, **FROM_SCRATCH),
        adapt=TrainSettings(steps=50, source_batch=4, target_batch=4, checkpoint_every=50, **FINE_TUNING),
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
        augment=AugmentSettings(crop_height=120, crop_width=160, scale_min=0.75, scale_max=1.5, **COLOUR),
        model=SegmenterSettings(backbone="resnet18", width=24),
        source=TrainSettings(steps=600, source_batch=8, **FROM_SCRATCH),
        adapt=TrainSettings(steps=100, source_batch=4, target_batch=4, **FINE_TUNING),
    )


def toy_camvid() -> Setting:
    """Toy city to CamVid: the synthetic-to-real setting in miniature (needs --root)."""
    return Setting(
        pair=PairSettings(
            source=DomainSettings(style="game", count=800),
            target=DomainSettings(kind="camvid", split="train"),
            evaluation=DomainSettings(kind="camvid", split="val"),
            label_space="camvid11",
            height=180,
            width=240,
        ),
        augment=AugmentSettings(crop_height=120, crop_width=160, scale_min=0.75, scale_max=1.5, **COLOUR),
        model=SegmenterSettings(backbone="resnet18", width=24),
        source=TrainSettings(steps=600, source_batch=8, **FROM_SCRATCH),
        adapt=TrainSettings(steps=100, source_batch=4, target_batch=4, **FINE_TUNING),
    )


COLOUR = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.05, "gamma": 0.4, "blur": 1.0}
"""Photometric strengths for networks trained from scratch: without them day-to-dusk collapses."""

FROM_SCRATCH = {"lr": 0.02, "head_multiplier": 1.0}
"""The papers' rates fine-tune ImageNet weights; small networks from scratch need larger ones, alike everywhere."""

FINE_TUNING = {"lr": 0.005, "head_multiplier": 1.0, "schedule": "constant"}

SETTINGS = {"toy": toy, "camvid-day-dusk": camvid_day_dusk, "toy-camvid": toy_camvid}
"""By preset name; the first is the default."""
