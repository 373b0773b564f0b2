"""Parallel Ray tasks over a list of work items, with a bounded number in flight and results in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from domains.base.errors import DataError
from domains.stores.arrow import intact_digest
from orchestrator.base.errors import StageFailed, UserError
from orchestrator.contract.settings import ComputeSettings

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 3
"""Times a task is run again after its process died or storage failed."""


def run_tasks(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    compute: ComputeSettings,
    name: str,
    on_result: Callable[[int, Result], None] = lambda _index, _result: None,
) -> list[Result]:
    """Apply a function to every item in Ray tasks.

    Args:
        function: top-level function of an installed module; must be safe to run again after a crash.
        items: one a task.
        compute: how many at a time, and with what.
        name: shown for these tasks in Ray's dashboard.
        on_result: called in this process as results arrive.

    Returns:
        Results in the order of the items.

    Raises:
        UserError: a task met data that cannot be used.
        StageFailed: a task failed more than `RETRIES` times.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    gpus = min(1.0, compute.workers * compute.gpus_per_worker / compute.tasks)
    options: dict[str, Any] = {"num_gpus": gpus, "max_retries": RETRIES, "retry_exceptions": [OSError]}
    # By the cluster's free resources, also where a trial of a search, which holds next to none, starts them.
    options["scheduling_strategy"] = "DEFAULT"
    remote = ray.remote(num_cpus=1, **options)(function)
    results: list[Any] = [None] * len(items)
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
                results[index] = ray.get(reference)
            except RayTaskError as error:
                if isinstance(error.cause, DataError):
                    raise UserError(str(error.cause)) from error
                raise StageFailed(f"{name}: {type(error.cause).__name__}: {error.cause}") from error
            except RayError as error:
                raise StageFailed(f"{name}: {error}") from error
            on_result(index, results[index])
    return results


def written_digest(path: Path, origin: Mapping[str, str]) -> str:
    """The sha256 of a file that a task has written, for a manifest.

    Raises:
        StageFailed: it is no longer what the task wrote. In a manifest it would be refused for ever.
    """
    digest = intact_digest(path, origin)
    if digest is None:
        raise StageFailed(f"{path} is damaged as soon as it is written.")
    return digest


def split(count: int, parts: int, largest: int = 64) -> list[range]:
    """Cut 0 ... count - 1 into contiguous ranges of near-equal length, at least `parts`, none above `largest`."""
    parts = max(1, min(count, max(parts, -(-count // largest))))
    bounds = [count * i // parts for i in range(parts + 1)]
    return [range(a, b) for a, b in pairwise(bounds)]
