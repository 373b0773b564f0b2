"""Build networks whose first weights are a function of a seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.backbones import build_encoder, stage_channels
from models.deeplab import DilatedSum
from models.discriminator import AsppDiscriminator, PatchDiscriminator
from models.image_pool import ImagePool
from models.mmdl import MmdlHead
from models.pretrained import load_encoder
from models.reconstruction import Decoder
from models.segmenter import Segmenter
from models.settings import DiscriminatorSettings, MmdlSettings, SegmenterSettings, TranslatorSettings
from models.translator import Generator, PatchGan


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Initialisers draw from the global generator: lend them one in a known state, then restore it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def build_segmenter(settings: SegmenterSettings, num_classes: int, seed: int) -> Segmenter:
    """A network to be trained: random from the seed, but for an encoder whose settings name weights.

    Equal arguments and weights give equal bits, and the global generator is left as it was.

    Raises:
        ValueError: if the weights cannot be read or are not those of the encoder.
    """
    with _seeded(seed):
        segmenter = Segmenter(settings, num_classes)
        if settings.pretrained:
            mean, std = load_encoder(segmenter.encoder, settings.weights).unit
            segmenter.normalise_with(mean, std)
    return segmenter


def check_weights(settings: SegmenterSettings) -> list[str]:
    """What keeps an encoder of these settings from its pretrained weights, a sentence each; fetches them if need be."""
    if settings.pretrained:
        with torch.device("meta"):
            encoder = build_encoder(settings)
        try:
            load_encoder(encoder, settings.weights)
        except ValueError as error:
            return [f"model.weights: {error}"]
    return []


def build_mmdl_head(
    settings: MmdlSettings, segmenter_settings: SegmenterSettings, num_classes: int, seed: int
) -> MmdlHead:
    """An untrained DRSL head for the features of such a segmenter, with the dilations of its classifier."""
    in_channels = stage_channels(segmenter_settings)[-1]
    with _seeded(seed):
        return MmdlHead(in_channels, num_classes, settings, segmenter_settings.dilations)


def build_auxiliary(settings: SegmenterSettings, num_classes: int, seed: int) -> DilatedSum:
    """An untrained classifier for the features of the encoder's third stage."""
    with _seeded(seed):
        return DilatedSum(stage_channels(settings)[-2], num_classes, settings.dilations)


def build_discriminator(
    settings: DiscriminatorSettings, num_classes: int, seed: int
) -> AsppDiscriminator | PatchDiscriminator:
    """An untrained discriminator of class maps."""
    kind = AsppDiscriminator if settings.layers == "aspp" else PatchDiscriminator
    with _seeded(seed):
        return kind(num_classes, settings.width)


def build_decoder(settings: SegmenterSettings, width: int, seed: int) -> Decoder:
    """An untrained decoder that reconstructs the image from the features of such a segmenter."""
    with _seeded(seed):
        return Decoder(stage_channels(settings)[-1], width, settings.output_stride)


def build_generator(settings: TranslatorSettings, seed: int) -> Generator:
    """An untrained network that translates images."""
    with _seeded(seed):
        return Generator(settings.width, settings.blocks, settings.halvings)


def build_patchgan(settings: TranslatorSettings, seed: int) -> PatchGan:
    """An untrained discriminator of real and translated images."""
    with _seeded(seed):
        return PatchGan(settings.judge_width, settings.judge_layers)


def build_pool(settings: TranslatorSettings, height: int, width: int) -> ImagePool:
    """An empty memory of translated images of one size."""
    return ImagePool(settings.pool, height, width)
