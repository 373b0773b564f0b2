"""Cross-domain mode consistency, "stochastic mode alignment" (DRSL+, Eq. 6).

Shapes: N target points (anchors), S source points, D embedding dimension. Label 255 is ignored.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from losses.distance import squared_distances
from losses.ignore import IGNORE
from losses.numeric import at_least_float32, check_choice, masked_mean, uniform_index

Negative = Literal["random", "hardest"]
_KEY_STRIDE = 1 << 16
"""Sort key of a point = class * stride + mode, so the points of one mode, and of one class, lie together."""
_ANCHOR_CHUNK = 1024
"""Anchors compared with all source points at a time when the hardest negative is sought."""


def mode_consistency(
    target_ND: Tensor,
    target_label_N: Tensor,
    target_mode_N: Tensor,
    source_SD: Tensor,
    source_label_S: Tensor,
    source_mode_S: Tensor,
    margin: float,
    generator: Generator,
    negative: Negative = "random",
    detach_source: bool = False,
) -> Tensor:
    """Pull each target point to a source point of its class and mode, push it from one of another class.

    `mean_a ReLU( |e_t - e_s+|^2 - |e_t - e_s-|^2 + margin )` over the anchors `a` that have both partners.
    The positive is drawn uniformly from the source points of the anchor's class and mode. "A random different
    class" is read as: uniformly one of the other classes present among the source points, so that a rare
    class counts as much as a frequent one; then uniformly one of its points.

    Args:
        target_ND: target embeddings, the anchors.
        target_label_N: their pseudo-labels, 255 = ignore.
        target_mode_N: their nearest modes, as of `nearest_mode`.
        source_SD: source embeddings.
        source_label_S: their labels, 255 = ignore.
        source_mode_S: their nearest modes.
        margin: >= 0, a squared distance.
        generator: draws the partners; on any device.
        negative: "random" as above, or "hardest": the nearest source point of another class.
        detach_source: stop the gradient into the source embeddings.

    Returns:
        A scalar >= 0; exactly 0 with zero gradient if no anchor has both partners.

    Raises:
        ValueError: if `negative` is unknown or `margin` is negative.
    """
    check_choice("negative", negative, get_args(Negative))
    if margin < 0:
        raise ValueError(f"margin must be at least 0, got {margin}")
    target_ND = at_least_float32(target_ND)
    source_SD = at_least_float32(source_SD.detach() if detach_source else source_SD)
    if not len(source_SD):
        return target_ND.sum() * 0
    groups = _SourceGroups.of(source_label_S, source_mode_S)
    target_label_N = target_label_N.long()
    positive = groups.positive(target_label_N, target_mode_N, generator)
    other = groups.other_class(target_label_N, generator)
    if negative == "hardest":
        other = other._replace(index_N=_hardest(target_ND, target_label_N, source_SD, source_label_S))
    pull_N = (target_ND - source_SD.index_select(0, positive.index_N)).square().sum(1)
    push_N = (target_ND - source_SD.index_select(0, other.index_N)).square().sum(1)
    valid_N = (target_label_N != IGNORE) & positive.found_N & other.found_N
    return masked_mean(F.relu(pull_N - push_N + margin), valid_N)


class _Partners(NamedTuple):
    """One source index for every anchor, and whether there was one to choose."""

    index_N: Tensor
    found_N: Tensor


class _SourceGroups(NamedTuple):
    """Source points sorted by class and mode, so that each group is a range found by bisection."""

    key_S: Tensor
    order_S: Tensor
    present: Tensor
    """int64 of length 256: 1 for each class that some source point has; ignore is not a class."""

    @classmethod
    def of(cls, label_S: Tensor, mode_S: Tensor) -> _SourceGroups:
        label_S = label_S.long()
        key_S, order_S = (label_S * _KEY_STRIDE + mode_S).sort()
        present = torch.zeros(IGNORE + 1, dtype=torch.int64, device=label_S.device)
        present = present.scatter(0, label_S, 1)
        present[IGNORE] = 0
        return cls(key_S, order_S, present)

    def _draw(self, first_key_N: Tensor, end_key_N: Tensor, generator: Generator) -> _Partners:
        """Draw uniformly from the points whose key lies in [first, end)."""
        start_N = torch.searchsorted(self.key_S, first_key_N)
        count_N = torch.searchsorted(self.key_S, end_key_N) - start_N
        position_N = (start_N + uniform_index(count_N, generator)).clamp(max=len(self.key_S) - 1)
        return _Partners(self.order_S[position_N], count_N > 0)

    def positive(self, label_N: Tensor, mode_N: Tensor, generator: Generator) -> _Partners:
        """A source point of the same class and mode."""
        key_N = label_N * _KEY_STRIDE + mode_N
        return self._draw(key_N, key_N + 1, generator)

    def other_class(self, label_N: Tensor, generator: Generator) -> _Partners:
        """A source point of a class drawn uniformly from the other classes present."""
        seen = self.present.cumsum(0)
        own_N = self.present[label_N]
        others_N = seen[-1] - own_N
        rank_N = uniform_index(others_N, generator)
        # Ranks number the present classes; from the anchor's own class on, step over it.
        rank_N = rank_N + own_N * (rank_N >= seen[label_N] - 1)
        class_N = torch.searchsorted(seen, rank_N, right=True)
        drawn = self._draw(class_N * _KEY_STRIDE, (class_N + 1) * _KEY_STRIDE, generator)
        return drawn._replace(found_N=others_N > 0)


@torch.no_grad()
def _hardest(target_ND: Tensor, label_N: Tensor, source_SD: Tensor, source_label_S: Tensor) -> Tensor:
    """Index of the nearest source point of another class; arbitrary where there is none."""
    nearest = []
    for anchor_ND, anchor_N in zip(target_ND.split(_ANCHOR_CHUNK), label_N.split(_ANCHOR_CHUNK), strict=True):
        distance_NS = squared_distances(anchor_ND, source_SD.unsqueeze(0)).squeeze(1)
        barred_NS = (anchor_N.unsqueeze(1) == source_label_S) | (source_label_S == IGNORE)
        nearest.append(distance_NS.masked_fill(barred_NS, float("inf")).argmin(1))
    return torch.cat(nearest)
