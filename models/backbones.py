"""The encoder that settings ask for, and what others must know to attach to it."""

from __future__ import annotations

from models import adapter, resnet
from models.settings import SegmenterSettings, family_of


def build_encoder(settings: SegmenterSettings) -> resnet.Encoder | adapter.Adapted:
    """An encoder with random weights; `levels` gives four feature maps, `channels` is the width of the last."""
    return resnet.Encoder(settings) if family_of(settings.backbone) == "resnet" else adapter.Adapted(settings)


def stage_channels(settings: SegmenterSettings) -> list[int]:
    """Channels of each of the four levels."""
    find = resnet.stage_channels if family_of(settings.backbone) == "resnet" else adapter.level_channels
    return find(settings.backbone, settings.width)
