"""Stages as data: what each one needs."""

from __future__ import annotations

import pytest

from orchestrator.contract.method import Sizes
from orchestrator.contract.settings import TrainSettings
from orchestrator.contract.stages import TARGET, Evaluate, Label, Panels, Train
from pipelines import drsl, oracle

SIZES = Sizes(source=8, target=8, classes=12)


def train(**settings: object) -> Train:
    return Train(name="a", step="s", networks=("n",), settings=TrainSettings(), **settings)  # type: ignore[arg-type]


def test_training_needs_its_start_and_its_labels():
    assert train().needs == ()
    assert train(target=TARGET).needs == ()
    assert train(start="x", target=TARGET).needs == ("x",)
    assert train(start="x", target="y").needs == ("x", "y")


def test_other_stages_need_the_models_and_labels_they_name():
    assert Label(name="a", by="x", round=0, portion=0.2).needs == ("x",)
    assert Evaluate(name="a", of="x", role="adapted").needs == ("x",)
    assert Panels(name="a", models=(("t", "x"), ("u", "y"))).needs == ("x", "y")
    assert Panels(name="a", models=(("t", "x"),), labels=("p", "z")).needs == ("x", "z")


@pytest.mark.parametrize("make", [*drsl.PRESETS.values(), *oracle.PRESETS.values()])
def test_every_stage_of_every_preset_follows_what_it_needs(make):
    stages = make().stages(SIZES)
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names)
    for number, stage in enumerate(stages):
        assert set(stage.needs) <= set(names[:number]), stage.name


@pytest.mark.parametrize("make", [*drsl.PRESETS.values(), *oracle.PRESETS.values()])
def test_every_training_stage_names_a_step_and_networks_of_its_method(make):
    method = make()
    for stage in method.stages(SIZES):
        if isinstance(stage, Train):
            assert callable(getattr(method, stage.step))
            assert set(stage.networks) <= {"segmenter", "mmdl"}
            assert method.exported in stage.networks
