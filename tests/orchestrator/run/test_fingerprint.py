"""A stage's fingerprint: of all that decides its outcome, of nothing else, and with words for what differs."""

from __future__ import annotations

import dataclasses

import pytest

from domains.base.settings import DomainSettings
from orchestrator.contract.settings import ComputeSettings, ProtocolSettings
from orchestrator.run.context import Sizes
from orchestrator.run.fingerprint import Fingerprint, fingerprints_of
from pipelines.drsl import PRESETS, Drsl


def test_fingerprint_is_of_settings_and_inputs():
    found = [
        Fingerprint.of(spec, inputs)
        for spec, inputs in [({"a": 1}, {}), ({"a": 2}, {}), ({"a": 1}, {"x": "1"}), ({"a": 1}, {"x": "1", "y": "2"})]
    ]
    assert len({each.digest for each in found}) == 4
    assert found[3].digest != Fingerprint.of({"a": 1}, {"y": "2", "x": "1"}).digest
    assert found[0] == Fingerprint.of({"a": 1}, {})


def test_what_differs_between_two_fingerprints_is_named():
    was = Fingerprint.of({"settings": {"lr": 0.1, "batch": (2, 2)}, "name": "adapt"}, {"source": "a" * 64})
    now = Fingerprint.of({"settings": {"lr": 0.2, "batch": (2, 2)}, "name": "adapt"}, {"source": "b" * 64})
    lr, source = now.differences(was.decided_by)[::-1]
    assert lr == "settings.lr: was 0.1, now 0.2"
    assert source.startswith(f"inputs.source: was '{'a' * 55}")
    assert now.differences(now.decided_by) == []


def fingerprints(method: Drsl) -> dict[str, Fingerprint]:
    return fingerprints_of(method.stages(Sizes(source=8, target=8, classes=12)), method)


TWICE = dataclasses.replace(PRESETS["toy"](), pretrain="joint", compute=ComputeSettings(workers=1))
"""With a source training of its own for the head: the longest stage graph."""


def changed(method: Drsl = TWICE, /, **settings: object) -> set[str]:
    """Stages whose fingerprint follows these settings, given as dotted names with two underscores."""
    before = fingerprints(method)
    for name, value in settings.items():
        method = _replaced(method, name.split("__"), value)
    after = fingerprints(method)
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def _replaced(settings, path, value):
    head, *rest = path
    return dataclasses.replace(settings, **{head: _replaced(getattr(settings, head), rest, value) if rest else value})


ALL = set(fingerprints(TWICE))
ON_SOURCE = {"source", "source-only", "source-mmdl", "statistics"}
"""Stages that know nothing of the target's training images."""
EVALUATIONS = {name for name in ALL if name == "source-only" or name.startswith("evaluate")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 1),
        ("pair__source__count", 5),
        ("pair__height", 64),
        ("compute__workers", 2),
        ("compute__accumulation", 2),
        ("compute__precision", "bf16"),
    ],
)
def test_what_every_stage_reads_or_runs_with_decides_all(name, value):
    assert changed(**{name: value}) == ALL


@pytest.mark.parametrize(
    ("name", "value"),
    [("model__width", 8), ("source__lr", 0.5), ("source__steps", 3), ("augment__crop_height", 64)],
)
def test_what_decides_the_source_stage_decides_all_but_the_count_of_its_labels(name, value):
    assert changed(**{name: value}) == ALL - {"statistics"}


def test_spatial_prior_decides_what_follows_from_its_labels():
    assert "statistics" in ALL
    plain = _replaced(TWICE, ["pseudo", "spatial_prior"], False)
    before, after = fingerprints(TWICE), fingerprints(plain)
    assert {name for name in after if before[name] == after[name]} == ON_SOURCE - {"statistics"}


@pytest.mark.parametrize("name", ["loss__triplet", "loss__mixture", "mmdl__modes"])
def test_loss_and_head_leave_plain_source_training_as_it_is(name):
    untouched = ALL - changed(**{name: 7})
    assert {"source", "source-only"} <= untouched
    assert not {"source-mmdl", "adapt-0", "evaluate-0", "label-1", "panels"} & untouched


def test_head_beside_the_first_source_training_decides_it_too():
    assert "source" in changed(PRESETS["toy"](), loss__triplet=7)
    assert {"source", "source-only", "statistics", "label-0"} == set(fingerprints(PRESETS["toy"]())) - changed(
        PRESETS["toy"](), loss__consistency=0.0
    )


def test_consistency_leaves_both_source_trainings_as_they_are():
    assert ALL - changed(loss__consistency=0.0) == {*ON_SOURCE, "label-0"}


@pytest.mark.parametrize("value", [DomainSettings(style="street", split="val", count=7), DomainSettings(kind="none")])
def test_evaluation_domain_decides_the_evaluations_alone(value):
    assert changed(pair__evaluation=value) == EVALUATIONS


def test_target_leaves_training_and_measuring_on_the_source_as_they_are():
    assert ALL - changed(pair__target__count=5) == ON_SOURCE


def test_adaptation_leaves_what_comes_before_it_as_it_is():
    assert ALL - changed(adapt__lr=0.5) == {*ON_SOURCE, "label-0"}


def test_portion_leaves_training_on_the_source_as_it_is():
    assert ALL - changed(pseudo__initial_portion=0.3) == ON_SOURCE


def test_classes_of_the_protocol_decide_the_evaluations_alone():
    assert changed(protocol__classes="16") == EVALUATIONS


@pytest.mark.parametrize(
    ("name", "value"), [("flip", True), ("scales", (0.9, 1.0)), ("window", (64, 64)), ("window", (64, 32))]
)
def test_views_of_the_protocol_decide_what_is_measured_and_drawn(name, value):
    assert changed(**{f"protocol__{name}": value}) == EVALUATIONS | {"panels"}


def test_stride_of_the_window_decides_too_and_the_usual_one_is_no_change():
    windowed = dataclasses.replace(TWICE, protocol=ProtocolSettings(window=(64, 32)))
    assert changed(windowed, protocol__stride=(16, 16)) == EVALUATIONS | {"panels"}
    assert changed(windowed, protocol__stride=(32, 16)) == set()


@pytest.mark.parametrize(("name", "value"), [("flip", True), ("scales", (0.9,)), ("window", (64, 64))])
def test_views_of_pseudo_labels_decide_the_rounds(name, value):
    untouched = ALL - changed(**{f"pseudo__{name}": value})
    assert untouched == {"source", "source-only", "source-mmdl", "statistics"}


def test_number_of_panels_decides_the_panels_alone():
    assert changed(panels=2) == {"panels"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("preset", "x"), ("compute__tasks", 7), ("compute__loader_workers", 2), ("compute__max_failures", 0)],
)
def test_what_decides_no_outcome_is_in_no_fingerprint(name, value):
    assert changed(**{name: value}) == set()


def test_who_shares_the_micro_batches_of_a_step_decides_no_outcome():
    shared = _replaced(TWICE, ["compute", "workers"], 4)
    accumulated = _replaced(TWICE, ["compute", "accumulation"], 4)
    assert fingerprints(shared) == fingerprints(accumulated)


def test_number_of_passes_decides_a_training_and_the_usual_one_is_not_told():
    (stage,) = (stage for stage in TWICE.stages(Sizes(source=8, target=8, classes=12)) if stage.name == "source")
    usual, several = (
        fingerprints_of([dataclasses.replace(stage, passes=passes)], TWICE)["source"] for passes in ("one", "several")
    )
    assert "passes" not in usual.decided_by["spec"]
    assert several.differences(usual.decided_by) == ["passes: was None, now 'several'"]


@pytest.mark.parametrize(("name", "neutral", "other"), [("warmup_steps", 0, 5), ("decay_norms", True, False)])
def test_setting_that_came_later_decides_and_its_neutral_value_is_not_told(name, neutral, other):
    assert changed(**{f"source__{name}": neutral}) == set()
    assert "source" in changed(**{f"source__{name}": other})
    assert all(name not in str(found.decided_by) for found in fingerprints(TWICE).values())
