"""The environment: one scratch folder, no secrets, and no dependence on git."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

import pytest

from orchestrator import environment


@pytest.fixture
def scratch_root(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(environment, "LONGEST_TEMP", 1000)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "HF_HOME", "HF_HUB_CACHE", "RAY_ADDRESS", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_every_cache_lies_in_one_scratch_folder(scratch_root):
    scratch = environment.prepare()
    assert scratch.parent == scratch_root
    for name in ("HF_HOME", "MPLCONFIGDIR"):
        assert os.environ[name].startswith(str(scratch))


@pytest.mark.parametrize(
    ("name", "value", "expected"), [("HF_HOME", "/mine", "/mine/hub"), ("XDG_CACHE_HOME", "/c", "/c/huggingface/hub")]
)
def test_weights_from_the_hub_stay_where_they_were_fetched_to(scratch_root, monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value)
    environment.prepare()
    assert os.environ["HF_HUB_CACHE"] == expected


@pytest.mark.parametrize(("folder", "used"), [("/scratch/me", "/scratch/me"), ("/scratch/" + "x" * 60, "/tmp")])
def test_temporary_folder_too_deep_for_sockets_is_not_used(folder, used, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", folder)
    assert environment.temporary() == used


def test_private_cluster_has_a_token_of_its_own_and_a_joined_one_decides_itself(scratch_root, monkeypatch):
    environment.prepare()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] == "0"
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    environment.prepare()
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert "RAY_AUTH_MODE" not in os.environ
    assert "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER" not in os.environ


def test_what_the_user_set_stays(scratch_root, monkeypatch):
    monkeypatch.setenv("HF_HOME", "mine")
    environment.prepare()
    assert os.environ["HF_HOME"] == "mine"


def test_relative_folders_of_the_python_path_mean_the_same_to_workers(scratch_root, monkeypatch):
    monkeypatch.chdir(scratch_root)
    monkeypatch.setenv("PYTHONPATH", f"here{os.pathsep}/there")
    environment.prepare()
    assert os.environ["PYTHONPATH"] == f"{scratch_root}/here{os.pathsep}/there"


def test_scratch_of_dead_processes_alone_is_removed(scratch_root):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone = scratch_root / f"segadapt-{child.pid}-abc"
    lives = [
        scratch_root / f"segadapt-{os.getpid()}-abc",
        scratch_root / "segadapt-mine-abc",
        scratch_root / "other-1-a",
    ]
    for folder in (gone, *lives):
        folder.mkdir()
    environment.remove_stale_scratch()
    assert not gone.exists()
    assert all(folder.exists() for folder in lives)


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
