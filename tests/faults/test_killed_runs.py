"""A run that is killed, interrupted and damaged again and again ends as one that was left alone, bit for bit."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conftest import digests, end


def steps_saved(run: Path, stage: str) -> list[int]:
    markers = run.glob(f"stages/*-{stage}/checkpoints/step-*/COMPLETE")
    return sorted(int(marker.parent.name.removeprefix("step-")) for marker in markers)


def events(run: Path, stage: str) -> list[str]:
    lines = (run / "ledger.jsonl").read_text().splitlines()
    return [event["event"] for event in map(json.loads, lines) if event["stage"] == stage]


@dataclass(frozen=True)
class Sitting:
    """What a run had printed when something stopped it, and how far each of its stages was."""

    printed: str
    saved: list[int]
    events: list[str]
    orphans: tuple[psutil.Process, ...] = ()


@pytest.fixture(scope="module")
def run(desk) -> Path:
    return desk.runs / "hunted"


@pytest.fixture(scope="module")
def words(tiny) -> list[str]:
    return [*tiny(), "--name", "hunted"]


@pytest.fixture(scope="module")
def killed_in_training(desk, run, words):
    """All at once, as when the machine loses power."""
    command = desk.start("drsl", *words)
    command.until(lambda: steps_saved(run, "source"))
    end(command.kill())  # left alone, the worker would train on for a while
    return Sitting(command.printed, steps_saved(run, "source"), events(run, "source"))


@pytest.fixture(scope="module")
def interrupted(desk, run, words, killed_in_training):
    """Continued after the kill, then Ctrl-C in the second training."""
    command = desk.start("drsl", *words)
    command.until(lambda: len(steps_saved(run, "source-mmdl")) > 1)
    command.interrupt()
    printed = command.ends(130)
    return Sitting(printed, steps_saved(run, "source-mmdl"), events(run, "source-mmdl"))


@pytest.fixture(scope="module")
def killed_in_labelling(desk, run, words, interrupted):
    """The newest checkpoint was damaged while nothing ran; continued, then the driver alone killed while scoring."""
    newest = run / "stages" / "02-source-mmdl" / "checkpoints" / f"step-{interrupted.saved[-1]:08d}"
    weights = newest / "networks.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    command = desk.start("drsl", *words)
    command.until(lambda: list(run.glob("stages/03-label-0/scores-*.arrow")))
    orphans = command.kill()
    return Sitting(command.printed, steps_saved(run, "source-mmdl"), events(run, "label-0"), tuple(orphans))


@pytest.fixture(scope="module")
def survived(desk, run, words, killed_in_labelling):
    """Continued once more; a training worker is killed in adaptation, and nobody helps."""
    command = desk.start("drsl", *words)
    command.until(lambda: steps_saved(run, "adapt-0"))
    (worker,) = (p for p in command.descendants() if "TrainWorker" in p.name() + "".join(p.cmdline()))
    saved = steps_saved(run, "adapt-0")
    worker.kill()
    return Sitting(command.ends(), saved, events(run, "adapt-0"))


def test_killed_run_leaves_its_checkpoints(killed_in_training):
    assert 0 < killed_in_training.saved[-1] < 12
    assert killed_in_training.events == ["started"]


def test_next_start_says_where_it_continues_and_removes_what_the_killed_one_left(interrupted, killed_in_training, desk):
    assert f"source: continuing from step {killed_in_training.saved[-1]}" in interrupted.printed
    assert not list(desk.temp.glob("segadapt-*"))


def test_interrupted_run_saves_and_names_the_command_that_continues(interrupted, words):
    assert 0 < interrupted.saved[-1] < 12
    assert interrupted.events == ["started", "interrupted"]
    assert "Traceback" not in interrupted.printed
    *_, say, command = interrupted.printed.splitlines()
    assert say == "Stopped; what was done is kept. Continue with:"
    program, script, *arguments = shlex.split(command)
    assert program == "python"
    assert Path(script).name == "drsl.py"
    assert arguments == words


def test_damaged_checkpoint_is_set_aside_in_favour_of_the_one_before(killed_in_labelling, interrupted):
    bad, before = interrupted.saved[-1], interrupted.saved[-2]
    assert f"step-{bad:08d} does not match its digests; set aside as step-{bad:08d}.corrupt" in (
        killed_in_labelling.printed
    )
    assert f"source-mmdl: continuing from step {before}" in killed_in_labelling.printed


def test_labelling_was_killed_half_way(killed_in_labelling, survived):
    assert killed_in_labelling.events == ["started"]
    assert "label-0: continuing" in survived.printed


def test_run_outlives_its_training_worker(survived):
    assert 0 < survived.saved[-1] < 12
    assert survived.events == ["started", "finished"]


def test_hunted_run_ends_as_the_undisturbed_one_bit_for_bit(survived, finished, run):
    expected = digests(finished.folder)
    assert len([name for name in expected if name.endswith(".arrow")]) == 3
    assert digests(run) == expected
    assert not [path for path in run.rglob("*") if path.name.endswith((".tmp", ".partial", ".corrupt"))]


def test_damaged_and_missing_shards_alone_are_made_again(survived, finished, desk, run, words):
    folder = run / "stages" / "03-label-0"
    damaged, deleted, whole = (folder / f"labels-{number:03d}.arrow" for number in range(3))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    deleted.unlink()
    others = [whole, *sorted(run.glob("stages/*/model/*")), *sorted(run.glob("stages/*/evaluation.json"))]
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in others}
    printed = desk.carry_out("drsl", *words)
    assert [line.split(":")[0] for line in printed.splitlines() if line.endswith("done before")] == [
        *("source", "source-only", "source-mmdl", "adapt-0", "evaluate-0", "panels")
    ]
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in others} == before
    assert digests(run) == digests(finished.folder)


def test_processes_of_a_killed_driver_end_by_themselves(killed_in_labelling, survived):
    orphans = killed_in_labelling.orphans
    assert len(orphans) > 4
    assert not psutil.wait_procs(orphans, timeout=300)[1]
