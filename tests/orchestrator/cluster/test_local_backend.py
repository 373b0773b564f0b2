"""This process as the one that computes: what it refuses, what it fills in, and how its tasks fail."""

from __future__ import annotations

import os

import pytest
import torch

from domains.base.errors import DataError
from orchestrator.base.errors import StageFailed, UserError
from orchestrator.cluster.backend import backend_of
from orchestrator.cluster.local_backend import LocalBackend
from orchestrator.contract.settings import ComputeSettings
from orchestrator.mapreduce.tasks import run_tasks

HERE = ComputeSettings(backend="local")


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    return lambda there: monkeypatch.setattr(torch.cuda, "is_available", lambda: there)


def test_settings_name_who_computes():
    assert isinstance(backend_of(HERE), LocalBackend)
    assert not isinstance(backend_of(ComputeSettings()), LocalBackend)


def test_one_worker_of_one_core_is_filled_in(gpus):
    gpus(False)
    found = LocalBackend().resolve(ComputeSettings(backend="local", precision="fp32"))
    assert (found.workers, found.cpus_per_worker, found.gpus_per_worker) == (1, 1.0, 0.0)
    assert found.tasks == os.cpu_count()
    assert LocalBackend().resolve(found) == found


def test_a_gpu_is_used_where_there_is_one(gpus):
    gpus(True)
    found = LocalBackend().resolve(HERE)
    assert (found.workers, found.gpus_per_worker, found.tasks, found.precision) == (1, 1.0, 1, "bf16")


def test_a_run_that_had_a_gpu_is_refused_where_there_is_none(gpus):
    gpus(False)
    with pytest.raises(UserError, match=r"has 1 GPU, and this machine has none .*--fresh"):
        LocalBackend().resolve(ComputeSettings(backend="local", gpus_per_worker=1))


def test_workers_that_were_asked_for_become_micro_batches_of_one():
    asked = ComputeSettings(backend="local", workers=3, accumulation=2)
    found = LocalBackend().fitting(asked, most=3)
    assert (found.workers, found.accumulation) == (1, 6)


def test_tasks_give_results_in_order_and_have_one_thread_each():
    torch.set_num_threads(2)
    told: list[tuple[int, int]] = []

    def add(item: int) -> int:
        return item + torch.get_num_threads()

    found = run_tasks(add, [1, 2, 3], HERE, "add", lambda index, result: told.append((index, result)))
    assert found == [2, 3, 4]
    assert told == [(0, 2), (1, 3), (2, 4)]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (DataError("a.png is cut off"), UserError, "a.png is cut off"),
        (OSError("full"), StageFailed, "add: OSError: full"),
    ],
)
def test_a_task_fails_as_on_ray(error, kind, message):
    def meet(_item: int) -> int:
        raise error

    with pytest.raises(kind, match=message):
        run_tasks(meet, [1], HERE, "add")
