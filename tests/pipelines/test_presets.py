"""Presets: complete, documented, and alike for all methods."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from orchestrator.contract.config import flatten
from orchestrator.contract.method import Method, Sizes
from orchestrator.contract.stages import Train
from orchestrator.run.fingerprint import fingerprints_of
from pipelines import adaptsegnet, advent, cbst, crst, drsl, minent, oracle, presets, source_only, structure, translate
from pipelines.drsl import LossSettings
from pipelines.presets import SETTINGS, Setting

MODULES = (drsl, cbst, crst, adaptsegnet, advent, minent, structure, source_only, oracle)
METHODS = {module.__name__.split(".")[1]: module.PRESETS for module in MODULES}
OFFERED = {**METHODS, "translate": translate.PRESETS}
"""All that can be run; a translation segments nothing, so it has neither network nor numbers to compare."""


@pytest.mark.parametrize("offered", OFFERED.values(), ids=OFFERED)
def test_every_method_has_every_preset_and_the_toy_first(offered):
    assert list(offered)[: len(SETTINGS)] == list(SETTINGS)
    assert next(iter(offered)) == "toy"


@pytest.mark.parametrize("preset", SETTINGS)
@pytest.mark.parametrize("offered", OFFERED.values(), ids=OFFERED)
def test_preset_is_complete_documented_and_the_same_each_time(offered, preset):
    make = offered[preset]
    assert make.__doc__
    assert isinstance(make(), Method)
    assert make() == make()


@pytest.mark.parametrize("preset", SETTINGS)
def test_methods_compare_on_the_same_images_network_and_length(preset):
    setting: Setting = SETTINGS[preset]()
    for offered in METHODS.values():
        method = offered[preset]()
        assert method.pair.evaluation == setting.pair.evaluation
        assert (method.pair.height, method.pair.label_space) == (setting.pair.height, setting.pair.label_space)
        assert method.model == setting.model
        assert method.source == setting.source


@pytest.mark.parametrize("preset", SETTINGS)
def test_translations_are_of_the_images_that_methods_train_on(preset):
    pair = SETTINGS[preset]().pair
    translated = translate.PRESETS[preset]().pair
    assert (translated.source, translated.target) == (pair.source, pair.target)
    assert translated.size_of(translated.source) == pair.size_of(pair.source)


def test_own_folders_alone_start_without_evaluation_images():
    assert {name for name in SETTINGS if SETTINGS[name]().pair.evaluation.kind == "none"} == {"folders"}


@pytest.mark.parametrize("preset", [name for name in SETTINGS if name != "folders"])
def test_evaluation_images_are_not_those_of_training(preset):
    pair = SETTINGS[preset]().pair
    assert pair.evaluation not in (pair.target, pair.source)
    assert (pair.evaluation.split, pair.evaluation.list) != (pair.target.split, pair.target.list)


@pytest.mark.parametrize("preset", SETTINGS)
def test_training_takes_at_least_one_step(preset):
    setting = SETTINGS[preset]()
    assert all(train.steps or train.epochs for train in (setting.source, setting.adapt))


def test_only_domains_have_a_kind_whose_change_drops_the_rest_of_the_group():
    kinds = {name for offered in METHODS.values() for name in flatten(type(offered["toy"]())) if "kind" in name}
    assert kinds == {f"pair.{domain}.kind" for domain in ("source", "target", "evaluation")}


def test_every_pipeline_is_checked_here():
    scripts = {path.stem for path in Path(presets.__file__).parent.glob("*.py")}
    assert set(OFFERED) == scripts - {"__init__", "presets", "benchmarks", "drsl_tables", "selftraining", "alignment"}


@pytest.mark.parametrize("preset", SETTINGS)
def test_methods_without_a_second_classifier_share_one_source_training(preset):
    sizes = Sizes(source=8, target=8, classes=12)
    trainings = [module.PRESETS[preset]().stages(sizes)[0] for module in (cbst, crst, structure, source_only)]
    assert all(training == trainings[0] for training in trainings)
    plain = LossSettings(triplet=0, mixture=0, consistency=0)
    assert dataclasses.replace(drsl.PRESETS[preset](), loss=plain).stages(sizes)[0] == trainings[0]


@pytest.mark.parametrize("preset", SETTINGS)
def test_no_method_can_take_over_the_adaptation_of_another(preset):
    methods = [offered[preset]() for offered in METHODS.values()]
    methods += [dataclasses.replace(crst.PRESETS[preset](), regulariser=kind) for kind in ("mrent", "lrent")]
    seen: dict[str, str] = {}
    for method in methods:
        stages = method.stages(Sizes(source=8, target=8, classes=12))
        last = [stage for stage in stages if isinstance(stage, Train)][-1]
        fingerprint = fingerprints_of(stages, method)[last.name]
        assert fingerprint not in seen, f"{method.title} and {seen[fingerprint]} train alike"
        seen[fingerprint] = method.title
