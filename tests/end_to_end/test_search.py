"""A search on two cores: poor trials are stopped, what trials have in common is done once, and a table comes out."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.conftest import SEARCHED_LRS


@pytest.fixture(scope="module")
def table(searched):
    return json.loads((searched.folder / "table.json").read_text())


def test_a_trial_that_is_poor_is_stopped_early_and_the_best_one_finishes(table):
    states = {trial["config"]["adapt.lr"]: trial["state"] for trial in table["trials"]}
    assert states[SEARCHED_LRS[-1]] == "stopped early"
    assert table["trials"][0]["state"] == "finished"
    assert set(states.values()) == {"finished", "stopped early"}


def test_what_trials_share_is_trained_by_one_and_taken_over_by_the_others(searched):
    ledgers = [path.read_text().splitlines() for path in searched.folder.glob("trial-*/ledger.jsonl")]
    events = [event["event"] for lines in ledgers for event in map(json.loads, lines) if event.get("stage") == "source"]
    assert len(ledgers) == len(SEARCHED_LRS)
    assert sorted(events) == ["finished", *["reused"] * (len(SEARCHED_LRS) - 1), "started"]


def test_trials_are_runs_with_what_a_run_leaves(searched, table):
    for trial in table["trials"]:
        folder = searched.folder / trial["name"]
        assert (folder / "config.yaml").exists()
        assert (folder / "report.html").exists() == (trial["state"] == "finished")
        assert [number for number, _ in trial["curve"]] == list(range(1, trial["reports"] + 1))


def test_best_trial_is_there_as_settings_and_in_every_form_of_the_table(searched, table):
    best = table["trials"][0]
    settings = yaml.safe_load((searched.folder / "best.yaml").read_text())
    assert settings["adapt"]["lr"] == float(best["config"]["adapt.lr"])
    page = (searched.folder / "table.html").read_text()
    assert f'href="{best["name"]}/report.html"' in page
    assert page.count("<svg") == 3
    assert f"| {best['name']} | {best['config']['adapt.lr']} |" in searched.printed
    assert "Oracle" not in page + searched.printed


def test_ray_does_not_talk_in_between(searched):
    assert "raylet" not in searched.printed
    assert "Traceback" not in searched.printed
