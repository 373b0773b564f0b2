"""CRST: its regularisers on labelled target pixels alone, with the weights and quirks that the settings say."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator

from domains.base.settings import AugmentSettings
from domains.batches.batch import Batch, LabelledImages, PseudoLabelledImages
from losses.entropy import kl_to_uniform, negative_entropy
from losses.segmentation import soft_cross_entropy
from models.settings import SegmenterSettings
from orchestrator.contract.method import Sizes
from orchestrator.contract.stages import Label, Statistics, Train
from pipelines.cbst import Cbst
from pipelines.crst import Crst
from pipelines.drsl import Drsl, LossSettings
from pipelines.selftraining import PseudoSettings, SelfTraining
from pipelines.terms.base import Step

K = 5
SIZES = Sizes(source=8, target=8, classes=K)
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


def seen(method: SelfTraining, given: Batch) -> Step:
    """Views of a batch by a new network."""
    return Step(method.networks(K), given, Generator().manual_seed(0), method.joined_views())


def step(method):
    nets = method.networks(K)
    ((names, loss, terms),) = method.adaptation(nets, batch(), Generator().manual_seed(0))
    loss.backward()
    gradients = [parameter.grad for parameter in nets["segmenter"].parameters()]
    return names, loss, terms, gradients


@pytest.mark.parametrize(("regulariser", "slow"), [("mrkld", kl_to_uniform), ("mrent", negative_entropy)])
def test_term_counts_labelled_target_pixels_with_its_weight(regulariser, slow):
    method = dataclasses.replace(TINY, regulariser=regulariser, alpha=0.3)
    target = seen(method, batch())["target"]
    names, loss, terms, _ = step(method)
    assert names == ("segmenter",)
    torch.testing.assert_close(terms[regulariser], slow(target.logits_BKHW, target.labels_BHW))
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


def test_soft_labels_take_the_place_of_hard_ones_and_no_term_is_added():
    method = dataclasses.replace(TINY, regulariser="lrent")
    label_stages = [stage for stage in method.stages(SIZES) if isinstance(stage, Label)]
    assert [stage.softness for stage in label_stages] == [0.25] * 3
    assert {stage.softness for stage in TINY.stages(SIZES) if isinstance(stage, Label)} == {0.0}
    hard = batch()
    soft = torch.rand(2, K, 32, 48, generator=Generator().manual_seed(1)).softmax(1)
    assert isinstance(hard.target, PseudoLabelledImages)
    given = Batch(hard.source, dataclasses.replace(hard.target, soft_label=soft))
    target = seen(method, given)["target"]
    ((_, loss, terms),) = method.adaptation(method.networks(K), given, Generator().manual_seed(0))
    assert set(terms) == {"seg_source", "seg_target"}
    torch.testing.assert_close(terms["seg_target"], soft_cross_entropy(target.logits_BKHW, soft, target.labels_BHW))
    torch.testing.assert_close(loss, terms["seg_source"] + terms["seg_target"])


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", [Cbst, Crst])
def test_joint_reduction_is_one_mean_over_the_labelled_pixels_of_both_domains(kind, soft):
    given = batch()
    assert isinstance(given.target, PseudoLabelledImages)
    given.target.pseudo_label[:, 8:28] = 255  # a fifth of what the source has
    chosen = torch.rand(2, K, 32, 48, generator=Generator().manual_seed(1)).softmax(1) if soft else None
    given = Batch(given.source, dataclasses.replace(given.target, soft_label=chosen))
    method = kind(**COMMON, reduction="joint", **({"alpha": 0} if kind is Crst else {}))
    both = seen(method, given)["both"]
    log_prob, label = both.logits_BKHW.log_softmax(1), both.labels_BHW
    hard = -log_prob.gather(1, label.where(label != 255, 0)[:, None])[:, 0]
    pixels = hard if chosen is None else torch.cat([hard[:2], -(chosen * log_prob[2:]).sum(1)])
    ((names, loss, terms),) = method.adaptation(method.networks(K), given, Generator().manual_seed(0))
    assert names == ("segmenter",)
    torch.testing.assert_close(terms["seg_joint"], pixels[label != 255].mean())
    torch.testing.assert_close(loss, terms["seg_joint"])
    assert not {"seg_source", "seg_target"} & set(terms)


def test_reduction_decides_a_round_and_its_default_leaves_fingerprints_as_they_were():
    usual, joint = Cbst(**COMMON), Cbst(**COMMON, reduction="joint")  # type: ignore[arg-type]
    assert usual.adaptation_uses() == (usual.model, usual.augment)
    assert joint.adaptation_uses() != usual.adaptation_uses()
    assert dataclasses.replace(TINY, reduction="joint").adaptation_uses() != TINY.adaptation_uses()


def test_options_of_the_public_code_reach_the_stages():
    pseudo = PseudoSettings(
        spatial_prior=True,
        mining=0.8,
        source_portion=0.03,
        source_portion_step=0.0025,
        max_source_portion=0.034,
    )
    stages = {stage.name: stage for stage in Cbst(**COMMON, pseudo=pseudo).stages(SIZES)}  # type: ignore[arg-type]
    assert isinstance(stages["statistics"], Statistics)
    rounds = [stages[f"adapt-{number}"] for number in range(3)]
    assert [stage.source_share for stage in rounds if isinstance(stage, Train)] == [0.03, 0.0325, 0.034]
    assert {(stage.mining, stage.rare) for stage in rounds if isinstance(stage, Train)} == {(0.8, 1e-3)}
    for number in range(3):
        stage = stages[f"label-{number}"]
        assert isinstance(stage, Label)
        assert stage.prior == "statistics"
        assert set(stage.needs) == {stage.by, "statistics"}
    plain = {stage.name: stage for stage in Cbst(**COMMON).stages(SIZES)}  # type: ignore[arg-type]
    assert "statistics" not in plain
    assert plain["source"] == stages["source"]  # shared between runs with and without these options


def test_name_in_tables_says_which():
    assert dataclasses.replace(TINY, regulariser="lrent").title == "CRST (LRENT)"
    assert TINY.title == "CRST (MRKLD)"
    assert dataclasses.replace(TINY, regulariser="mrent").title == "CRST (MRENT)"
