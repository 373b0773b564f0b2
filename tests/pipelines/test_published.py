"""Defaults of the methods are the settings that their papers and public codes give."""

from __future__ import annotations

import pytest

from orchestrator.contract.config import flatten
from orchestrator.contract.method import Method
from orchestrator.contract.settings import TrainSettings
from pipelines.adaptsegnet import AdaptSegNet
from pipelines.advent import AdvEnt
from pipelines.cbst import Cbst
from pipelines.crst import Crst
from pipelines.drsl import Drsl
from pipelines.minent import MinEnt
from pipelines.source_only import PRESETS, SourceOnly
from pipelines.structure import Structure

ADVERSARIAL = (AdaptSegNet, MinEnt, AdvEnt, Structure)
SELF_TRAINING = (Cbst, Crst, Drsl)


def sgd(settings: TrainSettings) -> tuple[object, ...]:
    return (settings.optimiser, settings.momentum, settings.weight_decay, settings.head_multiplier)


@pytest.mark.parametrize("method", [*ADVERSARIAL, *SELF_TRAINING, SourceOnly])
def test_all_learn_by_the_same_sgd_on_deeplab_v2_with_resnet_101(method):
    made = method()
    trainings = [value for value in vars(made).values() if isinstance(value, TrainSettings)]
    assert {sgd(training) for training in trainings} == {("sgd", 0.9, 5e-4, 10.0)}
    assert {training.affine for training in trainings} == {"frozen"}
    assert (made.model.backbone, made.model.output_stride, made.model.dilations) == ("resnet101", 8, (6, 12, 18, 24))


@pytest.mark.parametrize("method", ADVERSARIAL)
def test_adversarial_methods_stop_a_long_schedule_on_whole_images(method):
    made = method()
    length = 120_000 if method in (MinEnt, AdvEnt) else 150_000
    assert (made.source.steps, made.adapt.steps) == (150_000, length)
    for training in (made.source, made.adapt):
        assert (training.lr, training.schedule, training.power, training.schedule_steps) == (
            2.5e-4,
            "poly",
            0.9,
            250_000,
        )
        assert (training.source_batch, training.target_batch, training.batchnorm) == (1, 1, "train")
    augment = made.augment
    assert (augment.crop_height, augment.crop_width, augment.scale_min, augment.scale_max) == (0, 0, 1, 1)
    assert not augment.flip


@pytest.mark.parametrize("method", SELF_TRAINING)
def test_self_training_methods_go_on_at_a_constant_rate(method):
    made = method()
    assert (made.source.lr, made.source.schedule, made.source.steps, made.source.source_batch) == (
        *(2.5e-4, "poly"),
        *(100_000, 4),
    )
    assert (made.adapt.lr, made.adapt.schedule, made.adapt.epochs) == (5e-5, "constant", 2)
    assert made.adapt.source_batch + made.adapt.target_batch == 2
    assert {made.source.batchnorm, made.adapt.batchnorm} == {"eval"}
    pseudo = made.pseudo
    portions = (pseudo.rounds, pseudo.initial_portion, pseudo.portion_step, pseudo.max_portion)
    assert portions == (3, 0.2, 0.05, 0.5)
    assert (made.augment.scale_min, made.augment.scale_max, made.augment.flip) == (0.5, 1.5, True)
    assert (made.augment.crop_height, made.augment.crop_width) == ((512, 512) if method is Drsl else (512, 1024))
    assert (pseudo.spatial_prior, pseudo.mining) == (False, 0)
    assert pseudo.source_portion == 1


def test_both_source_recipes_are_presets():
    crst, adaptsegnet = PRESETS["crst"](), PRESETS["adaptsegnet"]()
    assert crst == SourceOnly()
    assert (crst.augment.crop_height, crst.augment.crop_width) == (500, 500)
    assert (crst.source.batchnorm, crst.source.steps, crst.source.source_batch) == ("eval", 100_000, 4)
    assert adaptsegnet.source == AdaptSegNet().source
    assert adaptsegnet.augment == AdaptSegNet().augment


@pytest.mark.parametrize("method", [*ADVERSARIAL, *SELF_TRAINING, SourceOnly])
def test_a_preset_with_published_settings_on_another_pair_is_one_line(method):
    pair = PRESETS["toy-camvid"]().pair
    made: Method = method(pair=pair)
    plain = method()
    names = [name for name in flatten(method) if not name.startswith("pair.")]
    for name in names:
        first, *_ = name.split(".")
        assert getattr(made, first) == getattr(plain, first)
    assert made.pair == pair
