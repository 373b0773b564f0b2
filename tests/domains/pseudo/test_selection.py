from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from domains.pseudo import scores, selection
from domains.pseudo.selection import ConfidenceHistogram
from losses.ignore import IGNORE


def logits(classes: int = 6, sharpness: float = 3.0, seed: int = 0, size: tuple[int, int] = (60, 80)) -> Tensor:
    """Scores with frequent and rare classes; `sharpness` sets how confident they are."""
    generator = torch.Generator().manual_seed(seed)
    score_KHW = torch.randn(classes, *size, generator=generator) * sharpness
    return score_KHW - torch.arange(classes)[:, None, None] * sharpness / 4


def histogram_of(score_KHW: Tensor) -> ConfidenceHistogram:
    histogram = ConfidenceHistogram.empty(len(score_KHW))
    histogram.add(*selection.confidence_log_odds(score_KHW))
    return histogram


def exact_thresholds(prob_KHW: np.ndarray, portion: float) -> np.ndarray:
    """CBST as published: sort the confidences of each predicted class."""
    label, confidence = prob_KHW.argmax(0), prob_KHW.max(0)
    result = np.ones(len(prob_KHW))
    for c in range(len(prob_KHW)):
        ranked = np.sort(confidence[label == c])[::-1]
        position = math.floor(portion * len(ranked) + 1e-6)
        if position:
            result[c] = ranked[position - 1]
    return result


def exact_selection(prob_KHW: np.ndarray, threshold_K: np.ndarray) -> np.ndarray:
    weighted = prob_KHW / threshold_K[:, None, None]
    return np.where(weighted.max(0) >= 1, weighted.argmax(0), IGNORE)


# Confidence


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 8.0])
def test_log_odds_equal_those_of_the_softmax_in_float64(sharpness: float) -> None:
    score = logits(sharpness=sharpness)
    label, log_odds = selection.confidence_log_odds(score)
    sorted_prob = score.double().softmax(0).sort(0).values
    wanted = sorted_prob[-1].log() - sorted_prob[:-1].sum(0).log()
    assert label.dtype == torch.uint8
    assert label.equal(score.argmax(0).to(torch.uint8))
    assert log_odds.dtype == torch.float32
    assert (log_odds - wanted).abs().max() < 1e-4


def test_log_odds_tell_apart_probabilities_that_round_to_one() -> None:
    gap = torch.tensor([30.0, 30.1, 31.0, 32.0])
    _, log_odds = selection.confidence_log_odds(torch.stack((gap, gap * 0, gap * 0))[:, None])
    torch.testing.assert_close(log_odds[0], gap - math.log(2))
    views = torch.stack((gap, gap * 0, gap * 0))[:, None]
    _, averaged = next(scores.score_strips([views, views], (1, 4)))
    torch.testing.assert_close(selection.confidence_log_odds(averaged)[1], log_odds)


def test_log_odds_of_a_certain_pixel_are_finite() -> None:
    _, log_odds = selection.confidence_log_odds(torch.tensor([[[500.0]], [[0.0]]]))
    assert 78 < log_odds.item() < 79


# Histogram


def test_histogram_counts_each_pixel_once_in_its_class() -> None:
    score = logits()
    histogram = histogram_of(score)
    assert histogram.counts.shape == (6, selection.BINS)
    assert histogram.counts.sum(1).tolist() == torch.bincount(score.argmax(0).flatten(), minlength=6).tolist()


def test_values_beyond_the_range_fall_into_the_outer_bins() -> None:
    histogram = ConfidenceHistogram.empty(2)
    histogram.add(torch.tensor([0, 0, 1], dtype=torch.uint8), torch.tensor([-9.0, 70.0, 0.0]))
    assert histogram.counts[0, [0, -1]].tolist() == [1, 1]
    assert np.flatnonzero(histogram.counts[1]).tolist() == [int(3 / 35 * selection.BINS)]


def test_merging_is_associative_and_commutative_and_equals_the_whole() -> None:
    scores = [logits(seed=s) for s in range(3)]
    a, b, c = (histogram_of(s) for s in scores)
    whole = histogram_of(torch.cat(scores, 1))
    for total in ((a + b) + c, a + (b + c), c + a + b):
        assert (total.counts == whole.counts).all()
    assert a.counts.sum() == 4800
    a.merge(b)
    assert a.counts.sum() == 9600


def test_histogram_travels_as_plain_numbers() -> None:
    histogram = histogram_of(logits())
    copy = pickle.loads(pickle.dumps(histogram))
    assert (copy.counts == histogram.counts).all()
    assert copy.counts.dtype == np.int64


def test_bad_histograms_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes must be between 2 and 255, got 256"):
        ConfidenceHistogram.empty(256)
    with pytest.raises(ValueError, match="histograms of 2 and 3 classes"):
        ConfidenceHistogram.empty(2).merge(ConfidenceHistogram.empty(3))


# Thresholds


@pytest.mark.parametrize(("sharpness", "error"), [(0.5, 5e-3), (3.0, 1e-3), (8.0, 1e-3), (15.0, 1e-3)])
@pytest.mark.parametrize("portion", [0.2, 0.5])
def test_threshold_selects_the_share_that_an_exact_sort_selects(sharpness: float, error: float, portion: float) -> None:
    score = logits(sharpness=sharpness, size=(300, 400))
    label, log_odds = (x.numpy() for x in selection.confidence_log_odds(score))
    threshold = selection.thresholds(histogram_of(score), portion)
    for c in range(6):
        ranked = np.sort(log_odds[label == c].astype(np.float64))[::-1]
        position = math.floor(portion * len(ranked) + 1e-6)
        surplus = (ranked >= math.log(threshold[c] / (1 - threshold[c]))).sum() - position
        assert 0 <= surplus <= max(error * len(ranked), 3)


def test_threshold_is_at_the_counted_position_of_the_descending_list() -> None:
    histogram = ConfidenceHistogram.empty(2)
    histogram.add(torch.zeros(10, dtype=torch.uint8), torch.arange(10.0))
    width = 35 / selection.BINS
    for portion, log_odds in ((0.1, 9), (0.19, 9), (0.3, 7), (0.7, 3), (1.0, 0)):
        threshold = selection.thresholds(histogram, portion)[0]
        assert log_odds - 1.1 * width < math.log(threshold / (1 - threshold)) <= log_odds


def test_position_does_not_fall_to_a_rounding_of_the_portion() -> None:
    histogram = ConfidenceHistogram.empty(2)
    histogram.add(torch.zeros(100, dtype=torch.uint8), torch.arange(100.0) / 5)
    assert 0.29 * 100 < 29
    threshold = selection.thresholds(histogram, 0.29)[0]
    assert math.log(threshold / (1 - threshold)) < 71 / 5


def test_class_without_a_position_has_threshold_one() -> None:
    histogram = ConfidenceHistogram.empty(3)
    histogram.add(torch.zeros(4, dtype=torch.uint8), torch.ones(4))
    assert selection.thresholds(histogram, 0.2).tolist() == [1, 1, 1]
    assert selection.thresholds(histogram, 0.25)[0] < 1


@pytest.mark.parametrize("sharpness", [0.5, 8.0])
def test_thresholds_never_rise_with_the_portion(sharpness: float) -> None:
    histogram = histogram_of(logits(sharpness=sharpness))
    rows = np.stack([selection.thresholds(histogram, p) for p in np.linspace(0.01, 1, 60)])
    assert (np.diff(rows, axis=0) <= 0).all()
    assert (rows[-1] < rows[0]).all()


@pytest.mark.parametrize("portion", [0.0, -0.1, 1.01, float("nan")])
def test_bad_portion_is_refused(portion: float) -> None:
    with pytest.raises(ValueError, match="portion must be in"):
        selection.thresholds(ConfidenceHistogram.empty(2), portion)


# Selection


@pytest.mark.parametrize("classes", [2, 6, 40])
@pytest.mark.parametrize("sharpness", [0.01, 3.0, 15.0])
def test_threshold_of_full_portion_labels_every_pixel(classes: int, sharpness: float) -> None:
    score = logits(classes, sharpness)
    label = selection.select(score, selection.thresholds(histogram_of(score), 1.0))
    assert label.ne(IGNORE).all()


def test_threshold_of_vanishing_portion_labels_no_pixel() -> None:
    score = logits(sharpness=15.0)
    score[:, 0] = torch.tensor([500.0, 0, 0, 0, 0, 0])[:, None]
    threshold = selection.thresholds(histogram_of(score), 1e-6)
    assert (threshold == 1).all()
    assert selection.select(score, threshold).eq(IGNORE).all()


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 8.0])
@pytest.mark.parametrize("portion", [0.2, 0.35, 1.0])
def test_selection_equals_the_published_rule_in_float64(sharpness: float, portion: float) -> None:
    score = logits(sharpness=sharpness)
    prob = score.double().softmax(0).numpy()
    threshold = selection.thresholds(histogram_of(score), portion)
    label = selection.select(score, threshold)
    assert label.dtype == torch.uint8
    assert (label.numpy() == exact_selection(prob, threshold)).mean() > 0.9995
    assert (label.numpy() == exact_selection(prob, exact_thresholds(prob, portion))).mean() > 0.99


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 12.0, 25.0])
@pytest.mark.parametrize("portion", [0.05, 0.3, 0.5])
def test_each_pixel_counted_above_the_threshold_is_selected(sharpness: float, portion: float) -> None:
    score = logits(sharpness=sharpness)
    label, log_odds = selection.confidence_log_odds(score)
    histogram = histogram_of(score)
    # Strips other than those counted: the last bits of the scores may differ.
    selected = selection.select(score + 0.1, selection.thresholds(histogram, portion))
    for c in range(6):
        own = log_odds[label == c].sort(descending=True).values
        position = math.floor(portion * len(own) + 1e-6)
        if position:
            assert selected[(label == c) & (log_odds >= own[position - 1])].ne(IGNORE).all()


def test_pixel_on_the_edge_of_its_bin_passes_the_threshold_of_that_bin() -> None:
    width = (selection.HIGHEST - selection.LOWEST) / selection.BINS
    edges = selection.LOWEST + width * np.arange(1, selection.BINS, 151)
    for edge in edges[edges > 0.01]:
        below = np.nextafter(np.float32(edge), np.float32(0))
        for log_odds in (below, np.float32(edge)):
            score = torch.tensor([log_odds, 0.0])[:, None, None]
            threshold = selection.thresholds(histogram_of(score), 1.0)
            assert selection.select(score, threshold).item() == 0


def test_very_confident_class_is_split_at_its_portion() -> None:
    gap = torch.linspace(18, 31, 10_000)
    score = torch.stack((gap, gap * 0))[:, None]
    assert (score.softmax(0)[0] == 1).all()
    selected = selection.select(score, selection.thresholds(histogram_of(score), 0.3))
    assert selected.eq(0).float().mean().item() == pytest.approx(0.3, abs=2e-3)


@pytest.mark.parametrize("classes", [2, 21, 22, 60, 254])
@pytest.mark.parametrize("portion", [0.05, 0.2, 0.5])
def test_unsure_network_of_many_classes_is_split_at_its_portion(classes: int, portion: float) -> None:
    """Every winner is hardly above the uniform probability: the less, the more classes there are."""
    generator = torch.Generator().manual_seed(classes)
    score = torch.rand(classes, 40, 50, generator=generator, dtype=torch.float64) * 0.1
    score[0] += 0.2 + torch.rand(40, 50, generator=generator)  # all are predicted as one class
    chosen = selection.select(score, selection.thresholds(histogram_of(score), portion))
    kept = (chosen == 0).double().mean().item()
    assert kept == pytest.approx(portion, abs=0.005)


@pytest.mark.parametrize("classes", [2, 21, 22, 254])
def test_bins_begin_where_a_winner_can_be_or_lower(classes: int) -> None:
    assert selection.lowest(classes) <= -math.log(classes - 1) + 1e-12
    assert classes > 21 or selection.lowest(classes) == selection.LOWEST


def test_rescaling_can_change_the_class() -> None:
    score = torch.tensor([0.6, 0.3, 0.1]).log()[:, None, None]
    assert selection.select(score, np.array([0.9, 0.2, 1.0])).item() == 1
    assert selection.select(score, np.array([0.5, 0.29, 1.0])).item() == 0
    assert selection.select(score, np.array([0.7, 0.4, 1.0])).item() == IGNORE


def test_hand_computed_image() -> None:
    prob = torch.tensor([[[0.9, 0.6], [0.3, 0.45]], [[0.1, 0.4], [0.7, 0.55]]])
    label = selection.select(prob.log(), np.array([0.8, 0.5]))
    assert label.tolist() == [[0, IGNORE], [1, 1]]


def test_adding_a_constant_to_the_scores_of_a_pixel_changes_nothing() -> None:
    score = logits()
    threshold = selection.thresholds(histogram_of(score), 0.3)
    moved = score + torch.randint(-8, 8, score.shape[1:], generator=torch.Generator().manual_seed(0))
    assert (selection.select(moved, threshold) == selection.select(score, threshold)).float().mean() > 0.999


def test_bad_thresholds_are_refused() -> None:
    with pytest.raises(ValueError, match="5 thresholds for 6 classes"):
        selection.select(logits(), np.ones(5))
    for bad in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="thresholds must be in"):
            selection.select(logits(), np.array([bad] + [0.5] * 5))


@pytest.mark.parametrize("rows", [5, 64])
def test_pseudo_label_of_an_image_does_not_depend_on_the_strips(rows: int) -> None:
    views = [logits(seed=1, size=(9, 13)), logits(seed=2, size=(9, 13))]
    histogram = ConfidenceHistogram.empty(6)
    for _, score in scores.score_strips(views, (65, 97), rows):
        histogram.add(*selection.confidence_log_odds(score))
    threshold = selection.thresholds(histogram, 0.4)
    label = selection.pseudo_label(views, (65, 97), threshold, rows)
    _, whole = next(scores.score_strips(views, (65, 97), 65))
    assert label.shape == (65, 97)
    assert label.dtype == torch.uint8
    assert label.equal(selection.select(whole, threshold))
    assert 0.3 < label.ne(IGNORE).float().mean() < 0.6


# Schedule and entropy


def test_portion_grows_by_the_step_up_to_the_maximum() -> None:
    assert [selection.portion_of_round(r) for r in range(8)] == [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.5]
    assert selection.portion_of_round(3, initial=0.1, step=0.0) == 0.1


def test_bad_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="round must be at least 0, got -1"):
        selection.portion_of_round(-1)
    for values in ((0.0, 0.05, 0.5), (0.6, 0.05, 0.5), (0.2, -0.1, 0.5), (0.2, 0.05, 1.5)):
        with pytest.raises(ValueError, match="initial"):
            selection.portion_of_round(0, *values)


def test_self_entropy_runs_from_certain_to_uniform() -> None:
    assert selection.self_entropy(torch.zeros(19, 2, 3)).percent == pytest.approx(100)
    certain = torch.zeros(19, 2, 3)
    certain[4] = 1000
    assert selection.self_entropy(certain).percent == pytest.approx(0)
    half = torch.tensor([0.0, 0.0, -1e4, -1e4])[:, None, None]
    assert selection.self_entropy(half).percent == pytest.approx(50)


def test_self_entropy_of_parts_adds_up() -> None:
    score = logits()
    whole = selection.self_entropy(score)
    parts = selection.self_entropy(score[:, :11]) + selection.self_entropy(score[:, 11:])
    assert parts.pixels == whole.pixels == 4800
    assert parts.percent == pytest.approx(whole.percent)
    prob = score.double().softmax(0)
    wanted = -(prob * prob.log()).sum(0).mean() / math.log(6) * 100
    assert whole.percent == pytest.approx(wanted.item(), rel=1e-5)
    assert math.isnan(selection.SelfEntropy().percent)


# Soft labels (CRST's LRENT)


def soft_by_the_book(prob_KHW: np.ndarray, threshold_K: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """LRENT as published: the soft label, and whether its cost is below that of no label."""
    ratio = prob_KHW / threshold_K[:, None, None]
    soft = ratio ** (1 / alpha)
    soft /= soft.sum(0)
    cost = -(soft * np.log(prob_KHW)).sum(0) + alpha * (soft * np.log(np.maximum(soft, 1e-300))).sum(0)
    return soft, cost < -(soft * np.log(threshold_K)[:, None, None]).sum(0)


@pytest.mark.parametrize("alpha", [0.1, 0.25, 1.0])
@pytest.mark.parametrize("sharpness", [0.5, 2.0])
def test_soft_selection_equals_the_published_rule(alpha: float, sharpness: float) -> None:
    score = logits(sharpness=sharpness)
    prob = score.double().softmax(0).numpy()
    threshold = selection.thresholds(histogram_of(score), 0.3)
    soft, chosen = soft_by_the_book(prob, threshold, alpha)
    found = selection.select(score, threshold, alpha).numpy()
    close = np.abs(((prob / threshold[:, None, None]) ** (1 / alpha)).sum(0) - 1) < 1e-4
    assert close.mean() < 0.01
    assert (found == np.where(chosen, soft.argmax(0), IGNORE))[~close].all()
    label = selection.SoftLabel([score], (60, 80), threshold, alpha).at(torch.arange(60), torch.arange(80))
    assert np.abs(label.numpy() - soft).max() < 1e-5


def test_softness_near_zero_is_the_hard_rule_and_softness_selects_more() -> None:
    score = logits()
    threshold = selection.thresholds(histogram_of(score), 0.3)
    hard = selection.select(score, threshold)
    assert (selection.select(score, threshold, 1e-4) == hard).float().mean() > 0.999
    # Several classes below their thresholds can pay for a label together, never fewer than one above it alone.
    soft = selection.select(score, threshold, 1.0)
    assert ((soft != IGNORE) | (hard == IGNORE)).all()
    assert (soft != IGNORE).sum() > (hard != IGNORE).sum()


def test_soft_label_of_two_views_follows_their_mean_probability() -> None:
    views = [logits(seed=1, size=(9, 13)), logits(seed=2, size=(9, 13))]
    threshold = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    rows, columns = torch.arange(33), torch.arange(40)
    prob = sum(F.interpolate(v[None], (33, 40), mode="bilinear", align_corners=True)[0].softmax(0) for v in views) / 2
    soft, _ = soft_by_the_book(prob.double().numpy(), threshold, 0.25)  # type: ignore[union-attr]
    found = selection.SoftLabel(views, (33, 40), threshold, 0.25).at(rows, columns)
    assert np.abs(found.numpy() - soft).max() < 1e-4
