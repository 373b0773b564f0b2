"""Class rules against numbers worked out by hand, a slow evaluator, and that of cityscapesScripts where it is there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from domains.base.labels import SPACES, remap
from domains.metrics.class_rules import RULES, rule_problem
from domains.metrics.iou import confusion_matrix, iou_per_class, mean_of
from orchestrator.contract.settings import MeanClasses

SPACE = SPACES["cityscapes19"]
CLASSES = SPACE.classes
MISSING = ("terrain", "truck", "train")
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' id of each of the 19 classes."""


def confusion(**pixels: int) -> np.ndarray:
    """Counts by "truth__prediction"."""
    counts = np.zeros((19, 19), dtype=np.int64)
    for names, count in pixels.items():
        truth, prediction = names.split("__")
        counts[CLASSES.index(truth), CLASSES.index(prediction)] = count
    return counts


def scores(rule: str, counts: np.ndarray) -> dict[str, float]:
    return dict(zip(RULES[rule].classes(SPACE), RULES[rule].iou(counts, SPACE).tolist(), strict=True))


def random_maps(seed: int, unseen: tuple[str, ...] = (), unpredicted: tuple[str, ...] = ()) -> list[torch.Tensor]:
    """Ground truth with a tenth of it 255, and a prediction that is right at times; classes may be absent."""
    draw = np.random.default_rng(seed)
    shown, known = (
        [index for index, name in enumerate(CLASSES) if name not in absent] for absent in (unseen, unpredicted)
    )
    truth = draw.choice(shown, (60, 50))
    prediction = np.where((draw.random(truth.shape) < 0.5) & np.isin(truth, known), truth, draw.choice(known, (60, 50)))
    truth[draw.random(truth.shape) < 0.1] = 255
    return [torch.from_numpy(plane.astype(np.uint8)) for plane in (truth, prediction)]


CASES = [
    {"seed": 0},
    {"seed": 1, "unseen": ("bus", "train")},
    {"seed": 2, "unseen": ("bus", "wall"), "unpredicted": ("bus", "wall")},
    {"seed": 3, "unpredicted": MISSING},
]


def test_settings_name_every_rule():
    assert get_args(MeanClasses) == tuple(RULES)


def test_number_of_classes_is_that_of_the_name():
    assert [len(rule.classes(SPACE)) for rule in RULES.values()] == [19, 16, 16, 13]
    assert set(CLASSES) - set(RULES["13"].classes(SPACE)) == {*MISSING, "wall", "fence", "pole"}


def test_pixels_of_terrain_predicted_as_vegetation():
    """Ignored in one version of 16 classes, false positives of vegetation in the other."""
    counts = confusion(vegetation__vegetation=6, terrain__vegetation=2, terrain__terrain=4)
    assert scores("16", counts)["vegetation"] == 1.0
    assert scores("16_of_19", counts)["vegetation"] == scores("all", counts)["vegetation"] == 6 / 8
    assert scores("all", counts)["terrain"] == 4 / 6
    assert "terrain" not in scores("16", counts) | scores("16_of_19", counts)


@pytest.mark.parametrize("rule", RULES)
def test_vegetation_predicted_as_terrain_is_missed_under_every_rule(rule):
    counts = confusion(vegetation__vegetation=6, vegetation__terrain=2)
    assert scores(rule, counts)["vegetation"] == 6 / 8


def test_wall_leaves_the_mean_of_13_classes_and_still_counts_against_the_others():
    counts = confusion(wall__building=3, building__building=5, building__fence=2, truck__building=9)
    assert scores("13", counts)["building"] == scores("16", counts)["building"] == 5 / 10
    assert mean_of(np.array(list(scores("13", counts).values()))) == 5 / 10
    assert mean_of(np.array(list(scores("16", counts).values()))) == (5 / 10 + 0 + 0) / 3


def test_16_of_19_is_19_sixteenths_of_the_mean_of_19_for_a_network_that_knows_16():
    truth, prediction = random_maps(3, unpredicted=MISSING)
    counts = confusion_matrix(truth, prediction, 19)
    published = mean_of(iou_per_class(counts)) * 19 / 16
    assert mean_of(RULES["16_of_19"].iou(counts, SPACE)) == pytest.approx(published, rel=1e-12)
    assert mean_of(RULES["16"].iou(counts, SPACE)) > published + 0.01


def test_confusion_is_left_as_it_is():
    counts = confusion(truck__car=3, car__car=1)
    before = counts.copy()
    RULES["16"].iou(counts, SPACE)
    np.testing.assert_array_equal(counts, before)


def test_rules_of_cityscapes_mean_nothing_elsewhere():
    assert rule_problem("all", SPACES["camvid11"]) is None
    assert rule_problem("13", SPACE) is None
    said = (
        "classes 13 are defined for the label spaces cityscapes19 and cityscapes16 alone, got camvid11: leave it at all"
    )
    assert rule_problem("13", SPACES["camvid11"]) == said


def test_networks_of_16_classes_are_measured_in_16_and_13_as_those_of_19_are():
    space = SPACES["cityscapes16"]
    assert rule_problem("16", space) is rule_problem("13", space) is None
    assert "for the label space cityscapes19 alone, got cityscapes16" in str(rule_problem("16_of_19", space))
    for rule in ("16", "13"):
        assert RULES[rule].classes(space) == RULES[rule].classes(SPACE)
        for case in CASES:
            # Such a network predicts none of the three classes, and their pixels are 255 in its ground truth.
            truth, prediction = random_maps(case["seed"], unpredicted=MISSING)
            table = remap(SPACE, space)
            own_truth, own_prediction = (torch.from_numpy(table[plane.numpy()]) for plane in (truth, prediction))
            found = RULES[rule].iou(confusion_matrix(own_truth, own_prediction, 16), space)
            np.testing.assert_array_equal(found, RULES[rule].iou(confusion_matrix(truth, prediction, 19), SPACE))


def test_mean_of_13_classes_is_not_that_of_a_network_that_knows_13():
    """In cityscapes13 pixels of wall, fence and pole are 255; under the rule they count against what takes them."""
    counts = confusion(wall__building=3, building__building=5)
    assert scores("13", counts)["building"] == 5 / 8
    space = SPACES["cityscapes13"]
    assert remap(SPACE, space)[CLASSES.index("wall")] == 255
    assert "cityscapes19 and cityscapes16 alone" in str(rule_problem("13", space))


def slow_iou(truth: torch.Tensor, prediction: torch.Tensor, ignored: tuple[str, ...]) -> dict[str, float]:
    """As the benchmark documents its evaluation, a pixel at a time.

    Pixels whose true class is not evaluated count nowhere; any other pixel that is not predicted as its own class is a
    false negative of it, and a false positive of what it is predicted as.
    """
    hit, missed, false = (dict.fromkeys(CLASSES, 0) for _ in range(3))
    for true_id, predicted_id in zip(truth.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if true_id == 255 or CLASSES[true_id] in ignored:
            continue
        if true_id == predicted_id:
            hit[CLASSES[true_id]] += 1
        else:
            missed[CLASSES[true_id]] += 1
            false[CLASSES[predicted_id]] += 1
    union = {name: hit[name] + missed[name] + false[name] for name in CLASSES}
    evaluated = [name for name in CLASSES if name not in ignored]
    return {name: hit[name] / union[name] if union[name] else math.nan for name in evaluated}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("rule", "ignored"), [("all", ()), ("16", MISSING), ("13", MISSING), ("16_of_19", ())])
def test_scores_equal_a_loop_over_pixels_exactly(rule, ignored, case):
    truth, prediction = random_maps(**case)
    expected = slow_iou(truth, prediction, ignored)
    found = scores(rule, confusion_matrix(truth, prediction, 19))
    np.testing.assert_array_equal(list(found.values()), [expected[name] for name in found])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("rule", "ignored"), [("all", ()), ("16", MISSING)])
def test_scores_equal_those_of_cityscapesscripts_exactly(rule, ignored, case, tmp_path, monkeypatch):
    """Its own evaluator on PNG files, with more classes ignored; runs where the package is installed."""
    theirs = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    for name in ignored:
        label = theirs.name2label[name]
        monkeypatch.setitem(theirs.id2label, label.id, label._replace(ignoreInEval=True))
    for name in ("evalInstLevelScore", "JSONOutput"):
        monkeypatch.setattr(theirs.args, name, False)
    monkeypatch.setattr(theirs.args, "quiet", True)
    truth, prediction = random_maps(**case)
    table = np.zeros(256, np.uint8)  # 0: unlabeled, one of the benchmark's ignored ids
    table[:19] = LABEL_IDS
    files = [save(table[plane.numpy()], tmp_path / f"{number}.png") for number, plane in enumerate((prediction, truth))]
    result = theirs.evaluateImgLists(files[:1], files[1:], theirs.args)
    found = scores(rule, confusion_matrix(truth, prediction, 19))
    np.testing.assert_array_equal(list(found.values()), [result["classScores"][name] for name in found])
    assert mean_of(np.array(list(found.values()))) == pytest.approx(result["averageScoreClasses"], rel=1e-14)


def save(plane: np.ndarray, path: Path) -> str:
    Image.fromarray(plane).save(path)
    return str(path)
