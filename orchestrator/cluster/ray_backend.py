"""Ray: workers by Ray Train, tasks, and all machines of a cluster."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.base.errors import StageFailed, failure
from orchestrator.cluster import elastic, resources, shared_storage
from orchestrator.cluster.resources import PATIENCE_S
from orchestrator.contract.settings import ComputeSettings

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 3
"""Times a task is run again after its process died or storage failed."""


class RayBackend:
    """See `orchestrator.cluster.backend.Backend`; joined or started by `orchestrator.cluster.session`."""

    def resolve(self, compute: ComputeSettings, patience_s: float = PATIENCE_S) -> ComputeSettings:
        """From what the connected cluster has (`resources.resolve`)."""
        return resources.resolve(compute, patience_s)

    def cores_alone(self) -> ComputeSettings:
        """The cores of the connected cluster."""
        return resources.cores_alone()

    def require_shared(self, folder: Path) -> None:
        """Ask all nodes of the connected cluster (`shared_storage`)."""
        shared_storage.require_shared(folder)

    def run_tasks(
        self, function: Callable[[Item], Result], items: Sequence[Item], compute: ComputeSettings, name: str
    ) -> Iterator[tuple[int, Result]]:
        """In parallel tasks, with a bounded number in flight; one whose process dies is run again, up to `RETRIES`."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        gpus = min(1.0, compute.workers * compute.gpus_per_worker / compute.tasks)
        options: dict[str, Any] = {"num_gpus": gpus, "max_retries": RETRIES, "retry_exceptions": [OSError]}
        # By the cluster's free resources, also where a trial of a search, which holds next to none, starts them.
        options["scheduling_strategy"] = "DEFAULT"
        remote = ray.remote(num_cpus=1, **options)(function)
        waiting = list(enumerate(items))[::-1]
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < compute.tasks:
                index, item = waiting.pop()
                running[remote.options(name=name).remote(item)] = index
            done, _ = ray.wait(list(running))
            for reference in done:
                index = running.pop(reference)
                try:
                    result = ray.get(reference)
                except RayTaskError as error:
                    raise failure(name, error.cause) from error
                except RayError as error:
                    raise StageFailed(f"{name}: {error}") from error
                yield index, result

    def fitting(self, compute: ComputeSettings, most: int, patience_s: float = PATIENCE_S) -> ComputeSettings:
        """As many as the connected cluster carries (`elastic.fitting`)."""
        return elastic.fitting(compute, most, patience_s)

    def train(
        self,
        worker: Callable[[dict[str, Any]], None],
        config: dict[str, Any],
        compute: ComputeSettings,
        name: str,
        records: Path,
    ) -> None:
        """By Ray Train (`worker_group.train`)."""
        from orchestrator.cluster.worker_group import train

        train(worker, config, compute, name, records)

    @contextlib.contextmanager
    def label(self, name: str) -> Iterator[None]:
        """Show a name in the dashboard of the cluster that RAY_ADDRESS names; one of a run's own has no dashboard.

        Ray Train calls the workers of every stage RayTrainWorker and gives none of its actors or tasks a name of ours;
        the name of its run is in no view of the dashboard. So an actor that does nothing bears it.
        """
        if not os.environ.get("RAY_ADDRESS"):
            yield
            return
        import ray

        # By the cluster's free resources, also where a trial of a search, which holds next to none, starts it.
        options = {"name": name, "num_cpus": 0, "scheduling_strategy": "DEFAULT"}
        shown = None
        with contextlib.suppress(ValueError):  # one of this name, of a stage that was cut off, is not gone yet
            shown = ray.remote(**options)(Training).remote()
        try:
            yield
        finally:
            del shown  # the last handle: with it the actor goes

    def world_size(self) -> int:
        """As Ray Train says it."""
        import ray.train

        return ray.train.get_context().get_world_size()

    def notice(self) -> object:
        """As the cluster's manager tells Ray, which takes milliseconds to answer (1.5, with two workers 5)."""
        import ray.train

        return ray.train.get_preemption_info()


class Training:
    """The dashboard lists its class and the name that it is given."""
