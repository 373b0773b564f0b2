"""Tables of several runs, against numbers worked out by hand."""

from __future__ import annotations

import json

import pytest

from orchestrator.report.tables import comparison, results_of, slug


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_mean_deviation_gain_and_share_of_the_gap():
    measured = {
        "a": [(0.2, 0.3), (0.4, 0.6)],
        "b": [(0.1, 0.3), (0.4, 0.4)],  # a source network of its own in the first seed
        "target oracle": [(None, 0.7), (None, 0.9)],
    }
    header, _, source, a, b, oracle = cells(comparison(measured))
    assert header == ["variant", "mIoU, mean ± sd", "each seed", "gain over source-only", "share of the gap closed"]
    assert source == ["source-only", "0.300 ± 0.141", "0.200, 0.400", "", ""]
    assert a == ["a", "0.450 ± 0.212", "0.300, 0.600", "+0.150 ± 0.071", "30%"]
    assert b == ["b", "0.350 ± 0.071", "0.300, 0.400", "+0.100 ± 0.141", "20%"]
    assert oracle == ["target oracle", "0.800 ± 0.141", "0.700, 0.900", "+0.500 ± 0.000", ""]


def test_published_numbers_stand_beside_ours_and_one_seed_has_no_deviation():
    header, _, source, a, b = cells(comparison({"a": [(0.2, 0.3)], "b": [(0.2, 0.1)]}, {"b": 44.8}))
    assert header[-1] == "published"
    assert source == ["source-only", "0.200", "0.200", "", ""]
    assert a == ["a", "0.300", "0.300", "+0.100", ""]
    assert b == ["b", "0.100", "0.100", "-0.100", "44.8"]


def test_an_arm_without_a_source_network_may_come_first_and_a_source_network_may_be_worthless():
    _, _, source, oracle, variant = cells(comparison({"target oracle": [(None, 0.8)], "a": [(0.0, 0.4)]}))
    assert source[1] == "0.000"
    assert oracle[3] == "+0.800"
    assert variant[3:] == ["+0.400", "50%"]


@pytest.mark.parametrize(
    ("title", "name"), [("DRSL+", "drsl-plus"), ("CRST (MRKLD)", "crst-mrkld"), ("source only", "source-only")]
)
def test_titles_become_names_of_folders(title, name):
    assert slug(title) == name


def test_classes_that_no_evaluation_image_shows_leave_the_mean(tmp_path):
    stage = tmp_path / "stages" / "01-source-only"
    stage.mkdir(parents=True)
    iou = {"road": 0.5, "fence": 0.0, "sky": 0.7}
    confusion = [[5, 1, 0], [0, 0, 0], [0, 1, 7]]
    (stage / "evaluation.json").write_text(json.dumps({"iou": iou, "classes": list(iou), "confusion": confusion}))
    summary = {"source_only": {"iou": iou}, "adapted": {"iou": {"road": 0.6, "fence": None, "sky": 0.9}}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert results_of(tmp_path) == (pytest.approx(0.6), pytest.approx(0.75))
    (tmp_path / "summary.json").write_text(json.dumps({"adapted": summary["adapted"]}))
    assert results_of(tmp_path) == (None, pytest.approx(0.75))


def test_classes_without_a_place_in_the_protocol_leave_the_mean_too(tmp_path):
    stage = tmp_path / "stages" / "01-evaluate"
    stage.mkdir(parents=True)
    content = {"iou": {"road": 0.5, "sky": 0.7}, "classes": ["road", "train", "sky"]}
    (stage / "evaluation.json").write_text(json.dumps({**content, "confusion": [[5, 1, 0], [1, 4, 0], [0, 1, 7]]}))
    (tmp_path / "summary.json").write_text(json.dumps({"adapted": {"iou": content["iou"]}}))
    assert results_of(tmp_path) == (None, pytest.approx(0.6))
