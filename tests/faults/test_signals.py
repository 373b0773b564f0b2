"""Signals that machines and schedulers send: the run saves, says how to go on, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conftest import PATIENCE_S, digests
from tests.faults.test_killed_runs import events, steps_saved

NAME = "told-to-end"


@dataclass(frozen=True)
class Ending:
    """What a run had printed when a signal ended it, what it had saved, and what it left behind."""

    printed: str
    saved: list[int]
    left: list[psutil.Process]
    scratch: list[Path]


@pytest.fixture(scope="module")
def run(desk) -> Path:
    return desk.runs / NAME


@pytest.fixture(scope="module")
def end_at(desk, tiny, run):
    """Start or continue the run, send it signals at a moment, and see it end."""

    def carry_on(stage: str, moment, *signals: signal.Signals, code: int) -> Ending:
        command = desk.start("drsl", *tiny(), "--name", NAME)
        command.until(lambda: moment(command))
        started = command.descendants()
        for number in signals:
            os.kill(command.pid, number)
        printed = command.ends(code)
        left = psutil.wait_procs(started, timeout=PATIENCE_S)[1]
        return Ending(printed, steps_saved(run, stage), left, list(desk.temp.glob("segadapt-*")))

    return carry_on


@pytest.fixture(scope="module")
def while_ray_starts(end_at):
    return end_at("source", lambda command: command.descendants(), signal.SIGTERM, code=143)


@pytest.fixture(scope="module")
def in_training(end_at, run, while_ray_starts):
    return end_at("source", lambda _: steps_saved(run, "source"), signal.SIGTERM, code=143)


@pytest.fixture(scope="module")
def twice_in_training(end_at, run, in_training):
    def moment(_):
        return steps_saved(run, "source-mmdl")

    return end_at("source-mmdl", moment, signal.SIGHUP, signal.SIGTERM, code=143)


@pytest.fixture(scope="module")
def in_labelling(end_at, run, twice_in_training):
    def moment(_):
        return list(run.glob("stages/03-label-0/scores-*.arrow"))

    return end_at("source-mmdl", moment, signal.SIGHUP, code=129)


@pytest.mark.parametrize("name", ["while_ray_starts", "in_training", "twice_in_training", "in_labelling"])
def test_run_leaves_nothing_behind_and_names_the_command_that_continues(name, request):
    ending = request.getfixturevalue(name)
    assert ending.left == []
    assert ending.scratch == []
    *_, say, command = ending.printed.splitlines()
    assert say == "Stopped; what was done is kept. Continue with:"
    assert command.endswith(f"--name {NAME}")
    assert "Traceback" not in ending.printed
    assert "received at time" not in ending.printed


def test_first_signal_in_training_saves_a_checkpoint(in_training, run):
    assert 0 < in_training.saved[-1] < 12
    assert events(run, "source")[:2] == ["started", "interrupted"]


def test_second_signal_does_not_wait_for_one(twice_in_training, run):
    assert twice_in_training.saved  # how far the worker came until it was ended depends on the machine
    assert events(run, "source-mmdl")[:2] == ["started", "interrupted"]


def test_run_ends_as_an_undisturbed_one_bit_for_bit(in_labelling, desk, tiny, run, finished):
    printed = desk.carry_out("drsl", *tiny(), "--name", NAME)
    assert "label-0: continuing" in printed
    assert digests(run) == digests(finished.folder)
