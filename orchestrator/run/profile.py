"""What training steps and predicted images cost: the seconds of each, and the most memory that the process held."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.base.files import read_json, write_json

if TYPE_CHECKING:
    import torch

FILE = "cost.json"


class Cost(NamedTuple):
    """What a process noted."""

    seconds: list[float]
    """Of each step or image."""
    peak_bytes: int
    """On the GPU where there is one, else of the whole process."""


class Meter:
    """Counts in one process from now on."""

    def __init__(self, device: torch.device | None = None) -> None:
        self._gpu = device is not None and device.type == "cuda"
        self._last, self._seconds = time.perf_counter(), []

    def tick(self) -> None:
        """A step or an image is done."""
        if self._gpu:
            import torch

            torch.cuda.synchronize()
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        self._last = now

    def write(self, folder: Path) -> None:
        """Write what was counted among the outputs of a stage."""
        write_json(folder / FILE, Cost(self._seconds, self._peak())._asdict())

    def _peak(self) -> int:
        if self._gpu:
            import torch

            return torch.cuda.max_memory_reserved()
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def read_cost(folder: Path) -> Cost:
    """What `Meter.write` wrote."""
    return Cost(**read_json(folder / FILE))
