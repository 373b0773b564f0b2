"""The door to whoever computes: Ray, or this process. What a run asks of them goes through here, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from orchestrator.cluster.resources import PATIENCE_S
from orchestrator.contract.settings import BackendSettings, ComputeSettings

Item = TypeVar("Item")
Result = TypeVar("Result")


class Backend(Protocol):
    """Who computes. An implementation holds no state: any process of a run may ask for one."""

    def resolve(self, compute: ComputeSettings, patience_s: float = PATIENCE_S) -> ComputeSettings:
        """Fill in zeros and "auto" from what there is, and wait until a worker has room.

        Args:
            compute: as the user gave it.
            patience_s: how long to wait, in seconds.

        Raises:
            UserError: there is less than a worker needs.
        """
        ...

    def cores_alone(self) -> ComputeSettings:
        """As many tasks at a time as there are cores, and no GPU: for work that only decodes."""
        ...

    def require_shared(self, folder: Path) -> None:
        """Check that all who compute see a folder of this machine and may write to it.

        Raises:
            UserError: some do not; they are named.
        """
        ...

    def run_tasks(
        self, function: Callable[[Item], Result], items: Sequence[Item], compute: ComputeSettings, name: str
    ) -> Iterator[tuple[int, Result]]:
        """Apply a function to every item; yields the item's index and the result as they come.

        Args:
            function: top-level function of an installed module; must be safe to run again after a crash.
            items: one a task.
            compute: as `resolve` filled it in.
            name: shown for these tasks where there is a place to show it.

        Raises:
            UserError: a task met data that cannot be used.
            StageFailed: a task failed.
        """
        ...

    def fitting(self, compute: ComputeSettings, most: int, patience_s: float = PATIENCE_S) -> ComputeSettings:
        """The workers that there is room for now, each with an equal share of the micro-batches of a step.

        Args:
            compute: of the run, as `resolve` filled it in; its workers are never exceeded.
            most: at most so many, at least 1.
            patience_s: how long to wait, in seconds, for what is there but busy.

        Raises:
            UserError: not even one worker fits.
        """
        ...

    def train(
        self,
        worker: Callable[[dict[str, Any]], None],
        config: dict[str, Any],
        compute: ComputeSettings,
        name: str,
        records: Path,
    ) -> None:
        """Carry a function out in a group of workers; returns when all of them ended well.

        Args:
            worker: what each of them carries out.
            config: its argument.
            compute: as `fitting` gave it: how many workers, and what each has.
            name: of the group.
            records: a folder that all workers see, for what is noted of the group; removed at its end.

        Raises:
            Lost: another try may go better.
            TooLate: so may one with fewer workers.
            Exception: what a worker raised, which would come again.
        """
        ...

    def label(self, name: str) -> AbstractContextManager[None]:
        """Show what goes on, where there is a place to show it."""
        ...

    def world_size(self) -> int:
        """The number of workers in the group of the worker that asks."""
        ...

    def notice(self) -> object:
        """The newest announcement that a machine of the group will end, None where there is none; asked by a worker."""
        ...


def backend_of(compute: BackendSettings) -> Backend:
    """Whom the settings name; nothing of the other one is imported."""
    if compute.backend == "local":
        from orchestrator.cluster.local_backend import LocalBackend

        return LocalBackend()
    from orchestrator.cluster.ray_backend import RayBackend

    return RayBackend()
