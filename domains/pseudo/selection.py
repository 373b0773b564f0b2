"""Class-balanced selection of pseudo-labels (CBST, Zou et al. 2018; schedule of CRST and DRSL).

A round reads every target image twice, a strip of rows at a time. First pass: `ConfidenceHistogram` of all
images, from which `thresholds` takes one confidence per class. Second pass: `pseudo_label`.

Shapes: K classes, H W pixels, h w feature grid, r rows of a strip. Label 255 is "no pseudo-label".

A `score_KHW` is a log-probability up to a constant per pixel: the logits of a single view are one, and so is
the logarithm of probabilities summed over views. Working on scores keeps confident pixels apart: the odds of
the winner come from the sum of the losers, never from 1 - p, so p = 1 - 1e-14 differs from p = 1 - 2e-14.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from domains.pseudo.scores import score_of_views, score_strips, upsampled_at
from losses.ignore import IGNORE

BINS = 16384
"""Bins per class: one holds under 1e-3 of a class's pixels unless the network is unsure (mean p below 0.5)."""
LOWEST, HIGHEST = -3.0, 32.0
"""Log-odds covered by the bins, more with many classes (`lowest`); uniform in log-odds, since trained networks crowd
against p = 1."""
_SLACK = 1e-4
"""Thresholds lie this much (in log-odds) below their bin: above float32 rounding, far below a bin."""
_LEAST_ODDS = 1e-34
"""Floor of the losers' odds, a normal float32: no pixel is certain, so a threshold of 1 admits none."""


def lowest(num_classes: int) -> float:
    """Where the bins begin: at `LOWEST`, with 22 classes and more at the log-odds of the uniform distribution.

    A winner has at least those, so no confidences share a bin that are far apart.
    """
    return min(LOWEST, -math.log(num_classes - 1))


def _width(num_classes: int) -> float:
    return (HIGHEST - lowest(num_classes)) / BINS


def confidence_log_odds(score_KHW: Tensor) -> tuple[Tensor, Tensor]:
    """Most probable class of each pixel, and the log-odds `log p / (1 - p)` of its probability p.

    Args:
        score_KHW: log-probabilities up to a constant per pixel, e.g. logits; K at least 2.

    Returns:
        label_HW, uint8, and log_odds_HW, float32, at most 78.
    """
    label_HW, _, losers_HW = _odds(score_KHW)
    return label_HW.to(torch.uint8), -losers_HW.log()


def _odds(score_KHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Winner, scores relative to it, and the summed probability of the losers in units of its own."""
    score_KHW = score_KHW.float()
    best_HW, label_HW = score_KHW.max(0)
    relative_KHW = score_KHW - best_HW
    losers_HW = relative_KHW.exp().scatter_(0, label_HW[None], 0).sum(0)
    return label_HW, relative_KHW, losers_HW.clamp(min=_LEAST_ODDS)


@dataclass(frozen=True)
class ConfidenceHistogram:
    """How many pixels were predicted as each class with which confidence; its size knows no image count.

    Histograms of parts of a target set add up to that of the whole, in any order.
    """

    counts: np.ndarray
    """int64 (K, BINS), bins uniform in log-odds on [lowest(K), HIGHEST], values beyond in the outer bins."""

    @classmethod
    def empty(cls, num_classes: int) -> ConfidenceHistogram:
        """A histogram of no pixels.

        Raises:
            ValueError: if `num_classes` is not in [2, 255].
        """
        if not 2 <= num_classes <= IGNORE:
            raise ValueError(f"num_classes must be between 2 and {IGNORE}, got {num_classes}")
        return cls(np.zeros((num_classes, BINS), np.int64))

    def add(self, label: Tensor, log_odds: Tensor) -> None:
        """Count the pixels of a strip or image, as `confidence_log_odds` returns them."""
        first, width = lowest(len(self.counts)), _width(len(self.counts))
        position = ((log_odds.float() - first) / width).clamp(0, BINS - 1).int()
        key = label.int() * BINS + position
        counts = torch.bincount(key.flatten(), minlength=self.counts.size)
        self.counts[...] += counts.cpu().numpy().reshape(self.counts.shape)

    def merge(self, other: ConfidenceHistogram) -> None:
        """Add the counts of another histogram to this one.

        Raises:
            ValueError: if the numbers of classes differ.
        """
        if len(self.counts) != len(other.counts):
            raise ValueError(f"cannot merge histograms of {len(self.counts)} and {len(other.counts)} classes")
        self.counts[...] += other.counts

    def __add__(self, other: ConfidenceHistogram) -> ConfidenceHistogram:
        """The histogram of both parts."""
        total = ConfidenceHistogram(self.counts.copy())
        total.merge(other)
        return total


def thresholds(histogram: ConfidenceHistogram, portion: float) -> np.ndarray:
    """Confidence that the most confident `portion` of the pixels predicted as each class reaches.

    It is the confidence at position `floor(portion * N_c)` of the descending list, counted from 1, rounded
    down to the edge of its bin; 1 if that position is 0, so that nothing of the class is taken.

    Args:
        histogram: the confidences of the whole target set.
        portion: share to take, in (0, 1]; with 1 every pixel is labelled.

    Returns:
        float64 (K,), probabilities in (0, 1].

    Raises:
        ValueError: if `portion` is not in (0, 1].
    """
    if not 0 < portion <= 1:
        raise ValueError(f"portion must be in (0, 1], got {portion}")
    reached = histogram.counts[:, ::-1].cumsum(axis=1)
    # 0.29 * 100 is 28.999... in floating point; the list position is 29.
    position = np.floor(portion * reached[:, -1] + 1e-6)
    bin_K = BINS - 1 - (reached < position[:, None]).sum(axis=1)
    return np.where(position > 0, _lower_edges(len(histogram.counts))[bin_K], 1.0)


def _lower_edges(num_classes: int) -> np.ndarray:
    """Probability at the lower edge of every bin, a hair below it so that no counted pixel is lost."""
    log_odds = lowest(num_classes) + _width(num_classes) * np.arange(BINS) - _SLACK
    edges = np.nextafter(1 / (1 + np.exp(-log_odds)), 0)
    # The first bin also holds what lies below it; a winner has at least the uniform probability.
    edges[0] = min(edges[0], (1 - 1e-5) / num_classes)
    return edges


def select(score_KHW: Tensor, threshold_K: np.ndarray, softness: float = 0.0) -> Tensor:
    """Label each pixel with the class that exceeds its threshold most, if one does.

    `argmax_c P_c / k_c`, kept where the maximum is at least 1. The division can change the class: a rare
    class with a low threshold wins over a more probable one.

    With a softness a > 0 the label stands for the soft one of `soft_label`, and is kept where that costs less than
    no label: `sum_c -y_c log P_c + a sum_c y_c log y_c < sum_c -y_c log k_c` (CRST's LRENT). With the closed form
    of y this is `sum_c (P_c / k_c)^(1/a) > 1`, which for a -> 0 is the rule above.

    Args:
        score_KHW: log-probabilities up to a constant per pixel, e.g. logits.
        threshold_K: probabilities in (0, 1], as of `thresholds`; 1 admits nothing by itself.
        softness: alpha of LRENT (paper: 0.25), 0 for hard labels.

    Returns:
        label_HW, uint8, 255 where nothing was selected.

    Raises:
        ValueError: if the thresholds do not fit the classes or are not in (0, 1].
    """
    if len(threshold_K) != len(score_KHW):
        raise ValueError(f"got {len(threshold_K)} thresholds for {len(score_KHW)} classes")
    if not ((threshold_K > 0) & (threshold_K <= 1)).all():
        raise ValueError(f"thresholds must be in (0, 1], got {threshold_K}")
    _, relative_KHW, losers_HW = _odds(score_KHW)
    log_threshold_K = torch.from_numpy(np.log(threshold_K)).to(relative_KHW)
    # log1p keeps the winner's own log-probability exact down to 1e-34, where log_softmax would give 0.
    log_prob_KHW = relative_KHW - losers_HW.log1p()
    ratio_KHW = log_prob_KHW - log_threshold_K[:, None, None]
    excess_HW, label_HW = ratio_KHW.max(0)
    if softness > 0:
        return label_HW.where((ratio_KHW / softness).logsumexp(0) > 0, IGNORE).to(torch.uint8)
    return label_HW.where(excess_HW >= 0, IGNORE).to(torch.uint8)


def pseudo_label(
    views: Sequence[Tensor], size: tuple[int, int], threshold_K: np.ndarray, rows: int = 64, softness: float = 0.0
) -> Tensor:
    """Pseudo-label of one whole image: `select` on every strip of `score_strips`.

    Returns:
        label_HW, uint8, on the device of the views.
    """
    return torch.cat([select(score_KrW, threshold_K, softness) for _, score_KrW in score_strips(views, size, rows)])


@dataclass(frozen=True)
class SoftLabel:
    """The soft pseudo-label of one image (CRST's LRENT): `y_c` proportional to `(P_c / k_c)^(1/a)`.

    Kept as the low-resolution logits it follows from, since full-size probabilities of every image fill disks.
    """

    views: Sequence[Tensor]
    """logits_Khw of each view, a mirrored view mirrored back."""
    size: tuple[int, int]
    """H, W of the image."""
    threshold_K: np.ndarray
    softness: float
    """a above 0."""

    def at(self, rows_R: Tensor, columns_C: Tensor) -> Tensor:
        """Probabilities K x R x C, float32, at the crossings of these rows and columns of the image."""
        score_KRC = score_of_views([upsampled_at(view, self.size, rows_R, columns_C) for view in self.views])
        log_threshold_K = torch.from_numpy(np.log(self.threshold_K)).to(score_KRC)
        # The softmax over classes leaves out what is the same for all, so scores serve as log-probabilities.
        return ((score_KRC - log_threshold_K[:, None, None]) / self.softness).softmax(0)


def portion_of_round(round_index: int, initial: float = 0.2, step: float = 0.05, maximum: float = 0.5) -> float:
    """Portion of the target pixels that a self-training round labels: `initial + step * round`, capped.

    Args:
        round_index: 0 for the first round.
        initial: portion of the first round.
        step: growth a round.
        maximum: cap.

    Raises:
        ValueError: if the round is negative or a portion is not in (0, 1].
    """
    if round_index < 0:
        raise ValueError(f"round must be at least 0, got {round_index}")
    if not 0 < initial <= maximum <= 1 or step < 0:
        raise ValueError(
            f"need 0 < initial <= maximum <= 1 and step >= 0, got initial {initial}, step {step}, maximum {maximum}"
        )
    return min(round(initial + step * round_index, 9), maximum)


@dataclass(frozen=True)
class SelfEntropy:
    """Sum of per-pixel entropies, each in units of that of the uniform distribution; adds up over images."""

    total: float = 0.0
    pixels: int = 0

    def __add__(self, other: SelfEntropy) -> SelfEntropy:
        """Entropy of both parts."""
        return SelfEntropy(self.total + other.total, self.pixels + other.pixels)

    @property
    def percent(self) -> float:
        """Mean in [0, 100]: 0 is certain, 100 uniform; NaN of no pixels."""
        return 100 * self.total / self.pixels if self.pixels else float("nan")


def self_entropy(score_KHW: Tensor) -> SelfEntropy:
    """Normalised entropy of the predictions of a strip or image, a measure of doubt that needs no labels.

    Args:
        score_KHW: log-probabilities up to a constant per pixel, e.g. logits; K at least 2.
    """
    num_classes = len(score_KHW)
    entropy_HW = torch.special.entr(score_KHW.float().softmax(0)).sum(0) / np.log(num_classes)
    return SelfEntropy(entropy_HW.sum(dtype=torch.float64).item(), entropy_HW.numel())
