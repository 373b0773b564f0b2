"""The score without labels: closed forms, and what it prefers."""

from __future__ import annotations

import math

import pytest
import torch

from domains.metrics.transfer_score import prediction_sums, transfer_score


def logits(*classes: int, height: int = 2, width: int = 3, sure: float = 50.0, num_classes: int = 4) -> torch.Tensor:
    """Of an image whose cells are these classes, repeated."""
    cells = torch.tensor(classes * (height * width))[: height * width].view(height, width)
    return sure * torch.nn.functional.one_hot(cells, num_classes).permute(2, 0, 1).float()


def counts(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_sums_are_of_probabilities_and_of_entropies():
    torch.manual_seed(0)
    logits_Khw = torch.randn(5, 3, 4)
    sums = prediction_sums(logits_Khw)
    slow = torch.zeros(6, dtype=torch.float64)
    for row in range(3):
        for column in range(4):
            p = torch.distributions.Categorical(logits=logits_Khw[:, row, column].double())
            slow[:5] += p.probs
            slow[5] += p.entropy()
    torch.testing.assert_close(sums, slow)


def test_a_uniform_prediction_has_the_worst_entropy_and_the_mismatch_to_the_source():
    sums = prediction_sums(torch.zeros(4, 2, 2))
    assert transfer_score(sums, counts(*[10**12] * 4)) == pytest.approx(-1)
    share = counts(7, 1, 1, 1) * 10**12
    mismatch = sum(0.25 * math.log(0.25 / (s / 10)) for s in (7, 1, 1, 1))
    assert transfer_score(sums, share) == pytest.approx(-1 - mismatch / math.log(4))


def test_certainty_with_the_shares_of_the_source_is_the_best_there_is():
    sums = prediction_sums(logits(0, 0, 1)) + prediction_sums(logits(2, 3, 3))
    assert transfer_score(sums, counts(2, 1, 1, 2) * 10**12) == pytest.approx(0, abs=1e-9)
    assert transfer_score(sums, counts(1, 2, 2, 1) * 10**12) < -0.1


def test_calling_everything_the_commonest_class_is_worse_than_doubt():
    share = counts(60, 20, 15, 5) * 1000
    collapsed = transfer_score(prediction_sums(logits(0)), share)
    doubtful = transfer_score(prediction_sums(share.log().float()[:, None, None].expand(4, 2, 3) * 1.5), share)
    right = transfer_score(prediction_sums(logits(0, 0, 0, 1, 1, 2, height=2, width=6)), share)
    assert collapsed < right
    assert right > doubtful


def test_a_class_that_the_source_never_shows_is_unlikely_and_not_impossible():
    score = transfer_score(prediction_sums(logits(3)), counts(10, 10, 10, 0))
    assert math.isfinite(score)
    assert score == pytest.approx(-math.log(34) / math.log(4))
