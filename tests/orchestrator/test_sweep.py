"""Sweeps: which runs they are made of, what they share, and the table they end with; runs themselves are stand-ins."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.console import Console

from orchestrator import cli, runner
from orchestrator.files import write_json
from orchestrator.progress import Progress
from orchestrator.sweep import carry_out
from pipelines.drsl import PRESETS as DRSL_PRESETS
from pipelines.drsl import Drsl
from pipelines.structure import PRESETS, Structure


@pytest.fixture
def runs(monkeypatch):
    """Settings, folder and reused folders of every run, which finds 0.1 before and its number over 10 after."""
    made = []

    def pretend(method, home, progress, reuse):
        made.append((method, home.path.name, [path.name for path in reuse]))
        stage = home.path / "stages" / "01-source-only"
        stage.mkdir(parents=True)
        write_json(stage / "evaluation.json", {"iou": {"road": 0.1}, "classes": ["road"], "confusion": [[1]]})
        adapted = {"iou": {"road": len(made) / 10}}
        summary = {"protocol": {"name": "toycity12-flip"}, "source_only": {"iou": {"road": 0.1}}, "adapted": adapted}
        write_json(home.path / "summary.json", summary)

    monkeypatch.setattr(runner, "run", pretend)
    return made


def settings(arm, seed):
    return dataclasses.replace(PRESETS["toy"](), seed=seed, **arm.changes)


def test_every_arm_runs_with_every_seed_and_takes_over_from_those_of_its_seed(runs, tmp_path):
    progress = Progress(Console(file=io.StringIO()))
    table = carry_out(Structure.sweeps["table1"], (4, 7), settings, tmp_path, progress)
    names = [name for _, name, _ in runs]
    arms = ["source-only", "feature-level", "output-level", "full"]
    assert names == [f"{arm}-{seed}" for seed in (4, 7) for arm in arms]
    assert [reuse for _, _, reuse in runs] == [names[:i] for i in range(4)] + [names[4 : 4 + i] for i in range(4)]
    assert [method.seed for method, _, _ in runs] == [4] * 4 + [7] * 4
    weights = [(method.reconstruction > 0, method.adversarial > 0) for method, _, _ in runs[:4]]
    assert weights == [(False, False), (True, False), (False, True), (True, True)]
    assert (tmp_path / "table.md").read_text().endswith(f"{table}\n")
    assert [line.split("|")[-2].strip() for line in table.splitlines()[5:]] == ["36.6", "39.1", "41.7", "44.8"]
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["seeds"] == [4, 7]
    assert table.startswith("Protocol: toycity12-flip; ")
    assert content["protocol"] in table
    assert content["miou"]["full"] == [[0.1, 0.4], [0.1, 0.8]]


def refused(capsys, method, presets, *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.main(method, presets, ["sweep", *words])
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("table9",)])
def test_unknown_sweep_names_those_there_are(words, capsys):
    assert "table1" in refused(capsys, Structure, PRESETS, *words)


def test_method_without_sweeps_says_so(capsys):
    assert "has none" in refused(capsys, type("Bare", (Drsl,), {"sweeps": {}}), DRSL_PRESETS, "table1")


def test_mistakes_of_a_sweep_are_told_together_before_it_starts(capsys):
    message = refused(capsys, Structure, PRESETS, "table1", "--seed", "3", "--sead", "1", "--adapt.lr", "-1")
    assert all(word in message for word in ("--seeds", "sead", "adapt.lr"))


def test_sweep_needs_something_to_compare_by(capsys):
    words = ("table1", "--pair.evaluation.kind", "none")
    assert "evaluation domain" in refused(capsys, Structure, PRESETS, *words)
