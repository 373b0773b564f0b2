"""The workers of a group agree on whether to stop: at the same step, and soon enough for a machine that ends."""

from __future__ import annotations

import time

import torch
from accelerate import Accelerator
from torch import Tensor

ASK_S = 1.0
"""Seconds, about, between two questions: each makes the workers wait for each other for some milliseconds."""
MOST_STEPS = 100
"""Steps between two questions at most, since later steps may be slower than those that were timed."""


class Agreement:
    """Asks all workers whether one of them wants to stop, about once a second.

    How long steps take is averaged over the workers, so all of them ask next at the same step.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._steps, self._every, self._asked = 0, 1, time.monotonic()

    def due(self) -> bool:
        """Called after every step: whether to ask now."""
        self._steps += 1
        return self._steps >= self._every

    def ask(self, wish: bool) -> bool:
        """Whether any worker has the wish; called by all of them after the same step."""
        seconds = (time.monotonic() - self._asked) / max(1, self._steps)
        told = torch.tensor([float(wish), seconds], device=self._accelerator.device)
        reduced = self._accelerator.reduce(told, "mean")
        assert isinstance(reduced, Tensor)
        share, seconds = reduced.tolist()
        self._every = max(1, min(MOST_STEPS, int(ASK_S / max(seconds, 1e-6))))
        self._steps, self._asked = 0, time.monotonic()
        return share > 0
