"""The environment: a closed cluster, caches in one place, no secrets, and no dependence on git."""

from __future__ import annotations

import json
import os

import pytest

from orchestrator.cluster import environment

LOCAL = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", environment.MEETING)
OPEN = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_AUTH_TOKEN": "a" * 64,
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
    "RAY_enable_metrics_collection": "1",
    "GLOO_SOCKET_IFNAME": "eth0",
    "NCCL_SOCKET_IFNAME": "eth0",
}


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    for name in (
        "HF_HOME",
        "HF_HUB_CACHE",
        "MPLCONFIGDIR",
        "TORCHINDUCTOR_CACHE_DIR",  # which torch sets where a test before this one compiled something
        *LOCAL,
        *(name for name in os.environ if name.startswith("RAY_")),
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_every_cache_lies_in_the_scratch_folder(scratch):
    environment.prepare(scratch)
    for name in ("HF_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR"):
        assert os.environ[name].startswith(f"{scratch}/")


@pytest.mark.parametrize(
    ("name", "value", "expected"), [("HF_HOME", "/mine", "/mine/hub"), ("XDG_CACHE_HOME", "/c", "/c/huggingface/hub")]
)
def test_weights_from_the_hub_stay_where_they_were_fetched_to(scratch, monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value)
    environment.prepare(scratch)
    assert os.environ["HF_HUB_CACHE"] == expected


def test_private_cluster_has_a_token_of_its_own_and_a_joined_one_decides_itself(scratch, monkeypatch):
    assert environment.prepare(scratch) == []
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    for name in (names := ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", *LOCAL)):
        assert name in os.environ
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert environment.prepare(scratch) == []
    assert not set(names) & set(os.environ)


@pytest.mark.parametrize("name", OPEN)
def test_setting_that_opens_a_cluster_does_not_count_for_a_private_one_and_is_told(name, scratch, monkeypatch):
    environment.prepare(scratch)
    closed = {name: os.environ[name] for name in OPEN}
    for each in (*OPEN, environment.MEETING):
        monkeypatch.delenv(each)
    monkeypatch.setenv(name, OPEN[name])
    assert environment.prepare(scratch) == [name]
    now = {name: os.environ[name] for name in OPEN}
    assert len({closed.pop("RAY_AUTH_TOKEN"), now.pop("RAY_AUTH_TOKEN"), OPEN["RAY_AUTH_TOKEN"]}) == 3
    assert now == closed


def test_settings_of_a_cluster_that_is_joined_stay(scratch, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    for name, value in OPEN.items():
        monkeypatch.setenv(name, value)
    assert environment.prepare(scratch) == []
    assert {name: os.environ[name] for name in OPEN} == OPEN


def test_what_the_user_set_stays(scratch, monkeypatch):
    monkeypatch.setenv("HF_HOME", "mine")
    environment.prepare(scratch)
    assert os.environ["HF_HOME"] == "mine"


def test_relative_folders_of_the_python_path_mean_the_same_to_workers(scratch, monkeypatch):
    monkeypatch.chdir(scratch)
    monkeypatch.setenv("PYTHONPATH", f"here{os.pathsep}/there")
    environment.prepare(scratch)
    assert os.environ["PYTHONPATH"] == f"{scratch}/here{os.pathsep}/there"


def test_description_holds_versions_and_no_environment_variable(monkeypatch):
    monkeypatch.setenv("MY_SECRET_TOKEN", "hunter2")
    text = json.dumps(environment.describe())
    assert "hunter2" not in text
    assert "torch" in text


def test_revision_is_unknown_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment._git_revision() == "unknown"


def test_changes_are_those_of_versions_and_revision():
    was = {"python": "3.11", "packages": {"ray": "1", "torch": "2"}, "git_revision": "a", "cpu_cores": 2}
    now = {"python": "3.11", "packages": {"ray": "1", "torch": "3"}, "git_revision": "b", "cpu_cores": 8}
    assert environment.changes(was, now) == ["torch 2, now 3", "git_revision a, now b"]
    assert environment.changes(was, was) == []
    assert environment.changes({}, {}) == []
