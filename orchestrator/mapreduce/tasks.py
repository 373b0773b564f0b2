"""Tasks over a list of work items, by whoever computes (`orchestrator.cluster.backend`), and results in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from domains.stores.arrow import intact_digest
from orchestrator.base.errors import StageFailed
from orchestrator.cluster.backend import backend_of
from orchestrator.contract.settings import ComputeSettings

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_tasks(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    compute: ComputeSettings,
    name: str,
    on_result: Callable[[int, Result], None] = lambda _index, _result: None,
) -> list[Result]:
    """Apply a function to every item, in tasks.

    Args:
        function: top-level function of an installed module; must be safe to run again after a crash.
        items: one a task.
        compute: how many at a time, and with what.
        name: shown for these tasks where there is a place to show it.
        on_result: called in this process as results arrive.

    Returns:
        Results in the order of the items.

    Raises:
        UserError: a task met data that cannot be used.
        StageFailed: a task failed, also when it was run again.
    """
    results: list[Any] = [None] * len(items)
    for index, result in backend_of(compute).run_tasks(function, items, compute, name):
        results[index] = result
        on_result(index, result)
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
