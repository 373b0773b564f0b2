"""The target oracle: supervised training on the target, and marked as such."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator

from domains.base.settings import AugmentSettings
from domains.batches.batch import Batch, LabelledImages
from losses.segmentation import cross_entropy
from models.deeplab import upsample
from models.settings import SegmenterSettings
from orchestrator.contract.method import Sizes
from orchestrator.contract.stages import Train
from pipelines.oracle import PRESETS, Oracle
from pipelines.presets import SETTINGS


def test_it_is_marked_as_trained_on_target_labels():
    assert Oracle.oracle is True
    assert Oracle().title == "target oracle"


@pytest.mark.parametrize("preset", SETTINGS)
def test_target_takes_the_place_of_the_source(preset):
    method, setting = PRESETS[preset](), SETTINGS[preset]()
    assert method.pair.source == setting.pair.target
    assert method.pair == dataclasses.replace(setting.pair, source=setting.pair.target)
    assert (method.model, method.augment, method.source) == (setting.model, setting.augment, setting.source)


def test_one_training_reads_the_labelled_domain_alone():
    (stage,) = (s for s in Oracle().stages(Sizes(source=4, target=4, classes=3)) if isinstance(s, Train))
    assert (stage.target, stage.start, stage.translated) == ("", "", None)


def test_step_is_cross_entropy():
    tiny = SegmenterSettings(backbone="resnet10", width=4, dilations=(1,))
    method = Oracle(model=tiny, augment=AugmentSettings(crop_height=16, crop_width=24))
    nets = {name: network.eval() for name, network in method.networks(3).items()}
    draw = Generator().manual_seed(0)
    image, label = torch.rand(2, 3, 16, 24, generator=draw), torch.randint(0, 3, (2, 16, 24), generator=draw)
    ((names, loss, terms),) = list(method.source_alone(nets, Batch(LabelledImages(image, label), None), draw))
    assert names == ("segmenter",)
    assert torch.equal(loss, cross_entropy(upsample(nets["segmenter"](image).logits_BKhw, (16, 24)), label))
    assert list(terms) == ["seg_source"]
