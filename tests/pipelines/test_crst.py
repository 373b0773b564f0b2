"""CRST: its regularisers on labelled target pixels alone, with the weights and quirks that the settings say."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator

from domains.feed import Batch, LabelledImages, PseudoLabelledImages
from domains.settings import AugmentSettings
from losses.entropy import kl_to_uniform, negative_entropy
from models.settings import SegmenterSettings
from pipelines.cbst import Cbst
from pipelines.crst import Crst
from pipelines.drsl import Drsl, LossSettings

K = 5
COMMON = {
    "model": SegmenterSettings(backbone="resnet10", width=4, dilations=(1, 2)),
    "augment": AugmentSettings(crop_height=32, crop_width=48, brightness=0.3),
}
TINY = Crst(**COMMON)  # type: ignore[arg-type]


def batch() -> Batch:
    draw = Generator().manual_seed(3)
    image = torch.rand(4, 3, 32, 48, generator=draw)
    label = torch.randint(K, (4, 32, 48), generator=draw)
    label[:, :8] = 255
    return Batch(LabelledImages(image[:2], label[:2]), PseudoLabelledImages(image[2:], label[2:]))


def step(method):
    nets = method.networks(K)
    ((names, loss, terms),) = method.adaptation(nets, batch(), Generator().manual_seed(0))
    loss.backward()
    gradients = [parameter.grad for parameter in nets["segmenter"].parameters()]
    return names, loss, terms, gradients


@pytest.mark.parametrize(("regulariser", "slow"), [("mrkld", kl_to_uniform), ("mrent", negative_entropy)])
def test_term_counts_labelled_target_pixels_with_its_weight(regulariser, slow):
    method = dataclasses.replace(TINY, regulariser=regulariser, alpha=0.3)
    both = method.segment_both(method.networks(K), batch(), Generator().manual_seed(0))
    names, loss, terms, _ = step(method)
    assert names == ("segmenter",)
    torch.testing.assert_close(terms[regulariser], slow(both.logits_BKHW[2:], both.label_BHW[2:]))
    torch.testing.assert_close(loss, terms["seg_source"] + terms["seg_target"] + 0.3 * terms[regulariser])


def test_weight_on_the_source_and_the_squared_weight_are_switches():
    _, loss, terms, _ = step(dataclasses.replace(TINY, alpha=0.2, alpha_source=0.5, square_alpha=True))
    plain = terms["seg_source"] + terms["seg_target"]
    torch.testing.assert_close(loss, plain + 0.04 * terms["mrkld"] + 0.25 * terms["mrkld_source"])
    assert TINY.alpha == 0.1
    assert TINY.alpha_source == 0
    assert not TINY.square_alpha


def test_without_weight_it_is_cbst_and_that_is_drsl_without_weights_bit_for_bit():
    plain = LossSettings(triplet=0, mixture=0, consistency=0)
    arms = [
        Cbst(**COMMON),  # type: ignore[arg-type]
        Drsl(**COMMON, loss=plain, isa=Cbst().isa),  # type: ignore[arg-type]
        dataclasses.replace(TINY, alpha=0),
    ]
    losses, gradients = zip(*((loss, gradients) for _, loss, _, gradients in map(step, arms)), strict=True)
    assert losses[0] == losses[1] == losses[2]
    for one, other, third in zip(*gradients, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)


def test_name_in_tables_says_which():
    assert TINY.title == "CRST (MRKLD)"
    assert dataclasses.replace(TINY, regulariser="mrent").title == "CRST (MRENT)"
