"""A run made small enough to try out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from models.build import check_weights
from models.placeholder import write_placeholder_weights
from models.settings import SegmenterSettings
from orchestrator.contract.method import Sizes
from orchestrator.contract.stages import Evaluate, Label, Panels, Train, representatives
from orchestrator.dryrun.smoke_run import STEPS, prepare, scaled_down
from pipelines import adaptsegnet, cbst, drsl
from pipelines.drsl import Drsl

SIZES = Sizes(source=24966, target=2975, classes=19)
SMALL = SegmenterSettings(backbone="resnet10", width=4, weights="required:resnet101-torchvision")


def full_size(root: Path | str = "") -> Drsl:
    return dataclasses.replace(drsl.PRESETS["gta5-cityscapes"](), model=SMALL, root=str(root))


def test_rounds_that_are_alike_are_rehearsed_once():
    stages = representatives(full_size().stages(SIZES))
    assert [stage.name for stage in stages] == ["source", "source-only", "source-mmdl", "label-0", "adapt-0", "panels"]
    panels = stages[-1]
    assert isinstance(panels, Panels)
    assert panels.models == (("source-only", "source"), ("adapted", "adapt-0"))
    assert panels.labels is not None
    assert panels.labels[1] == "label-0"


@pytest.mark.parametrize("module", [drsl, cbst, adaptsegnet])
@pytest.mark.parametrize("preset", ["toy", "gta5-cityscapes"])
def test_what_is_rehearsed_needs_nothing_that_is_not(module, preset):
    stages = module.PRESETS[preset]().stages(SIZES)
    names: set[str] = set()
    for stage in representatives(stages):
        assert set(stage.needs) <= names
        names.add(stage.name)
    kinds = {(type(stage), getattr(stage, "step", "")) for stage in stages}
    assert kinds == {(type(stage), getattr(stage, "step", "")) for stage in representatives(stages)}


def test_trainings_that_differ_in_a_setting_are_not_alike():
    train = Train(name="a", step="x", networks=("n",), settings=full_size().source)
    other = dataclasses.replace(train, name="b", settings=full_size().adapt)
    same = dataclasses.replace(train, name="c", start="a")
    assert [stage.name for stage in representatives([train, other, same])] == ["a", "b"]


def test_a_label_that_is_soft_is_not_like_a_hard_one():
    train = Train(name="t", step="x", networks=("n",), settings=full_size().source)
    hard = Label(name="l", by="t", round=0, portion=0.2)
    soft = dataclasses.replace(hard, name="s", softness=0.25)
    later = dataclasses.replace(hard, name="m", round=1, portion=0.3)
    measured = Evaluate(name="e", of="t", role="round")
    assert [stage.name for stage in representatives([train, hard, soft, later, measured])] == ["t", "l", "s", "e"]


def test_what_is_not_here_is_drawn_and_said_and_nothing_is_left_to_complain_of(tmp_path):
    settings = full_size(tmp_path / "data")
    smoke_run = prepare(settings, tmp_path / "scratch")
    assert smoke_run.drawn == {"source", "target", "evaluation"}
    assert "drawn images stand in" in smoke_run.data["source"]
    assert str(tmp_path / "data" / "gta5") in smoke_run.data["source"]
    assert "the run itself refuses" in smoke_run.weights
    assert settings.problems()
    assert smoke_run.method.problems() == []
    assert check_weights(smoke_run.method.model) == []


def test_data_that_are_here_are_used_and_a_broken_tree_is_refused(tmp_path):
    (tmp_path / "gta5").mkdir()
    smoke_run = prepare(full_size(tmp_path), tmp_path / "scratch")
    assert smoke_run.drawn == {"target", "evaluation"}
    assert any("gta5/images does not exist" in problem for problem in smoke_run.method.problems())


def test_weights_by_a_path_that_is_not_here_are_stood_in_for(tmp_path):
    settings = dataclasses.replace(full_size(), model=dataclasses.replace(SMALL, weights=str(tmp_path / "gone")))
    smoke_run = prepare(settings, tmp_path / "scratch")
    assert f"{tmp_path / 'gone'} is not here" in smoke_run.weights
    assert smoke_run.method.problems() == []


def test_random_weights_by_name_are_warned_of_where_averages_never_learn(tmp_path):
    none = dataclasses.replace(SMALL, weights="none")
    fixed = dataclasses.replace(full_size(), model=none)
    assert "add --source.batchnorm train" in prepare(fixed, tmp_path / "a").weights
    learning = dataclasses.replace(fixed, source=dataclasses.replace(fixed.source, batchnorm="train"))
    assert prepare(learning, tmp_path / "b").weights == "none, by name"


def test_every_training_takes_two_steps_and_keeps_its_batch(tmp_path):
    settings = full_size(tmp_path / "data")
    small = scaled_down(prepare(settings, tmp_path / "scratch"))
    assert isinstance(small, Drsl)
    assert (small.source.steps, small.adapt.steps, small.adapt.epochs) == (STEPS, STEPS, 0)
    assert small.source.source_batch == settings.source.source_batch
    assert (small.augment, small.protocol, small.pseudo) == (settings.augment, settings.protocol, settings.pseudo)
    assert (small.pair.target.count, small.pair.evaluation.count) == (1, 1)
    assert small.source.lr < 1e-9, "random weights would diverge at the rate of trained ones"


def test_weights_that_are_here_learn_at_their_own_rate(tmp_path):
    write_placeholder_weights(dataclasses.replace(SMALL, weights="none"), tmp_path / "weights")
    model = dataclasses.replace(SMALL, weights=str(tmp_path / "weights"))
    smoke_run = prepare(dataclasses.replace(full_size(), model=model), tmp_path / "scratch")
    small = scaled_down(smoke_run)
    assert isinstance(small, Drsl)
    assert small.source.lr == full_size().source.lr
    assert small.model == model
