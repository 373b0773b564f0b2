"""A search whose trials and whose script are killed ends as one that was left alone, and loses no finished trial."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import psutil
import pytest

from domains.stores.arrow import sha256_of
from tests.conftest import SEARCHED_LRS, end


def contents(folder: Path) -> dict[str, str]:
    """All of a finished trial but the log and the curves that every session writes anew."""
    sittings = ("log.txt", ".lock", "tensorboard")
    files = (path for path in folder.rglob("*") if path.is_file() and not {*path.parts} & {*sittings})
    return {str(path.relative_to(folder)): sha256_of(path) for path in files}


def trials_of(command) -> list[psutil.Process]:
    """The processes of Ray Tune's that trials run in."""
    found = []
    for process in command.descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ResourceTrainable" in process.cmdline()[0]:
                found.append(process)
    return found


@pytest.fixture(scope="module")
def hunted(desk, searched):
    """Both trials killed in training, the script once a trial is finished; returns folder, finished trials, and what
    the same command then printed."""
    folder = desk.runs / "hunted-search"
    words = [*searched.words, "--name", folder.name]
    command = desk.start("drsl", *words)
    command.until(lambda: list(folder.glob("trial-*/stages/*-source/checkpoints/step-*/COMPLETE")))
    end(trials_of(command))
    command.until(lambda: list(folder.glob("trial-*/report.html")))
    end(command.kill())
    done = {path.parent: contents(path.parent) for path in folder.glob("trial-*/report.html")}
    return folder, done, desk.start("drsl", *words).ends()


def test_finished_trials_stay_as_they_were(hunted):
    _, done, _ = hunted
    assert done
    for folder, before in done.items():
        assert contents(folder) == before


def test_trials_end_as_if_nothing_had_happened(hunted, searched):
    folder, _, _ = hunted
    found, expected = (
        {trial["name"]: trial for trial in json.loads((place / "table.json").read_text())["trials"]}
        for place in (folder, searched.folder)
    )
    assert found.keys() == expected.keys()
    finished = [name for name in found if found[name]["state"] == expected[name]["state"] == "finished"]
    assert finished  # of the first two, the one that reports later may be stopped
    assert [found[name] for name in finished] == [expected[name] for name in finished]


def test_early_stopping_remembers_what_was_reported_before_the_script_was_killed(hunted):
    folder, _, _ = hunted
    states = {
        trial["config"]["adapt.lr"]: trial["state"]
        for trial in json.loads((folder / "table.json").read_text())["trials"]
    }
    assert states[SEARCHED_LRS[-1]] == "stopped early"
