"""How a search shares the cluster, what is refused, and the table it ends with."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
import time
from types import SimpleNamespace

import pytest
import yaml

from orchestrator import cli
from orchestrator.base.errors import Interrupted
from orchestrator.base.files import write_json
from orchestrator.contract.config import read_settings
from orchestrator.contract.method import Sizes
from orchestrator.contract.settings import ComputeSettings
from orchestrator.run.peers import ConcurrentRuns
from orchestrator.tune.outcome import Outcome
from orchestrator.tune.results import ORACLE_SELECTION, rank_correlation, write_trials
from orchestrator.tune.search import shares
from orchestrator.tune.search_space import Dimension
from orchestrator.tune.trial import Plan, reporting
from pipelines import adaptsegnet, drsl, source_only

SPACE = [Dimension("adapt.lr", "loguniform", (1e-4, 1.0))]
SIZES = Sizes(source=8, target=8, classes=12)
TRIALS = (
    Outcome("trial-a", {"adapt.lr": 0.001}, -0.5, 4, "finished", 0.2),
    Outcome("trial-b", {"adapt.lr": 0.01}, -0.4, 4, "finished", 0.3),
    Outcome("trial-c", {"adapt.lr": 0.1}, -0.1, 1, "stopped early", None),
    Outcome("trial-d", {"adapt.lr": 1.0}, math.nan, 0, "failed", None, "Diverged: not finite"),
    Outcome("trial-e", {"adapt.lr": 1e-4}, -0.6, 4, "finished", 0.1),
)


@pytest.mark.parametrize(
    ("compute", "total", "tasks", "at_once"),
    [
        ((1, 1.0, 0.0), {"CPU": 2.0}, 1, 2),
        ((2, 1.0, 0.0), {"CPU": 2.0}, 2, 1),
        ((1, 0.5, 0.0), {"CPU": 2.0}, 1, 2),  # its tasks take a core each
        ((2, 8.0, 1.0), {"CPU": 64.0, "GPU": 8.0}, 2, 4),
        ((8, 8.0, 1.0), {"CPU": 64.0, "GPU": 8.0}, 8, 1),
        ((4, 1.0, 0.0), {"CPU": 2.0}, 4, 1),  # refused when the trial asks for it
    ],
)
def test_trials_at_a_time_fit_the_cluster_with_their_tasks(compute, total, tasks, at_once):
    workers, cpus, gpus = compute
    asked = ComputeSettings(workers=workers, cpus_per_worker=cpus, gpus_per_worker=gpus, tasks=16)
    found, count = shares(asked, total)
    assert (found.tasks, count) == (tasks, at_once)


def test_reports_are_of_the_stages_that_see_the_target():
    method = drsl.PRESETS["toy"]()
    assert [s.name for s in reporting(method.stages(SIZES), "validation")] == ["adapt-0", "adapt-1"]
    assert [s.name for s in reporting(method.stages(SIZES), "miou")] == ["evaluate-0", "evaluate-1"]
    aligned = adaptsegnet.PRESETS["toy"]()
    assert [s.name for s in reporting(aligned.stages(SIZES), "validation")] == ["adapt"]
    alone = source_only.PRESETS["toy"]()
    assert [s.name for s in reporting(alone.stages(SIZES), "validation")] == ["source"]
    assert [s.name for s in reporting(alone.stages(SIZES), "miou")] == ["source-only"]


def test_a_trial_finds_its_own_folder_again(tmp_path):
    plan = Plan(drsl.PRESETS["toy"](), tmp_path, (), "validation")
    assert plan.run_folder({"a": 1, "b": 2.5}) == plan.run_folder({"b": 2.5, "a": 1})
    assert plan.run_folder({"a": 1}) != plan.run_folder({"a": 2})


def plan(folder, objective: str) -> Plan:
    return Plan(drsl.PRESETS["toy"](), folder, (), objective)


def test_best_finished_trial_comes_first_and_its_settings_are_a_configuration(tmp_path):
    ranked = write_trials(TRIALS, plan(tmp_path, "validation"), SPACE)
    assert [outcome.name for outcome in ranked] == ["trial-b", "trial-a", "trial-e", "trial-c", "trial-d"]
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert best["adapt"]["lr"] == 0.01
    assert best.pop("method") == "drsl"
    base = drsl.PRESETS["toy"]()
    expected = dataclasses.replace(base, adapt=dataclasses.replace(base.adapt, lr=0.01))
    assert read_settings(drsl.Drsl, flat(best), drsl.Drsl()) == expected


def flat(tree: dict, prefix: str = "") -> dict:
    found = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def test_table_says_what_the_objective_was_worth(tmp_path):
    write_trials(TRIALS, plan(tmp_path, "validation"), SPACE)
    table = (tmp_path / "table.md").read_text()
    assert "+1.00 over 3 finished trials" in table
    assert ORACLE_SELECTION not in table
    assert "| mIoU (not used) |" in table
    assert "failed: Diverged: not finite" in table
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["rank_correlation"] == pytest.approx(1, rel=1e-5)
    assert [trial["objective"] for trial in content["trials"]] == [-0.4, -0.5, -0.6, -0.1, None]


def test_choice_by_labels_of_the_target_is_marked_everywhere(tmp_path):
    write_trials(TRIALS, plan(tmp_path, "miou"), SPACE)
    assert (tmp_path / "table.md").read_text().startswith(ORACLE_SELECTION)
    assert (tmp_path / "best.yaml").read_text().startswith(f"# {ORACLE_SELECTION}")
    assert json.loads((tmp_path / "table.json").read_text())["oracle"] is True


def test_rank_correlation_is_spearmans():
    assert rank_correlation([(1, 10), (2, 20), (3, 15), (4, 40)]) == pytest.approx(0.8, rel=1e-5)
    assert rank_correlation([(1, 1), (2, 2)]) is None
    assert rank_correlation([(1, 1), (1, 2), (1, 3)]) is None


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--trials", "3"], "name at least one setting to vary"),
        (["--search", "adapt.lr=uniform(-1,1)"], "adapt.lr"),
        (["--search", "mmdl.modes=choice(1,none)"], "mmdl.modes"),
        (["--search", "adapt.lr=uniform(1e-4,1e-3)", "--trials", "0"], "trials"),
        (["--search", "adapt.lr=uniform(1e-4,1e-3)", "--objective", "miou", "--pair.evaluation.kind", "none"], "miou"),
        (["--search", "adapt.lr=uniform(1e-4,1e-3)", "--compute.backend", "local"], "runs its trials by Ray Tune"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_anything_starts(words, complaint, capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        cli.main(drsl.Drsl, drsl.PRESETS, ["sweep", *words, "--runs", str(tmp_path / "runs")])
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_same_stage_is_carried_out_by_one_run_at_a_time(tmp_path):
    peers = ConcurrentRuns(tmp_path, lambda *_: None)
    waiting, order = threading.Event(), []

    def second() -> None:
        waiting.set()
        with ConcurrentRuns(tmp_path, lambda *_: None).stage_lock("same"):
            order.append("second")

    with peers.stage_lock("same"):
        thread = threading.Thread(target=second)
        thread.start()
        waiting.wait()
        with ConcurrentRuns(tmp_path, lambda *_: None).stage_lock("other"):
            order.append("other")
        time.sleep(0.5)
        order.append("first")
    thread.join()
    assert order == ["other", "first", "second"]


def test_who_waits_can_be_stopped(tmp_path):
    peers, other = (ConcurrentRuns(tmp_path, lambda *_: None) for _ in range(2))
    other.stop.set()
    with peers.stage_lock("same"), pytest.raises(Interrupted), other.stage_lock("same"):
        pass


def test_other_runs_are_those_that_have_stages(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name / "stages").mkdir(parents=True)
    (tmp_path / "tune").mkdir()
    assert [path.name for path in ConcurrentRuns(tmp_path, lambda *_: None).others(tmp_path / "b")] == ["a", "c"]


def test_the_page_has_a_chart_of_the_reports_of_each_setting_and_of_the_agreement(tmp_path):
    (tmp_path / "trial-b").mkdir()
    (tmp_path / "trial-b" / "report.html").touch()
    write_trials(TRIALS, plan(tmp_path, "validation"), SPACE)
    page = (tmp_path / "table.html").read_text()
    assert page.count("<svg") == 3
    assert 'href="trial-b/report.html"' in page
    assert "trial-a/report.html" not in page
    write_trials(TRIALS, plan(tmp_path, "miou"), SPACE)
    page = (tmp_path / "table.html").read_text()
    assert page.count("<svg") == 2
    assert f'<p class="notice">{ORACLE_SELECTION}</p>' in page


def test_a_search_of_which_nothing_came_has_a_page_without_charts(tmp_path):
    write_trials(TRIALS[3:4], plan(tmp_path, "validation"), SPACE)
    assert "<svg" not in (tmp_path / "table.html").read_text()
    assert not (tmp_path / "best.yaml").exists()


def test_trial_that_failed_before_any_report_is_told_with_what_it_varied(tmp_path):
    plan = Plan(drsl.PRESETS["toy"](), tmp_path, (), "validation")
    write_json(tmp_path / "tune" / "x" / "params.json", {"adapt.lr": 0.5})
    result = SimpleNamespace(
        metrics={}, config=None, error=RuntimeError("lost\nits process died"), path=tmp_path / "tune" / "x"
    )
    outcome = Outcome.of(result, plan.run_folder)  # type: ignore[arg-type]
    assert outcome.config == {"adapt.lr": 0.5}
    assert outcome.name == plan.run_folder({"adapt.lr": 0.5}).name
    assert (outcome.state, outcome.error, outcome.reports) == ("failed", "its process died", 0)
    write_trials([outcome], plan, SPACE)
    assert "0.5 |" in (tmp_path / "table.md").read_text()
