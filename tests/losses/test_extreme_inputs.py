"""No loss and no gradient is NaN or infinite, however sure a network is, or where all that it sees is alike."""

from __future__ import annotations

import ast
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from losses import entropy, segmentation
from losses.adversarial import discriminator_loss, domain_loss
from losses.consistency import mode_consistency
from losses.cycle import cycle_loss, identity_loss
from losses.distance import squared_distances
from losses.ignore import IGNORE
from losses.mixture import mixture_cross_entropy
from losses.triplet import triplet_to_modes

K, SIDE = 3, 4
GAPS = (0.0, 104.0, 1e4, -1e4)
"""By which class 0 lies above the others; exp(-104) is the first to be 0 in float32."""
LABELS = {
    "right": torch.zeros(1, SIDE, SIDE, dtype=torch.int64),
    "wrong": torch.ones(1, SIDE, SIDE, dtype=torch.int64),
    "ignored": torch.full((1, SIDE, SIDE), IGNORE),
}


def on_logits(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda input: sum((loss(input, label) for label in LABELS.values()), start=input.new_zeros(()))


def soft(logits: Tensor, label: Tensor) -> Tensor:
    certain = torch.zeros_like(logits)
    certain[:, 0] = 1
    return segmentation.soft_cross_entropy(logits, certain, label)


def on_distances(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Of points at and far from the modes: embeddings are the input, modes a part of it."""

    def found(input: Tensor) -> Tensor:
        points = input.flatten(2)[0].T
        distance = squared_distances(points, points[:K, None].detach())
        return on_logits(lambda value, label: loss(value, label.flatten()))(distance)

    return found


def consistent(input: Tensor) -> Tensor:
    points = input.flatten(2)[0].T
    label, mode = torch.arange(len(points)) % 2, torch.zeros(len(points), dtype=torch.int64)
    draw = Generator().manual_seed(0)
    losses = [
        mode_consistency(points, label, mode, points.flip(0), label, mode, 1.0, draw, negative)
        for negative in ("random", "hardest")
    ]
    return losses[0] + losses[1]


LOSSES: dict[str, list[Callable[[Tensor], Tensor]]] = {
    "cross_entropy": [
        on_logits(lambda x, y: segmentation.cross_entropy(x, y)),
        on_logits(lambda x, y: segmentation.cross_entropy(x, y, "all")),
    ],
    "soft_cross_entropy": [on_logits(soft)],
    "kl_to_uniform": [on_logits(entropy.kl_to_uniform)],
    "negative_entropy": [on_logits(entropy.negative_entropy)],
    "normalised_entropy": [entropy.normalised_entropy],
    "self_information": [lambda x: (entropy.self_information(x) * torch.arange(1, K + 1)[:, None, None]).sum()],
    "domain_loss": [
        lambda x, s=source, k=kind: domain_loss(x, s, k)
        for source, kind in product((True, False), ("vanilla", "least_squares"))
    ],
    "discriminator_loss": [lambda x: discriminator_loss(x, x.flip(1))],
    "cycle_loss": [lambda x: cycle_loss(x, x.detach(), x, x.flip(1).detach())],
    "identity_loss": [lambda x: identity_loss(x, x.detach(), x, x.flip(1).detach())],
    "squared_distances": [on_distances(lambda distance, _: distance.mean())],
    "triplet_to_modes": [
        on_distances(lambda distance, label, kind=kind: triplet_to_modes(distance, label, 1.0, kind))
        for kind in ("squared", "euclidean")
    ],
    "mixture_cross_entropy": [
        on_distances(lambda d, label, p=posterior, m=modes: mixture_cross_entropy(d, label, 0.5, p, m))
        for posterior, modes in product(("normalised", "raw", "softmax_of_prob"), ("max", "sum"))
    ],
    "mode_consistency": [consistent],
}
"""Each on all values of its options."""
NO_LOSSES = {"nearest_mode", "reduce_labels", "stratified_points", "point_coordinates"}
PIECES = {"numeric", "ignore"}
"""Modules that losses are made of."""


def test_every_public_function_of_the_losses_is_here():
    found = set()
    for path in Path(entropy.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and path.stem not in PIECES
        }
    assert found == LOSSES.keys() | NO_LOSSES


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_are_finite(name, gap, dtype):
    for loss in LOSSES[name]:
        logits = torch.zeros(1, K, SIDE, SIDE, dtype=dtype)
        logits[:, 0] = gap
        logits[:, :, 0] = torch.rand(1, K, SIDE, generator=Generator().manual_seed(0)).to(dtype)  # not all pixels alike
        logits.requires_grad_()
        value = loss(logits)
        assert torch.isfinite(value)
        (gradient,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(gradient).all()
