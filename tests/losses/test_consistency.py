from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from losses.consistency import Negative, mode_consistency
from losses.ignore import IGNORE


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_hardest(target: np.ndarray, source: np.ndarray, groups: list[tuple[int, int]], margin: float) -> float:
    """Source point i is the only one of group i, so positives are fixed."""
    losses = []
    for anchor, (label, mode) in zip(target, TARGET_GROUPS, strict=True):
        if (label, mode) in groups and label != IGNORE:
            pull = ((anchor - source[groups.index((label, mode))]) ** 2).sum()
            push = min(
                ((anchor - s) ** 2).sum() for s, (c, _) in zip(source, groups, strict=True) if c not in (label, IGNORE)
            )
            losses.append(max(0.0, pull - push + margin))
    return sum(losses) / len(losses)


SOURCE_GROUPS = [(0, 0), (0, 2), (1, 1), (3, 0), (IGNORE, 0)]
TARGET_GROUPS = [(0, 0), (0, 1), (1, 1), (3, 0), (0, 2), (IGNORE, 0), (2, 0)]


def example() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = seeded(6)
    target = torch.randn(len(TARGET_GROUPS), 4, generator=generator, dtype=torch.float64)
    source = torch.randn(len(SOURCE_GROUPS), 4, generator=generator, dtype=torch.float64)
    return target, *torch.tensor(TARGET_GROUPS).T, source, *torch.tensor(SOURCE_GROUPS).T  # pyright: ignore


@pytest.mark.parametrize("margin", [0.0, 1.0, 20.0])
def test_hardest_negative_equals_the_slow_definition(margin: float) -> None:
    case = example()
    wanted = slow_hardest(case[0].numpy(), case[3].numpy(), SOURCE_GROUPS, margin)
    loss = mode_consistency(*case, margin=margin, generator=seeded(), negative="hardest")
    assert loss.item() == pytest.approx(wanted)


def test_random_negative_of_two_classes_has_one_choice() -> None:
    target = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    source = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    classes, modes = torch.tensor([4, 7]), torch.tensor([2, 0])
    loss = mode_consistency(target, classes, modes, source, classes, modes, 10.0, seeded())
    assert loss.item() == pytest.approx(((1 - 9 + 10) + (5 - 1 + 10)) / 2)


def draws_of_one_anchor(label_S: list[int], mode_S: list[int], negative: Negative = "random") -> Tensor:
    """How often each source point is positive (+) or negative (-) of an anchor of class 0, mode 1; shares.

    With one-hot source points around an anchor at 0 the gradient counts the draws.
    """
    times = 6000
    source = torch.eye(len(label_S), dtype=torch.float64, requires_grad=True)
    anchors = torch.zeros(times, len(label_S), dtype=torch.float64)
    label, mode = torch.zeros(times, dtype=torch.int64), torch.ones(times, dtype=torch.int64)
    groups = torch.tensor(label_S), torch.tensor(mode_S)
    loss = mode_consistency(anchors, label, mode, source, *groups, 5.0, seeded(), negative)
    (gradient,) = torch.autograd.grad(loss, source)
    return gradient.diagonal() / 2


def test_positive_is_uniform_over_the_points_of_class_and_mode() -> None:
    share = draws_of_one_anchor([0, 5, 0, 0, 0, IGNORE], [1, 1, 1, 0, 1, 1])
    assert share[[0, 2, 4]].tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert share[[1, 3, 5]].tolist() == pytest.approx([-1, 0, 0])


def test_negative_is_uniform_over_other_classes_then_over_their_points() -> None:
    label = [9, 0, 2, 9, 9, IGNORE, 9, 4]
    share = draws_of_one_anchor(label, [0, 1, 2, 0, 1, 1, 2, 1])
    assert share[1].item() == pytest.approx(1)
    assert share[[2, 7]].tolist() == pytest.approx([-1 / 3] * 2, abs=0.03)
    assert share[[0, 3, 4, 6]].tolist() == pytest.approx([-1 / 12] * 4, abs=0.02)
    assert share[5] == 0


def test_every_class_is_stepped_over_for_its_own_anchors() -> None:
    classes = torch.tensor([1, 3, 254])
    embedding = torch.eye(3, dtype=torch.float64)
    for own in range(3):
        anchors = embedding[own].expand(500, 3)
        label, mode = classes[own].expand(500), torch.zeros(500, dtype=torch.int64)
        loss = mode_consistency(anchors, label, mode, embedding, classes, classes * 0, 5.0, seeded())
        assert loss.item() == pytest.approx(0 - 2 + 5)


def test_gradient_is_right() -> None:
    target, target_label, target_mode, source, source_label, source_mode = example()
    for negative in ("random", "hardest"):

        def loss(t: Tensor, s: Tensor, negative: Negative = negative) -> Tensor:
            groups = target_label, target_mode, s, source_label, source_mode
            return mode_consistency(t, *groups, 9.0, seeded(), negative)

        assert torch.autograd.gradcheck(loss, (target.requires_grad_(), source.requires_grad_()))


def test_detached_source_keeps_the_value_and_stops_its_gradient() -> None:
    case = example()
    case[0].requires_grad_()
    case[3].requires_grad_()
    free = mode_consistency(*case, margin=9.0, generator=seeded())
    stopped = mode_consistency(*case, margin=9.0, generator=seeded(), detach_source=True)
    to_target, to_source = torch.autograd.grad(stopped, (case[0], case[3]), allow_unused=True)
    assert stopped.item() == free.item()
    assert to_source is None
    assert to_target.abs().sum() > 0


@pytest.mark.parametrize("negative", ["random", "hardest"])
@pytest.mark.parametrize(
    "source_groups",
    [
        [(0, 5), (1, 5)],  # no common mode
        [(0, 0), (0, 1)],  # no other class
        [(0, 0), (IGNORE, 1)],  # the only other class is ignore
        [(IGNORE, 0), (IGNORE, 1)],
        [],
    ],
)
def test_anchor_without_both_partners_contributes_nothing(
    source_groups: list[tuple[int, int]], negative: Negative
) -> None:
    target = torch.randn(3, 2, generator=seeded(), requires_grad=True)
    source = torch.randn(len(source_groups), 2, generator=seeded(1))
    source_label, source_mode = torch.tensor(source_groups, dtype=torch.int64).reshape(-1, 2).T
    label, mode = torch.zeros(3, dtype=torch.int64), torch.tensor([0, 0, 1])
    loss = mode_consistency(target, label, mode, source, source_label, source_mode, 9.0, seeded(), negative)
    (gradient,) = torch.autograd.grad(loss, target)
    assert loss == 0
    assert gradient.eq(0).all()


def test_same_generator_state_gives_the_same_loss() -> None:
    case = example()
    runs = [mode_consistency(*case, margin=9.0, generator=seeded(s)).item() for s in (1, 1, 2, 3, 4)]
    assert runs[0] == runs[1]
    assert len(set(runs)) > 1


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="negative must be one of random, hardest"):
        mode_consistency(*example(), margin=1.0, generator=seeded(), negative="easy")  # pyright: ignore
    with pytest.raises(ValueError, match="margin must be at least 0"):
        mode_consistency(*example(), margin=-1.0, generator=seeded())
