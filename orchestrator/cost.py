"""What training steps cost: the seconds of each, and the most memory that the worker held."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import torch

from orchestrator.files import read_json, write_json

FILE = "cost.json"


class Meter:
    """Runs in a worker from its first micro-batch on."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"
        self._ticks: list[float] = []
        self.tick()

    def tick(self) -> None:
        """A step has ended."""
        if self._gpu:
            torch.cuda.synchronize()
        self._ticks.append(time.perf_counter())

    def write(self, folder: Path) -> None:
        """Write the costs among the outputs of a stage."""
        seconds = [after - before for before, after in zip(self._ticks, self._ticks[1:], strict=False)]
        write_json(folder / FILE, {"seconds": seconds, "peak_bytes": self._peak(), "gpu": self._gpu})

    def _peak(self) -> int:
        """Bytes on the GPU, or those of the whole process."""
        if self._gpu:
            return torch.cuda.max_memory_reserved()
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def read_cost(folder: Path) -> tuple[list[float], int] | None:
    """Seconds of each step and the peak in bytes, None for a stage that does not train."""
    if not (folder / FILE).exists():
        return None
    found = read_json(folder / FILE)
    return found["seconds"], found["peak_bytes"]
