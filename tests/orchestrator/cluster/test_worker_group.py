"""A group of workers: what is started with it, and which of its errors would come again."""

from __future__ import annotations

import pytest
from ray.train import ControllerError, WorkerGroupError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from orchestrator.base.errors import Lost, TooLate
from orchestrator.cluster import worker_group
from orchestrator.contract.settings import ComputeSettings
from orchestrator.train import loop

DIVERGED = loop.Diverged("loss is not finite")


def callbacks(trainer: type[TorchTrainer]) -> list[str]:
    return [type(hook).__name__ for hook in trainer(lambda: None)._create_default_callbacks()]


def test_of_what_ray_starts_by_itself_only_the_unused_is_left_out():
    usual = callbacks(TorchTrainer)
    assert set(worker_group.UNUSED) < set(usual)
    assert callbacks(worker_group.Trainer) == [name for name in usual if name not in worker_group.UNUSED]


@pytest.mark.parametrize(
    ("cause", "late"), [(WorkerGroupStartupTimeoutError(num_workers=2), True), (RuntimeError("lost"), False)]
)
def test_a_group_that_has_no_room_is_told_from_one_that_failed(cause, late):
    assert worker_group.came_too_late(ControllerError(cause)) is late
    assert not worker_group.came_too_late(cause)


def test_of_several_workers_the_one_whose_error_would_come_again_is_blamed():
    try:
        raise RuntimeError("from Ray") from loop.Diverged("loss is not finite")
    except RuntimeError as error:
        wrapped = error
    found = worker_group.innermost(WorkerGroupError("two failed", {0: ConnectionError("lost a peer"), 1: wrapped}))
    assert isinstance(found, loop.Diverged)
    assert isinstance(worker_group.innermost(WorkerGroupError("one failed", {0: OSError("gone")})), OSError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (WorkerGroupError("failed", {0: DIVERGED}), loop.Diverged),
        (WorkerGroupError("failed", {0: OSError("gone")}), Lost),
        (ControllerError(WorkerGroupStartupTimeoutError(num_workers=2)), TooLate),
    ],
)
def test_a_failed_group_says_whether_another_try_may_go_better(error, kind, monkeypatch, tmp_path):
    def fit(_trainer: TorchTrainer) -> None:
        raise error

    monkeypatch.setattr(worker_group.Trainer, "fit", fit)
    records = tmp_path / ".ray"
    records.mkdir()
    with pytest.raises(kind) as caught:
        worker_group.train(lambda _: None, {}, ComputeSettings(workers=2, cpus_per_worker=1), "run-stage", records)
    assert type(caught.value) is kind
    assert caught.value is DIVERGED or caught.value.__cause__ is not None
    assert not records.exists()
