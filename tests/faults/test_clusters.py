"""A cluster that is too small, or not there at all, is told in words."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import ray

from orchestrator.cluster.resources import connect


@pytest.fixture
def silent_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_cluster_with_too_few_cores_is_told_with_both_amounts(desk, tiny, cluster):
    words = [*tiny(compute__cpus_per_worker=3), "--name", "too large"]
    printed = desk.start("drsl", *words, env={"RAY_ADDRESS": cluster.address}).ends(2)
    assert "3 CPU needed, 2 free of 2" in printed
    assert "--compute.cpus_per_worker" in printed
    assert "Traceback" not in printed


def test_cluster_that_is_not_there_is_told(desk, tiny, silent_address):
    words = [*tiny(), "--name", "nowhere"]
    printed = desk.start("drsl", *words, env={"RAY_ADDRESS": silent_address}).ends(2)
    assert f"Cannot join the Ray cluster at {silent_address}" in printed
    assert "RAY_ADDRESS" in printed
    assert "Traceback" not in printed


def test_workers_of_a_cluster_do_not_look_for_packages_where_it_was_joined(cluster, tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.chdir(tmp_path)
    connect(tmp_path / "scratch")
    try:
        path = ray.get(ray.remote(lambda: [os.path.realpath(folder) for folder in sys.path]).remote())
    finally:
        ray.shutdown()
    assert "site-packages" in " ".join(path)
    assert [folder for folder in path if Path(folder).is_relative_to(tmp_path)] == []


def test_cluster_that_others_started_is_left_running(cluster):
    assert cluster.head.process.poll() is None
    assert any(process.name() == "raylet" for process in cluster.processes())
