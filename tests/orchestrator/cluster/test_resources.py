"""What a run asks of a cluster, with the cluster's own answers replaced."""

from __future__ import annotations

import socket
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from orchestrator.base.errors import UserError
from orchestrator.cluster import resources
from orchestrator.cluster.resources import connect, fast_precision, recall, resolve
from orchestrator.contract.settings import ComputeSettings


@pytest.fixture
def cluster(monkeypatch):
    """Say what the cluster has and, over time, what of it is free; time passes by sleeping alone."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def say(total: dict[str, float], *free: dict[str, float]) -> None:
        answers = list(free or (total,))
        monkeypatch.setattr(ray, "cluster_resources", lambda: total)
        monkeypatch.setattr(ray, "available_resources", lambda: answers.pop(0) if len(answers) > 1 else answers[0])
        monkeypatch.setattr(resources.time, "sleep", sleep)
        monkeypatch.setattr(resources.time, "monotonic", lambda: now)
        monkeypatch.setattr(resources, "fast_precision", lambda: "fp32")

    say.slept = lambda: now  # type: ignore[attr-defined]
    return say


def test_processor_gets_one_worker_of_one_core_and_a_task_a_core(cluster):
    cluster({"CPU": 8.0})
    assert resolve(ComputeSettings()) == ComputeSettings(
        workers=1, cpus_per_worker=1.0, gpus_per_worker=0.0, tasks=8, precision="fp32"
    )


def test_gpus_get_a_worker_and_a_task_each(cluster):
    cluster({"CPU": 64.0, "GPU": 4.0})
    found = resolve(ComputeSettings(precision="fp16"))
    assert (found.workers, found.gpus_per_worker, found.cpus_per_worker, found.tasks) == (4, 1.0, 8.0, 4)
    assert found.precision == "fp16"


def test_cores_are_shared_among_workers_with_gpus(cluster):
    cluster({"CPU": 5.0, "GPU": 2.0})
    assert resolve(ComputeSettings(workers=2, precision="fp32")).cpus_per_worker == 2.0


def test_cores_are_shared_among_the_workers_that_are_there(cluster):
    cluster({"CPU": 8.0, "GPU": 2.0})
    found = resolve(ComputeSettings(workers=8, precision="fp32"))
    assert (found.workers, found.cpus_per_worker) == (8, 4.0)


def test_workers_that_do_not_all_fit_are_no_reason_to_refuse(cluster):
    cluster({"CPU": 2.0})
    assert resolve(ComputeSettings(workers=3)).workers == 3
    assert cluster.slept() == 0


def test_what_is_set_stays(cluster):
    cluster({"CPU": 16.0, "GPU": 2.0})
    asked = ComputeSettings(
        workers=1, cpus_per_worker=3, gpus_per_worker=0.5, tasks=9, precision="bf16", accumulation=4
    )
    assert resolve(asked) == asked


def test_less_than_one_core_still_makes_a_task(cluster):
    cluster({"CPU": 0.5, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0})
    assert resolve(ComputeSettings()).tasks == 1


def test_impossible_request_is_refused_at_once_with_both_amounts(cluster):
    cluster({"CPU": 2.0})
    with pytest.raises(UserError) as caught:
        resolve(ComputeSettings(workers=2, cpus_per_worker=4, gpus_per_worker=1))
    message = str(caught.value)
    assert "4 CPU needed, 2 free of 2" in message
    assert "1 GPU needed, 0 free of 0" in message
    assert "--compute.cpus_per_worker" in message
    assert cluster.slept() == 0


def test_busy_cluster_is_waited_for(cluster):
    busy = {"CPU": 1.0}
    cluster({"CPU": 4.0}, busy, busy, {}, {"CPU": 4.0})
    assert resolve(ComputeSettings(cpus_per_worker=4)).cpus_per_worker == 4.0
    assert cluster.slept() > 0


def test_cluster_that_stays_busy_is_given_up_after_a_while(cluster):
    cluster({"CPU": 4.0}, {"CPU": 1.0})
    with pytest.raises(UserError, match="4 CPU needed, 1 free of 4"):
        resolve(ComputeSettings(cpus_per_worker=4), patience_s=3.0)
    assert 3.0 <= cluster.slept() <= 5.0


def test_patience_is_below_half_a_minute():
    assert resources.PATIENCE_S < 30


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "fp16")])
def test_gpu_takes_the_half_precision_that_it_multiplies_itself(native, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert fast_precision() == precision


@pytest.mark.parametrize(("flags", "precision"), [("avx512_bf16", "fp32"), ("avx512f amx_bf16 amx_tile", "bf16")])
def test_processor_takes_bf16_with_matrix_units_alone(flags, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Path, "exists", lambda _: True)
    monkeypatch.setattr(Path, "read_text", lambda _: f"flags : {flags}\n")
    assert fast_precision() == precision


@pytest.mark.parametrize(
    "error", [ConnectionError("no cluster\nlong trace"), RuntimeError("Version mismatch"), ValueError("bad address")]
)
def test_cluster_that_cannot_be_joined_is_told_in_words(error, tmp_path, monkeypatch):
    def init(**asked: object) -> None:
        assert asked["address"] == "10.0.0.1:6379"
        raise error

    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(resources, "_require_reachable", lambda _: None)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UserError, match=r"10\.0\.0\.1:6379") as caught:
        connect(tmp_path)
    assert str(error).splitlines()[0] in str(caught.value)
    assert "long trace" not in str(caught.value)
    assert ray.__version__ in str(caught.value)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_address_where_nothing_listens_is_told_before_ray_tries_for_minutes(form, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = form.format(free.getsockname()[1])
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was asked"))
        with pytest.raises(UserError, match=rf"{address}: .*refused"):
            connect(tmp_path)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a private cluster by what is given for `ray.init`; returns all that this was asked."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")

    def started(init: Callable[[], object] = lambda: None) -> list[dict[str, Any]]:
        asked = []

        def record(**settings: object) -> None:
            asked.append({**settings, "folder": Path.cwd()})
            init()

        monkeypatch.setattr(ray, "init", record)
        connect(tmp_path)
        return asked

    return started


def test_private_cluster_has_no_dashboard_and_lives_in_the_scratch_folder(start, tmp_path):
    (asked,) = start()
    assert asked["folder"] == tmp_path != Path.cwd()  # processes of the cluster work there
    assert asked["address"] == "local"
    assert asked["include_dashboard"] is False
    # Ray opens its folder to everybody: not the private one itself.
    assert Path(asked["_temp_dir"]).parent == tmp_path


def test_private_cluster_that_listens_on_the_network_is_refused(start, monkeypatch):
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.4")
    with pytest.raises(UserError, match="listens on the network"):
        start()


@pytest.fixture
def joined(tmp_path, monkeypatch):
    """Join a cluster whose dashboard listens where it is told; returns the folder in which Ray was asked to."""
    asked_in = []

    def join(dashboard: str, mode: str = "") -> Path:
        def init(**_: object) -> types.SimpleNamespace:
            asked_in.append(Path.cwd())
            return types.SimpleNamespace(dashboard_url=dashboard)

        monkeypatch.setenv("RAY_ADDRESS", "auto")
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        monkeypatch.setattr(ray, "init", init)
        connect(tmp_path)
        return asked_in[0]

    return join


@pytest.mark.parametrize(("dashboard", "mode"), [("10.0.0.4:8265", ""), ("[fd00::4]:8265", "k8s"), ("head:8265", "")])
def test_cluster_whose_dashboard_is_open_to_the_network_is_refused(dashboard, mode, joined):
    with pytest.raises(UserError, match="without a token") as caught:
        joined(dashboard, mode)
    assert dashboard in str(caught.value)
    assert "RAY_AUTH_MODE=token" in str(caught.value)


@pytest.mark.parametrize(
    ("dashboard", "mode"),
    [("127.0.0.1:8265", ""), ("[::1]:8265", ""), ("", ""), ("10.0.0.4:8265", "token"), ("10.0.0.4:8265", "disabled")],
)
def test_cluster_with_a_token_or_a_closed_dashboard_is_joined(dashboard, mode, joined, tmp_path):
    assert joined(dashboard, mode) == tmp_path


@pytest.mark.parametrize(("address", "told"), [("10.0.0.1:6379", True), ("auto", True), ("ray://10.0.0.1:1", False)])
def test_ray_is_told_to_leave_our_folder_off_the_path_unless_it_does_so_itself(address, told, tmp_path, monkeypatch):
    """By ray:// what is asked must be JSON, which a job's configuration is not."""
    asked = {}

    def init(**settings: object) -> types.SimpleNamespace:
        asked.update(settings)
        return types.SimpleNamespace(dashboard_url="")

    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(resources, "_require_reachable", lambda _: None)
    monkeypatch.setattr(ray, "init", init)
    connect(tmp_path)
    assert ("job_config" in asked) == told


@pytest.mark.parametrize("words", ["The current node timed out during startup.\nlong trace", ""])
def test_private_cluster_that_does_not_start_is_told_in_words(words, start):
    def fail() -> None:
        raise Exception(words)

    with pytest.raises(UserError, match="could not start on this machine") as caught:
        start(fail)
    assert "long trace" not in str(caught.value)


def test_private_cluster_that_starts_too_slowly_is_started_again(start):
    outcomes = [Exception("The current node timed out during startup."), None]

    def fail_once() -> None:
        if error := outcomes.pop(0):
            raise error

    assert len(start(fail_once)) == 2
    assert outcomes == []


RECORDED = {"workers": 2, "cpus_per_worker": 1.5, "gpus_per_worker": 0.0, "tasks": 3, "precision": "bf16"}


def test_what_was_detected_when_the_run_began_is_recalled():
    found = recall(ComputeSettings(), {**RECORDED, "accumulation": 4, "loader_workers": 5, "max_failures": 6})
    assert found == ComputeSettings(workers=2, cpus_per_worker=1.5, tasks=3, precision="bf16", loader_workers=5)


def test_what_the_user_sets_is_not_recalled():
    asked = ComputeSettings(workers=1, cpus_per_worker=2, gpus_per_worker=1, tasks=9, precision="fp32")
    assert recall(asked, RECORDED) == asked


def test_run_whose_compute_was_not_recorded_detects_it_again():
    assert recall(ComputeSettings(tasks=2), {}) == ComputeSettings(tasks=2)
