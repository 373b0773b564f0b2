"""The runner's own part, with stages that do nothing: which are carried out, skipped, and what a run ends with."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
import torch
from rich.console import Console

from domains.base.settings import DomainSettings, PairSettings
from orchestrator import runner
from orchestrator.base.files import read_json
from orchestrator.base.progress import Progress
from orchestrator.cluster import environment
from orchestrator.contract.config import config_of
from orchestrator.contract.settings import ComputeSettings
from orchestrator.contract.stages import Evaluate, Label, Stage, Train
from orchestrator.run.context import Context
from orchestrator.run.folder import MODEL, RunFolder
from pipelines.drsl import PRESETS, Drsl

TOY = dataclasses.replace(
    PRESETS["toy"](),
    compute=ComputeSettings(backend="local", workers=1, cpus_per_worker=1, tasks=2, precision="fp32"),
    pair=PairSettings(
        source=DomainSettings(count=2),
        target=DomainSettings(style="street", count=2),
        evaluation=DomainSettings(style="street", split="val", count=1),
        height=96,
        width=192,
    ),
)
UNMEASURED = dataclasses.replace(TOY, pair=dataclasses.replace(TOY.pair, evaluation=DomainSettings(kind="none")))


@pytest.fixture
def carried_out(monkeypatch):
    """Names of the stages as they are carried out."""
    names: list[str] = []

    def pretend(stage: Stage, context: Context) -> dict[str, Any]:
        names.append(stage.name)
        classes = context.domains.space.classes
        if isinstance(stage, Train):
            (context.folders[stage.name] / MODEL).mkdir()
            (context.folders[stage.name] / MODEL / "weights").write_text(stage.name)
        if isinstance(stage, Evaluate):
            return {"protocol": "name", "miou": 0.5, "iou": dict.fromkeys(classes, 0.5)}
        if isinstance(stage, Label):
            return {"coverage": 0.2, "selected": dict.fromkeys(classes, 0.2), "pseudo_label_miou": None}
        return {}

    monkeypatch.setattr(runner, "RUNNERS", dict.fromkeys(runner.RUNNERS, pretend))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(environment, "describe", lambda: {"python": "3", "packages": {"torch": "2"}})
    return names


def run(method: Drsl, folder) -> dict[str, Any]:
    home = RunFolder(folder)
    report = runner.run(method, home, Progress(Console(file=io.StringIO())), [])
    home.close()
    assert report.exists()
    return read_json(folder / "summary.json")


def test_stages_are_carried_out_in_order_and_the_last_training_leaves_the_model(carried_out, tmp_path):
    summary = run(TOY, tmp_path)
    rounds = [f"{kind}-{number}" for number in range(2) for kind in ("label", "adapt", "evaluate")]
    assert carried_out == ["source", "source-only", "statistics", *rounds, "panels"]
    assert (tmp_path / MODEL / "weights").read_text() == "adapt-1"
    assert summary["source_only"]["miou"] == summary["adapted"]["miou"] == 0.5


def test_same_command_again_carries_out_nothing(carried_out, tmp_path):
    first = run(TOY, tmp_path)
    carried_out.clear()
    assert run(TOY, tmp_path) == first
    assert carried_out == []


def test_run_without_evaluation_domain_measures_nothing(carried_out, tmp_path):
    summary = run(UNMEASURED, tmp_path)
    assert carried_out == ["source", "statistics", "label-0", "adapt-0", "label-1", "adapt-1", "panels"]
    assert not {"source_only", "adapted"} & summary.keys()
    assert [each["adapted_miou"] for each in summary["rounds"]] == [None, None]
    assert (tmp_path / MODEL / "weights").read_text() == "adapt-1"


def test_training_and_labelling_are_taken_over_by_a_run_that_also_measures(carried_out, tmp_path):
    run(UNMEASURED, tmp_path / "first")
    carried_out.clear()
    home = RunFolder(tmp_path / "second")
    runner.run(TOY, home, Progress(Console(file=io.StringIO())), [tmp_path / "first"])
    home.close()
    assert carried_out == ["source-only", "evaluate-0", "evaluate-1"]


def test_other_versions_than_those_a_run_began_with_are_told_and_stay_on_record(carried_out, tmp_path, monkeypatch):
    assert run(TOY, tmp_path)["warnings"] == []
    monkeypatch.setattr(environment, "describe", lambda: {"python": "3", "packages": {"torch": "3"}})
    home = RunFolder(tmp_path)
    console = Console(file=io.StringIO(), width=200)
    runner.run(TOY, home, Progress(console), [])
    home.close()
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "warning: this run was begun with other versions: torch 2, now 3" in printed
    (warning,) = read_json(tmp_path / "summary.json")["warnings"]
    assert "torch 2, now 3" in warning


def test_changed_settings_take_over_the_stages_that_they_leave_as_they_are(carried_out, tmp_path):
    run(TOY, tmp_path)
    carried_out.clear()
    changed = dataclasses.replace(TOY, adapt=dataclasses.replace(TOY.adapt, lr=0.5))
    home = RunFolder(tmp_path)
    home.adopt_config(config_of(changed), ["adapt"])
    runner.run(changed, home, Progress(Console(file=io.StringIO())), home.earlier())
    home.close()
    rounds = ["adapt-0", "evaluate-0", "label-1", "adapt-1", "evaluate-1"]
    assert carried_out == [*rounds, "panels"]
    assert read_json(tmp_path / "before-1" / "summary.json")["name"] == tmp_path.name
