"""A group of workers by Ray Train: one attempt at something with it, and what its errors mean."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from orchestrator.base.errors import Lost, StageFailed, TooLate
from orchestrator.cluster.placement_groups import remove_leaked_placement_groups
from orchestrator.cluster.rendezvous import Rendezvous
from orchestrator.contract.settings import ComputeSettings

FINAL = (
    StageFailed,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    AssertionError,
    torch.OutOfMemoryError,
)
"""Errors that would come again: the stage stops at once. Any other, such as a lost process, is worth another try."""
UNUSED = ("DatasetsCallback", "PlacementGroupCleanerCallback")
"""What Ray Train adds to each group, each with a process of its own that takes longer to start than a small stage
trains. One deals out Ray's data sets, of which there are none here. The other frees what a killed controller held, but
asks the dashboard for that, which a private cluster has not: `orchestrator.cluster.placement_groups` does it."""


class Trainer(TorchTrainer):
    """Ray Train's trainer without what is not used here; by names, so that another Ray at worst starts too much."""

    def _create_default_callbacks(self) -> list[Any]:
        return [hook for hook in super()._create_default_callbacks() if type(hook).__name__ not in UNUSED]


def train(
    worker: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    compute: ComputeSettings,
    name: str,
    records: Path,
) -> None:
    """Carry a function out in as many workers as the settings say; see `orchestrator.cluster.backend.Backend`."""
    resources = {"CPU": compute.cpus_per_worker}
    if compute.gpus_per_worker:
        resources["GPU"] = compute.gpus_per_worker
    # Ray's own record of the run decides nothing here: it has a name of its own each time and is removed at the end.
    # Checkpoints and resuming are those of `orchestrator.train.checkpoints`.
    try:
        remove_leaked_placement_groups()
        Trainer(
            worker,
            train_loop_config=config,
            torch_config=Rendezvous(),
            scaling_config=ScalingConfig(
                num_workers=compute.workers, use_gpu=compute.gpus_per_worker > 0, resources_per_worker=resources
            ),
            run_config=RunConfig(
                name=f"{name}-{time.time_ns()}",
                storage_path=str(records),
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            ),
        ).fit()
    except Exception as error:
        cause = innermost(error)
        if isinstance(cause, FINAL):
            raise cause from None
        raise (TooLate() if came_too_late(error) else Lost()) from cause
    finally:
        shutil.rmtree(records, ignore_errors=True)


def came_too_late(error: BaseException) -> bool:
    """Whether the cluster did not have the group's workers within the time that Ray waits for them."""
    return isinstance(error, ControllerError) and isinstance(error.controller_failure, WorkerGroupStartupTimeoutError)


def innermost(error: BaseException) -> BaseException:
    """The exception at the bottom of Ray's wrappers."""
    if isinstance(error, WorkerGroupError) and error.worker_failures:
        causes = [innermost(failure) for failure in error.worker_failures.values()]
        # Where one worker meets an error, the others may fail for having lost it.
        return next((cause for cause in causes if isinstance(cause, FINAL)), causes[0])
    while error.__cause__ is not None:
        error = error.__cause__
    return error
