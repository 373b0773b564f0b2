"""Everything in this process: no cluster, one training worker, one task after the other.

The numbers are those of one worker on Ray, to the last bit. Ray is not even imported.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.base.errors import UserError, failure
from orchestrator.cluster.elastic import micro_batches
from orchestrator.cluster.resources import PATIENCE_S, filled_in
from orchestrator.contract.settings import ComputeSettings

Item = TypeVar("Item")
Result = TypeVar("Result")

LEAVING_S = 5.0
"""How long a training that nobody waits for any more may take to notice it."""


class LocalBackend:
    """See `orchestrator.cluster.backend.Backend`."""

    def resolve(self, compute: ComputeSettings, patience_s: float = PATIENCE_S) -> ComputeSettings:
        """Fill in zeros and "auto" from this machine: one worker, where no other number is asked for."""
        import torch

        gpus = 1.0 if torch.cuda.is_available() else 0.0
        if compute.gpus_per_worker and not gpus:
            raise UserError(
                f"A training worker of this run has {compute.gpus_per_worker:g} GPU, and this machine has none that "
                "can be used: go on where there is one, or start a new run (--fresh) without --compute.gpus_per_worker."
            )
        return filled_in(dataclasses.replace(compute, workers=compute.workers or 1), float(os.cpu_count() or 1), gpus)

    def cores_alone(self) -> ComputeSettings:
        """One task at a time."""
        return ComputeSettings(backend="local", workers=1, tasks=1)

    def require_shared(self, folder: Path) -> None:
        """Nothing: whoever computes is here."""

    def run_tasks(
        self, function: Callable[[Item], Result], items: Sequence[Item], compute: ComputeSettings, name: str
    ) -> Iterator[tuple[int, Result]]:
        """One after the other, with the one thread that a task on Ray has."""
        import torch

        torch.set_num_threads(1)
        for index, item in enumerate(items):
            try:
                result = function(item)
            except Exception as error:
                raise failure(name, error) from error
            yield index, result

    def fitting(self, compute: ComputeSettings, most: int, patience_s: float = PATIENCE_S) -> ComputeSettings:
        """One worker, which accumulates the micro-batches of all."""
        return dataclasses.replace(compute, workers=1, accumulation=micro_batches(compute))

    def train(
        self,
        worker: Callable[[dict[str, Any]], None],
        config: dict[str, Any],
        compute: ComputeSettings,
        name: str,
        records: Path,
    ) -> None:
        """Carry the function out in the thread that asks."""
        from accelerate.state import AcceleratorState

        # A worker on Ray is a new process; here the training before may have had another device or precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        with _ended_with_the_process():
            worker(config)

    def label(self, name: str) -> contextlib.nullcontext[None]:
        """Nothing: there is no dashboard."""
        return contextlib.nullcontext()

    def world_size(self) -> int:
        """One."""
        return 1

    def notice(self) -> None:
        """None: whoever ends this machine ends this process, by a signal."""


@contextlib.contextmanager
def _ended_with_the_process() -> Iterator[None]:
    """Where the process ends before this thread, have the thread end first: in the middle of a step it would crash."""
    thread = threading.current_thread()

    def end() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        thread.join(LEAVING_S)

    atexit.register(end)
    try:
        yield
    finally:
        atexit.unregister(end)
