"""Exponential moving average of a network's weights (Mean Teacher, Tarvainen and Valpola 2017, sec. 2)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


def ramped(decay: float, step: int) -> float:
    """How much of an average is kept after a step: its plain mean over the first steps, `decay` from then on.

    Args:
        decay: largest share, in [0, 1].
        step: optimiser steps that are done, from 1.

    Returns:
        min(1 - 1 / (step + 1), decay).
    """
    return min(1 - 1 / (step + 1), decay)


@torch.no_grad()
def update_average(
    average: nn.Module,
    network: nn.Module,
    kept: float,
    buffers: Literal["copied", "averaged", "left"] = "copied",
) -> None:
    """Move an average towards a network: kept * average + (1 - kept) * network, for every parameter.

    Args:
        average: is changed in place.
        network: of the same build.
        kept: share of the average that stays, in [0, 1].
        buffers: running statistics: those of the network, averaged like parameters (whole numbers are copied), or left
            as they are.

    Raises:
        ValueError: if the networks differ in the names or shapes of what they hold.
    """
    moved: dict[str, Tensor] = dict(average.named_parameters())
    towards: dict[str, Tensor] = dict(network.named_parameters())
    mine, theirs = dict(average.named_buffers()), dict(network.named_buffers())
    for own, other in ((moved, towards), (mine, theirs)):
        if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in other.items()}:
            raise ValueError(f"an average of {type(average).__name__} cannot follow {type(network).__name__}")
    if buffers != "left":
        for name, value in mine.items():
            if buffers == "averaged" and value.is_floating_point():
                moved[name], towards[name] = value, theirs[name]
            else:
                value.copy_(theirs[name])
    for name, value in moved.items():
        value.lerp_(towards[name], 1 - kept)
