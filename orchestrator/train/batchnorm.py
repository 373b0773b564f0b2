"""BatchNorm synchronisation: running averages of a group of workers are those of one that sees all micro-batches.

Each worker's averages would else follow its own images alone, and a model would depend on how many workers there were.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNormSync:
    """Averages that all workers agree on after every micro-batch.

    With momentum m, the f forward passes over a micro-batch take averages r to y = d r + x, where d = (1 - m)^f. One
    worker that sees the micro-batches of ranks 0 ... W - 1 in turn reaches d^W r + sum_k d^(W-1-k) x_k. That is

        r + sum_k d^(W-1-k) (y_k - r).

    Args:
        networks: those that learn; of their layers, the ones whose averages move.
        accelerator: of the group.
    """

    def __init__(self, networks: Iterable[nn.Module], accelerator: Accelerator) -> None:
        self._accelerator, self._world = accelerator, accelerator.num_processes
        layers = [layer for network in networks for layer in network.modules() if isinstance(layer, _BatchNorm)]
        self._averages: list[Tensor] = []
        self._passes: list[Tensor] = []
        kept, channels = [], []
        for layer in layers if self._world > 1 else ():
            mean, variance, passes = layer.running_mean, layer.running_var, layer.num_batches_tracked
            if layer.training and mean is not None and variance is not None and passes is not None:
                assert layer.momentum is not None, "a cumulative average has no momentum to share"
                self._averages += [mean, variance]
                self._passes.append(passes)
                kept.append(1 - layer.momentum)
                channels.append(2 * len(mean))
        self._kept = torch.tensor(kept, device=accelerator.device)
        self._channels = torch.tensor(channels, dtype=torch.int64, device=accelerator.device)
        self._before = self._begun = torch.empty(0)

    @torch.no_grad()
    def remember(self) -> None:
        """Called before a micro-batch."""
        if self._averages:
            self._before, self._begun = torch.cat(self._averages), torch.stack(self._passes)

    @torch.no_grad()
    def merge(self) -> None:
        """Called after a micro-batch, by every worker."""
        if not self._averages:
            return
        passes = torch.stack(self._passes) - self._begun
        weight = self._kept ** (passes * (self._world - 1 - self._accelerator.process_index))
        weights = weight.repeat_interleave(self._channels, output_size=len(self._before))
        moved = self._accelerator.reduce((torch.cat(self._averages) - self._before) * weights, "sum")
        assert isinstance(moved, Tensor)
        after = torch.split(self._before + moved, [len(value) for value in self._averages])
        counts = torch.unbind(self._begun + passes * self._world)
        for value, now in zip([*self._averages, *self._passes], [*after, *counts], strict=True):
            value.copy_(now)
