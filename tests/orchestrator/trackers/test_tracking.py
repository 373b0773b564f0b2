"""What trackers are told of a run, and that they never stop it. No Ray: a run is a folder that its stages write to."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2

from domains.base.files import links_below
from orchestrator import cli
from orchestrator.base.errors import Interrupted
from orchestrator.contract.settings import TrainSettings
from orchestrator.contract.stages import Evaluate, Label, Panels, Stage, Train
from orchestrator.trackers import log_tail, tracking
from orchestrator.trackers.log_tail import Event, EventLog, numbers, tail_log
from orchestrator.trackers.tracking import Tracking, tracked
from orchestrator.tune.trial import Plan, Trial
from pipelines import drsl

RESULT = {"protocol": "toy", "miou": 0.25, "iou": {"road": 0.5, "rider": None}}
STAGES: list[tuple[Stage, dict]] = [
    (Train(name="source", step="step", networks=("segmenter",), settings=TrainSettings()), {"steps": 3}),
    (Evaluate(name="source-only", of="source", role="source_only"), RESULT),
    (Label(name="label-0", by="source", round=0, portion=0.2), {"coverage": 0.2, "thresholds": {"road": 0.9}}),
    (Train(name="adapt-0", step="step", networks=("segmenter",), settings=TrainSettings()), {"steps": 3}),
    (Evaluate(name="evaluate-0", of="adapt-0", role="adapted", round=0), {**RESULT, "miou": 0.5}),
    (Panels(name="panels"), {"images": 1}),
]
EXPECTED = {
    **{
        f"{stage}/{term}": [(s, 1.0 / s) for s in (1, 2, 3)]
        for stage in ("source", "adapt-0")
        for term in ("lr", "seg")
    },
    "evaluation/miou": [(0, 0.25), (1, 0.5)],
    "evaluation/iou/road": [(0, 0.5), (1, 0.5)],
    "pseudo-labels/coverage": [(0, 0.2)],
    "pseudo-labels/thresholds/road": [(0, 0.9)],
}
"""Every curve of the run below, as (step, value)."""


class Progress:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Notebook:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.points: dict[str, list[tuple[int, float]]] = {}
        self.pictures: list[str] = []
        self.state = ""
        self.took = threading.Event()

    def log(self, group, lines) -> None:
        for step, values in lines:
            for name, value in values.items():
                self.points.setdefault(f"{group}/{name}", []).append((step, value))
        self.took.set()

    def picture(self, group, name, file) -> None:
        assert file.exists()
        self.pictures.append(f"{group}/{name}")

    def close(self, state) -> None:
        self.state = state


def log(folder: Path, stage: str, steps: range) -> None:
    lines = [{"stage": stage, "step": step, "lr": 1 / step, "seg": 1 / step} for step in steps]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def begun(run: Path) -> Path:
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump({"method": "drsl", "adapt": {"lr": 0.1, "steps": 3}}))
    return run


def carry_out(run: Path, told: Tracking, stages: list[tuple[Stage, dict]] = STAGES) -> None:
    """A run as trackers see it."""
    for number, (stage, result) in enumerate(stages):
        folder = run / "stages" / f"{number:02d}-{stage.name}"
        folder.mkdir(parents=True, exist_ok=True)
        told.began(stage, folder)
        if isinstance(stage, Train):
            log(folder, stage.name, range(1, 4))
        elif isinstance(stage, Evaluate):
            (folder / "metrics.jsonl").write_text(json.dumps({"stage": stage.name, **result}) + "\n")
        elif isinstance(stage, Panels):
            Image.new("RGB", (640, 320)).save(folder / "00-0.png")
            panel = {"id": "a", "columns": [{"title": "image", "file": "00-0.png"}]}
            (folder / "index.json").write_text(json.dumps([panel]))
        told.finished(stage, folder, result)


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    assert events.Tags()["images"] in ([], ["panel-0/image"])
    return {
        tag: [(point.step, pytest.approx(point.value)) for point in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def records(run: Path) -> Iterator[wandb_internal_pb2.Record]:
    """What Weights & Biases wrote for later: the record format of LevelDB's logs, after a header of its own."""
    (file,) = run.glob("wandb/offline-run-*/run-*.wandb")
    content, place, part = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        part += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            part = b""
            yield record


def offline_curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for record in records(run):
        items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        axis = next((name for name in items if name.endswith("/step")), "")
        for name, value in items.items():
            if axis and name.startswith(axis.removesuffix("step")) and name != axis:
                found.setdefault(name, []).append((items[axis], value))
    return found


class Direct:
    """What `tracking` starts for a tracker, without a thread or process: events wait in their log."""

    def __init__(self) -> None:
        self.events = EventLog()

    def tell(self, event: Event) -> None:
        self.events.put(event)

    def join(self) -> None: ...


def test_everything_is_told_once_and_in_order(tmp_path):
    run, direct, notebook = begun(tmp_path / "run"), Direct(), Notebook()
    told = Tracking([direct])
    carry_out(run, told)
    told.end("finished")
    tail_log(direct.events, notebook)
    assert notebook.points == EXPECTED
    assert notebook.pictures == ["panel-0/image"]
    assert notebook.state == "finished"


def test_a_log_is_told_while_the_stage_goes_on_and_once_where_it_is_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr(log_tail, "POLL_S", 0.01)
    monkeypatch.setattr(log_tail, "AT_ONCE", 2)
    events, notebook = EventLog(), Notebook()
    events.put(Event(folder=str(tmp_path), stage="source", kind="Train"))
    thread = threading.Thread(target=tail_log, args=(events, notebook))
    thread.start()
    for steps in (range(1, 6), range(1, 3), range(1, 7)):  # a worker is lost after step 5, the checkpoint is of step 2
        log(tmp_path, "source", steps)
        if steps.stop != 3:
            while len(notebook.points.get("source/seg", [])) < steps.stop - 1:
                assert notebook.took.wait(60)
                notebook.took.clear()
    log(tmp_path, "source", range(1, 8))
    events.put(Event(end="failed"))
    thread.join()
    assert notebook.points["source/seg"] == [(step, 1 / step) for step in range(1, 8)]
    assert notebook.state == "failed"


def test_numbers_are_found_and_nothing_else():
    tree = {"a": 1, "b": {"c": 0.5, "d": None, "e": {"f": 2}}, "g": "text", "h": True, "i": [1.0]}
    assert numbers(tree) == {"a": 1.0, "b/c": 0.5, "b/e/f": 2.0}
    assert numbers(tree, without=("a",)) == {"b/c": 0.5, "b/e/f": 2.0}


def test_tensorboard_shows_every_point_once_however_often_the_run_is_continued(tmp_path):
    run, progress = begun(tmp_path / "run"), Progress()
    with contextlib.suppress(Interrupted), tracked(run, ["tensorboard"], progress) as told:
        carry_out(run, told, STAGES[:3])
        raise Interrupted
    first = curves(run)
    assert first == {name: points[: len(first[name])] for name, points in EXPECTED.items() if name in first}
    (events,) = (run / "tensorboard").iterdir()
    events.write_bytes(events.read_bytes()[:-5])  # as a run that is killed while it writes leaves it
    for _ in range(2):
        with tracked(run, ["tensorboard"], progress) as told:
            carry_out(run, told)
        assert curves(run) == EXPECTED
    assert progress.said == []


def test_wide_pictures_are_scaled_down(tmp_path):
    run = begun(tmp_path / "run")
    with tracked(run, ["tensorboard"], Progress()) as told:
        carry_out(run, told)
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    (picture,) = events.Images("panel-0/image")
    assert (picture.width, picture.height) == (512, 256)


def test_event_files_that_cannot_be_written_cost_one_warning(tmp_path):
    run, progress = begun(tmp_path / "run"), Progress()
    (run / "tensorboard").write_text("in the way")
    with tracked(run, ["tensorboard"], progress) as told:
        carry_out(run, told)
    (warning,) = progress.said
    assert "tensorboard is not being told of this run, which goes on" in warning


def test_weights_and_biases_offline_holds_every_point_once(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "roads")
    run, progress = begun(tmp_path / "run"), Progress()
    identities = set()
    for stages in (STAGES[:2], STAGES):
        with tracked(run, ["wandb"], progress) as told:
            carry_out(run, told, stages)
        identities.add(json.loads((run / "wandb.json").read_text())["id"])
        assert not list(links_below(run)), "the run could not go on in a folder with a link out of it"
    assert progress.said == []
    assert offline_curves(run) == EXPECTED
    (record,) = (record.run for record in records(run) if record.HasField("run"))
    assert (record.display_name, record.project, record.run_group) == ("run", "roads", tmp_path.name)
    assert {record.run_id} == identities
    assert record.host == "not told"
    assert not record.git.remote_url


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def absent() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


OWN_PATIENCE_S = 240
"""How long MLflow by itself tries to reach a server that is not there: 252 s, measured."""


@pytest.mark.parametrize("address", ["absent", "silent"])
def test_a_server_that_is_not_there_or_hangs_costs_one_warning_and_seconds(address, tmp_path, monkeypatch, request):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue(address))
    run, progress = begun(tmp_path / "run"), Progress()
    began = time.monotonic()
    with tracked(run, ["tensorboard", "mlflow"], progress) as told:
        carry_out(run, told)
    assert time.monotonic() - began < OWN_PATIENCE_S / 2
    (warning,) = progress.said
    assert warning.startswith("warning: mlflow is not being told of this run, which goes on: ")
    assert "\n" not in warning
    assert curves(run) == EXPECTED
    assert not (run / "mlflow.json").exists()


def test_the_process_of_a_tracker_ends_with_the_run_that_was_killed(absent, tmp_path):
    run = begun(tmp_path / "run")
    words = [sys.executable, "-m", "orchestrator.trackers.process", "mlflow", str(run)]
    env = {**os.environ, "MLFLOW_TRACKING_URI": absent}
    with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().strip()  # it complains, and will try again
        process.stdin.close()  # which the kernel does for a run that is killed
        assert process.wait(60) == 0


def test_a_run_without_a_key_for_weights_and_biases_goes_on(tmp_path, monkeypatch):
    for name, value in {"WANDB_MODE": "online", "HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    run, progress = begun(tmp_path / "run"), Progress()
    with tracked(run, ["wandb"], progress) as told:
        carry_out(run, told)
    (warning,) = progress.said
    assert "WANDB_API_KEY" in warning


def test_trackers_of_a_run_are_those_that_are_named_and_tensorboard():
    assert tracking.chosen(()) == ("tensorboard",)
    assert tracking.chosen(("wandb", "mlflow", "wandb")) == ("tensorboard", "wandb", "mlflow")
    assert tracking.chosen(("none",)) == ()


def test_trials_of_a_search_tell_the_servers_that_their_command_was_told_of(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    plan = Plan(drsl.PRESETS["toy"](), tmp_path, (), "validation", ("mlflow",), tracking.environment())
    assert "5000" not in repr(plan)  # there may be keys
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setattr(Trial, "_run", lambda self: None)
    trial = object.__new__(Trial)
    trial.setup({}, plan)  # in a process that may be on another node
    logging.disable(logging.NOTSET)
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["mlfow"], "track: 'mlfow' is no tracker; there are tensorboard, mlflow, wandb, none"),
        (["none", "mlflow"], "none goes with no other"),
        (["wandb"], "track: wandb needs a package that is not installed: pip install 'segadapt[wandb]'"),
        (["mlflow"], "track: mlflow needs the address of a server in MLFLOW_TRACKING_URI"),
    ],
)
def test_trackers_that_cannot_be_used_are_refused_before_anything_starts(
    names, complaint, capsys, tmp_path, monkeypatch
):
    found = tracking.find_spec
    monkeypatch.setattr(tracking, "find_spec", lambda name: None if name == "wandb" else found(name))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    words = [word for name in names for word in ("--track", name)]
    with pytest.raises(SystemExit) as end:
        cli.main(drsl.Drsl, drsl.PRESETS, [*words, "--runs", str(tmp_path / "runs")])
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert complaint in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "runs").exists()
