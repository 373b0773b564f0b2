"""Workers of a group hold the same weights: looked at as training goes on, since nothing else would show it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from orchestrator.base.errors import StageFailed


class Parted(StageFailed):
    """The workers of a group no longer hold the same weights."""


def require_same(networks: Mapping[str, nn.Module], accelerator: Accelerator) -> None:
    """Compare the weights of all workers by a sum of each network; called by all of them after the same step.

    Of a network that gets no gradients, buffers are compared too: what changes it may change these alone.

    Gradients that are not averaged, or a change that one worker alone makes, would go on unseen: the loss looks as it
    always does, and each worker trains a network of its own.

    Args:
        networks: by name.
        accelerator: of the group.

    Raises:
        Parted: the sums differ; the networks are named.
    """
    if accelerator.num_processes == 1:
        return
    sums_N = torch.stack([_checksum(network, accelerator.device) for network in networks.values()])
    gathered = accelerator.gather(sums_N[None])
    assert isinstance(gathered, Tensor)
    differing = [name for name, sums_W in zip(networks, gathered.unbind(1), strict=True) if len(sums_W.unique()) > 1]
    if differing:
        raise Parted(
            f"the {accelerator.num_processes} workers hold different weights of {', '.join(differing)}; "
            "what they trained since the last checkpoint is not used"
        )


def _checksum(network: nn.Module, device: torch.device) -> Tensor:
    """The sum of all weights, in float64; each tensor is weighed by its place, so that none can stand for another."""
    total = torch.zeros((), dtype=torch.float64, device=device)
    learns = any(parameter.requires_grad for parameter in network.parameters())
    for place, value in enumerate(network.parameters() if learns else network.state_dict().values(), 1):
        total += value.detach().sum(dtype=torch.float64) * (1 + 1 / place)
    return total
