"""A run on real Ray that tells a real MLflow server, which is killed on the way and comes back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from orchestrator.base.files import read_json, read_lines
from orchestrator.trackers.log_tail import numbers
from tests.conftest import digests

STAGE = "04-adapt-0"


class Server:
    """MLflow's tracking server as `mlflow server` starts it, on a port and a database of its own."""

    def __init__(self, folder, desk, start) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._folder, self._desk, self._start = folder, desk, start

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        store = ["--backend-store-uri", f"sqlite:///{self._folder / 'runs.db'}"]
        store += ["--artifacts-destination", str(self._folder / "artifacts")]
        words = ["server", *store, "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        off = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        env = {**self._desk.env, **off, "HOME": str(self._folder)}
        self._command = self._start([str(Path(sys.executable).parent / "mlflow"), *words], self._folder, env)
        self._command.until(self._answers)

    def kill(self) -> None:
        os.killpg(self._command.pid, signal.SIGKILL)
        self._command.process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False


def logged(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves that the stages logged."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in read_lines(run / "metrics.jsonl"):
        if "step" in line:
            for name, value in numbers(line, ("stage", "step")).items():
                found.setdefault(f"{line['stage']}/{name}", []).append((line["step"], pytest.approx(value)))
    return found


def known(client: MlflowClient, run: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves that the server has."""
    identity = read_json(run / "mlflow.json")["id"]
    keys = client.get_run(identity).data.metrics
    histories = {key: client.get_metric_history(identity, key) for key in keys}
    return {key: sorted((point.step, point.value) for point in points) for key, points in histories.items()}


@pytest.fixture(scope="module")
def server(desk, command, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("mlflow"), desk, command)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def client(server):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        yield MlflowClient(server.address)


@pytest.fixture(scope="module")
def run(desk, finished) -> Path:
    """A copy of the undisturbed run that has yet to adapt."""
    run = desk.runs / "tracked"
    shutil.copytree(finished.folder, run)
    for path in run.glob("stages/0[456]-*"):
        shutil.rmtree(path)
    for name in ("metrics.jsonl", "summary.json", "report.html"):
        (run / name).unlink()
    return run


@pytest.fixture(scope="module")
def printed(desk, finished, server, run) -> str:
    """The server is killed when adaptation has begun."""
    words = [*finished.words[:-1], run.name, "--track", "mlflow"]
    command = desk.start("drsl", *words, env={"MLFLOW_TRACKING_URI": server.address})
    command.until(lambda: (run / "mlflow.json").exists() and read_lines(run / "stages" / STAGE / "metrics.jsonl"))
    server.kill()
    return command.ends()


@pytest.fixture(scope="module")
def again(desk, finished, server, run, printed) -> str:
    """The same command when the server is back; nothing is left to do but to tell it."""
    server.start()
    words = [*finished.words[:-1], run.name, "--track", "mlflow"]
    return desk.start("drsl", *words, env={"MLFLOW_TRACKING_URI": server.address}).ends()


def test_a_run_whose_server_dies_ends_as_one_without(printed, finished, run):
    assert digests(run) == digests(finished.folder)
    (warning,) = (line for line in printed.splitlines() if line.startswith("warning: mlflow"))
    assert "is not being told of this run, which goes on: " in warning
    assert printed.splitlines()[-1] == f"report: {run / 'report.html'}"


def test_the_same_command_gives_the_server_what_it_missed_and_nothing_twice(again, client, run):
    assert "warning: mlflow" not in again
    told = known(client, run)
    assert {name: told[name] for name in logged(run)} == logged(run)
    summary = read_json(run / "summary.json")
    miou = [summary[role]["miou"] for role in ("source_only", "adapted")]
    assert told["evaluation/miou"] == [(number, pytest.approx(value)) for number, value in enumerate(miou)]
    assert [step for step, _ in told["pseudo-labels/coverage"]] == [0]


def test_the_server_has_one_run_with_its_settings_and_pictures(again, client, run):
    experiment = client.get_experiment_by_name("segadapt")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("tracked", "FINISHED")
    assert found.data.tags["folder"] == "runs"
    assert found.data.params["adapt.steps"] == "12"
    names = [picture.path for picture in client.list_artifacts(found.info.run_id, "panel-0")]
    assert "panel-0/adapted.png" in names


def test_mlflow_does_not_report_to_its_makers(again, desk):
    assert not (desk.home / ".config" / "mlflow").exists()  # where it would note that it does


def test_tensorboard_has_the_same_curves_without_being_asked_for(again, run):
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    shown = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert {name: shown[name] for name in logged(run)} == logged(run)
    assert "panel-0/adapted" in events.Tags()["images"]
