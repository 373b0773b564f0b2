"""Networks that do not learn: teachers are equal on all workers and survive a kill, fixed ones are never written."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from orchestrator.contract.method import Sizes
from orchestrator.run.fingerprint import fingerprints_of
from tests.orchestrator.train.group import handed_on, same, train
from tests.orchestrator.train.methods import Taught

STEPS = 25
SIZES = Sizes(source=1, target=1, classes=2)


def parts(found, network):
    return {name.removeprefix(f"{network}/"): value for name, value in found.items() if name.startswith(f"{network}/")}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The folder of a stage that two workers trained; that their weights part anywhere would be an error."""
    folder = tmp_path_factory.mktemp("both")
    train(folder, 2, "taught", steps=STEPS)
    return folder


def test_two_workers_come_to_the_teacher_of_one_with_two_micro_batches(both, tmp_path):
    alone = train(tmp_path, 1, "taught", steps=STEPS)[0]
    found = handed_on(both)
    same(found, alone)
    assert alone["prototypes/moved"] == found["prototypes/moved"] == STEPS, "once a step, not a micro-batch"
    assert not torch.equal(found["teacher/head.weight"], found["student/head.weight"])


def test_teacher_is_the_same_to_the_last_bit_after_a_kill(both, tmp_path):
    train(tmp_path, 2, "taught", steps=STEPS, stop=14)
    assert not handed_on(tmp_path)
    assert [path.name for path in sorted((tmp_path / "checkpoints").glob("step-*"))] == ["step-00000010"]
    again, whole = train(tmp_path, 2, "taught", steps=STEPS)[0], handed_on(both)
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_fixed_network_is_in_no_file(both):
    written = {path.stem for path in both.glob("networks/*")}
    assert written == {"student", "teacher", "prototypes"}
    saved = load_file(both / "checkpoints" / f"step-{STEPS:08d}" / "networks.safetensors")
    assert {name.split("/")[0] for name in saved} == written
    optimisers = load_file(both / "checkpoints" / f"step-{STEPS:08d}" / "optimisers.safetensors")
    assert {name.split("/")[0] for name in optimisers} == {"student"}


def test_teacher_starts_as_the_student_of_the_stage_before_and_networks_are_prepared_for_autocast(both, tmp_path):
    from orchestrator.run.folder import finish_stage

    begun = tmp_path / "begun"
    finish_stage(both, "any", {})
    how = {"steps": 1, "start": str(both), "changes": {"decay": 1.0, "ramp": False}, "precision": "bf16"}
    found = train(begun, 1, "taught", **how)[0]
    student = parts(handed_on(both), "student")
    for name, value in parts(found, "teacher").items():
        if "running" not in name and "tracked" not in name:
            assert torch.equal(value, student[name]), name
    assert not torch.equal(found["student/head.weight"], student["head.weight"])
    (line,) = (begun / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["autocast of first"] == 1


def test_weights_of_a_fixed_network_decide_the_stage_and_those_of_a_teacher_do_not(monkeypatch):
    method = Taught()
    before = fingerprints_of(method.stages(SIZES), method)["train"]
    networks = Taught.networks

    def nudged(name):
        def build(self, num_classes):
            found = networks(self, num_classes)
            next(found[name].parameters()).data[0, 0] += 1e-3
            return found

        monkeypatch.setattr(Taught, "networks", build)
        return fingerprints_of(method.stages(SIZES), method)["train"]

    assert nudged("teacher") == before
    (line,) = nudged("first").differences(before.decided_by)
    assert line.startswith("fixed weights.first: was '")


@pytest.mark.parametrize("role", ["networks", "kept", "fixed"])
def test_network_of_two_roles_is_refused(role):
    (stage,) = Taught().stages(SIZES)
    other = "kept" if role == "fixed" else "fixed"
    with pytest.raises(ValueError, match="train: student must be in one of networks, kept and fixed, once"):
        dataclasses.replace(stage, **{"networks": (), "kept": (), "fixed": (), role: ("student",), other: ("student",)})
