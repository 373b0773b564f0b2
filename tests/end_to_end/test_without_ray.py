"""The local backend, in processes of its own: it imports no Ray, and a signal costs no step there either."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from domains.toycity.reader import ToyCity
from orchestrator.base.files import read_lines
from pipelines.source_only import SourceOnly
from pipelines.structure import Structure
from tests.conftest import ROOT, digests
from tests.faults.test_killed_runs import steps_saved
from tests.one_process import LOCAL

SCRIPT = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
for pipeline, words in json.loads(sys.argv[2]):
    script = importlib.import_module(f"pipelines.{pipeline}")
    sys.argv = ["", *words]
    try:
        script.main()
    except SystemExit as end:
        assert end.code == 0, words
print("ray" in sys.modules)
"""
"""Commands one after the other in one process, and whether it has imported Ray at the end."""
STEPS = 400
LONGER = {"source__steps": STEPS, "source__checkpoint_every": 1000, "panels": 0}
"""Workers ask each other once a second whether to stop, or every hundred steps: several times in this training."""


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder, city = tmp_path_factory.mktemp("images"), ToyCity("street", "val", 2, 64, 128)
    for index, name in enumerate(city.ids):
        Image.fromarray(city.image(index).permute(1, 2, 0).numpy()).save(folder / f"{name}.png")
    return folder


def test_no_command_imports_ray(desk, tiny, images):
    given = tiny(SourceOnly, source__steps=2, panels=0)
    table = tiny(Structure, source__steps=2, adapt__steps=2, adapt__batchnorm="eval", discriminator__width=4)
    shown = ["--model", "runs/rayless/model", "--images", str(images)]
    commands = [
        ("source_only", [*given, "--name", "rayless"]),
        ("source_only", [*given, "--dry-run"]),
        ("source_only", ["label", *shown, "--out", "rayless-labels"]),
        ("source_only", ["prepare", "--kind", "toycity", "--count", "2", "--height", "64", "--width", "128"]),
        ("structure", ["sweep", "table1", *table, "--decoder_width", "8", "--seeds", "1", "--name", "rayless-table"]),
    ]
    told = json.dumps([[pipeline, [*words, *LOCAL]] for pipeline, words in commands])
    process = [sys.executable, "-c", SCRIPT, str(ROOT), told]
    done = subprocess.run(process, cwd=desk.work, env=desk.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "False"
    assert (desk.runs / "rayless-table" / "table.html").exists()
    assert (desk.work / "rayless-labels").is_dir()


@pytest.fixture(scope="module")
def in_training(desk, tiny):
    """Start or continue a run, send it signals in its training, and see what it prints at its end."""

    def carried_on(*signals: signal.Signals, code: int) -> str:
        command = desk.start("source_only", *tiny(SourceOnly, **LONGER), "--name", "told", *LOCAL)
        log = desk.runs / "told" / "stages" / "00-source" / "metrics.jsonl"
        begun = (steps_saved(desk.runs / "told", "source") or [0])[-1]
        command.until(lambda: len(read_lines(log)) > begun + 2)
        for number in signals:
            os.kill(command.pid, number)
        return command.ends(code)

    return carried_on


def test_signals_in_training_cost_no_bit(desk, tiny, in_training):
    run = desk.runs / "told"
    in_training(signal.SIGTERM, code=143)
    (saved,) = steps_saved(run, "source")
    assert 0 < saved < STEPS
    # The second one does not wait for a checkpoint, and a thread in the middle of a step is no crash.
    assert "terminate called" not in in_training(signal.SIGHUP, signal.SIGTERM, code=143)
    assert not list(desk.temp.glob("segadapt-*"))
    printed = desk.carry_out("source_only", *tiny(SourceOnly, **LONGER), "--name", "told")
    assert "source: continuing from step" in printed
    desk.carry_out("source_only", *tiny(SourceOnly, **LONGER), "--name", "untold")
    assert digests(run) == digests(desk.runs / "untold")


def test_one_worker_takes_the_steps_of_those_that_are_asked_for(desk, tiny):
    words = tiny(SourceOnly, source__steps=2, panels=0)
    said = desk.carry_out("source_only", *words, "--compute.workers", "2", "--name", "two")
    assert "1 of 2 workers, with 2 micro-batches each: a step still has 2" in said
    desk.carry_out("source_only", *words, "--compute.accumulation", "2", "--name", "accumulated")
    assert digests(desk.runs / "two") == digests(desk.runs / "accumulated")
