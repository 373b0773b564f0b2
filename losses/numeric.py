"""Small pieces that every loss needs: precision, masked means, uniform draws, checks of choices."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Generator, Tensor

_DRAW_BITS = 40


def at_least_float32(value: Tensor) -> Tensor:
    """Upcast half precision to float32; leave float32 and float64 as they are."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Arithmetic in the types that are written, whatever the caller's; tensors on "meta", without values, have none."""
    return nullcontext() if tensor.is_meta else torch.autocast(tensor.device.type, enabled=False)


def masked_mean(value_N: Tensor, valid_N: Tensor) -> Tensor:
    """Mean over the valid entries; exactly 0, with zero gradient, where none is valid.

    The shape is static: invalid entries are zeroed, never removed, so the device is not waited for.
    """
    return value_N.masked_fill(~valid_N, 0).sum() / valid_N.sum().clamp(min=1)


def uniform_index(count: Tensor, generator: Generator) -> Tensor:
    """Draw one integer uniformly from [0, count) for every entry of `count`.

    Integers, because a float32 draw times a count can round up to the count itself.

    Args:
        count: int64, any shape; 0 yields 0.
        generator: source of randomness, on any device.

    Returns:
        int64 of the shape of `count`; the bias is below count / 2**40.
    """
    draw = torch.randint(1 << _DRAW_BITS, count.shape, generator=generator, device=generator.device)
    return draw.to(count.device, non_blocking=True) % count.clamp(min=1)


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ValueError if `value` is not one of the `choices` of the option `name`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
