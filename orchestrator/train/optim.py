"""How weights follow their gradients: optimisers, schedules, and the updates between the losses of a step."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, LinearLR, LRScheduler, PolynomialLR, SequentialLR

from orchestrator.contract.method import Method
from orchestrator.contract.settings import OptimiserSettings
from orchestrator.train.finite import norm

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
POSITIONS = re.compile(r"(^|[._])(pos(ition(al)?)?_(embed|encoding|bias)|relative_position)")
"""In the names of parameters that stand for places in the image, as timm and transformers call them."""


def make_optimiser(method: Method, name: str, network: nn.Module, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """The optimiser of one network, with the method's parameter groups."""
    groups = method.parameter_groups(name, network, settings.lr, settings.head_multiplier)
    if not settings.decay_norms:
        groups = _without_decay(groups, network)
    lr, decay = settings.lr, settings.weight_decay
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=settings.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, lr=lr, betas=(settings.momentum, settings.beta2), weight_decay=decay)


def make_schedule(optimiser: torch.optim.Optimizer, settings: OptimiserSettings, steps: int) -> LRScheduler:
    """The learning-rate schedule, stepped once an optimiser step."""
    if settings.warmup_steps:
        return LambdaLR(optimiser, lambda done: rate(settings, done, steps))
    if settings.schedule == "poly":
        return PolynomialLR(optimiser, total_iters=max(1, steps), power=settings.power)
    constant = ConstantLR(optimiser, factor=1.0, total_iters=1)
    if settings.schedule == "constant":
        return constant
    kept = int(settings.constant_share * steps)
    falling = LinearLR(optimiser, start_factor=1.0, end_factor=0.0, total_iters=max(1, steps - kept))
    return SequentialLR(optimiser, [constant, falling], milestones=[kept])


def rate(settings: OptimiserSettings, done: int, steps: int) -> float:
    """The learning rate of a step as a multiple of `settings.lr`, warm-up included.

    Args:
        settings: of the optimiser.
        done: steps before it.
        steps: that the schedule runs over.
    """
    warm = min(1.0, done / settings.warmup_steps) if settings.warmup_steps else 1.0
    factor = settings.warmup_ratio + (1 - settings.warmup_ratio) * warm
    if settings.schedule == "poly":
        return factor * (1 - min(done / max(1, steps), 1.0)) ** settings.power
    if settings.schedule == "constant":
        return factor
    kept = int(settings.constant_share * steps)
    return factor * (1 - min(max(0, done - kept) / max(1, steps - kept), 1.0))


def _without_decay(groups: list[dict[str, Any]], network: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups of which normalisation and positions stand apart, without weight decay."""
    apart = {id(p) for layer in network.modules() if isinstance(layer, NORMS) for p in layer.parameters()}
    apart |= {id(p) for name, p in network.named_parameters() if POSITIONS.search(name)}
    found = []
    for group in groups:
        parameters = list(group["params"])
        kept = [p for p in parameters if id(p) not in apart]
        still = [p for p in parameters if id(p) in apart]
        found += [{**group, "params": kept}] if kept else []
        found += [{**group, "params": still, "weight_decay": 0.0}] if still else []
    return found


class Updates:
    """The optimisers of a stage's networks, which may step one after the other within a step.

    In fp16 the losses are scaled. The gradients of a network are divided by the scale once, before its own update, and
    the scale is renewed once, when all networks of the step are updated. Accelerate's optimisers renew it after each
    network: then the next ones divide twice, or step by gradients of another scale.

    Args:
        networks: by name.
        optimisers: one for each network.
        scaler: of the losses, in fp16; else None.
        clip: largest norm of the gradients of networks that step together; 0: any.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        optimisers: Mapping[str, torch.optim.Optimizer],
        scaler: torch.amp.GradScaler | None,
        clip: float,
    ) -> None:
        self._parameters = {name: list(network.parameters()) for name, network in networks.items()}
        self._optimisers, self._scaler, self._clip = optimisers, scaler, clip

    def prepare(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Make the gradients of some networks ready for their update.

        Returns:
            The norm of the gradients of each network, before clipping. Empty in fp16, where the scaler itself
            leaves out an update with gradients that overflowed.
        """
        found: dict[str, Tensor] = {}
        for name in names:
            gradients = [p.grad for p in self._parameters[name] if p.grad is not None]
            if self._scaler is None and gradients:
                found[f"gradient of {name}"] = norm(gradients)
            if self._scaler is not None and gradients and self._clip:
                self._scaler.unscale_(self._optimisers[name])
        if self._clip:
            torch.nn.utils.clip_grad_norm_([p for name in names for p in self._parameters[name]], self._clip)
        return found

    def apply(self, names: Sequence[str]) -> None:
        """Update some networks and clear their gradients."""
        for name in names:
            optimiser = self._optimisers[name]
            if self._scaler is None:
                optimiser.step()
            elif any(p.grad is not None for p in self._parameters[name]):
                self._scaler.step(optimiser)
            optimiser.zero_grad()

    def renew_scale(self) -> None:
        """Called once, after all updates of a step."""
        if self._scaler is not None:
            self._scaler.update()
