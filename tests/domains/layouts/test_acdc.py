"""ACDC and Dark Zurich, in their nested trees."""

from __future__ import annotations

import shutil

import pytest

from domains.base.errors import DataError

FOG = "gt/fog/val/GOPR0475/GOPR0475_frame_000041_gt_labelTrainIds.png"
NIGHT = "gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelTrainIds.png"


def test_acdc_is_all_four_conditions_or_one(data_set):
    acdc = data_set("acdc")
    assert [name.split("/")[:2] for name in acdc.open(split="val").ids] == [
        [condition, "val"] for condition in ("fog", "night", "rain", "snow")
    ]
    assert acdc.open(condition="night").ids == ("night/train/GP010376/GP010376_frame_000041",)
    assert acdc.open(condition="night").image(0).unique().tolist() == [30]


def test_reference_images_in_clear_weather_are_no_part_of_acdc(data_set):
    acdc = data_set("acdc")
    shutil.copytree(acdc.root / "rgb_anon/fog/train", acdc.root / "rgb_anon/fog/train_ref")
    assert len(acdc.open()) == 4


def test_labels_of_both_are_train_ids(data_set):
    acdc, zurich = data_set("acdc"), data_set("dark_zurich")
    row = [*range(19), 255]
    acdc.label(FOG, row)
    zurich.label(NIGHT, row)
    assert acdc.open(split="val").label(0)[0, :20].tolist() == row
    assert zurich.open(split="val").label(0)[0, :20].tolist() == row
    acdc.label(FOG, [19])
    with pytest.raises(DataError, match=r"outside cityscapes19 \(0 to 18, 255\); .*19: 4"):
        acdc.open(split="val").label(0)


def test_dark_zurich_is_its_nights_unless_told_otherwise(data_set):
    zurich = data_set("dark_zurich")
    assert zurich.open().ids == ("train/night/GOPR0351/GOPR0351_frame_000159",)
    assert zurich.open(condition="twilight").ids == ("train/twilight/GOPR0348/GOPR0348_frame_000010",)
    assert zurich.open(split="val").ids == ("val/night/GOPR0356/GOPR0356_frame_000321",)


def test_splits_without_public_labels_have_none(data_set):
    acdc, zurich = data_set("acdc"), data_set("dark_zurich")
    assert [acdc.open(split=split).has_labels for split in ("train", "val", "test")] == [True, True, False]
    assert [zurich.open(split=split).has_labels for split in ("train", "val", "test")] == [False, True, False]


def test_a_condition_of_the_other_is_refused_and_a_missing_one_shows_the_tree(data_set):
    acdc, zurich = data_set("acdc"), data_set("dark_zurich")
    with pytest.raises(DataError, match="Dark Zurich has the conditions night, twilight, day, not 'fog'"):
        zurich.open(condition="fog")
    with pytest.raises(DataError, match="ACDC has the conditions fog, night, rain, snow, not 'day'"):
        acdc.open(condition="day")
    with pytest.raises(DataError, match=r"(?s)val/day does not exist.*expected:.*val/day/<sequence>"):
        zurich.open(split="val", condition="day")
    shutil.rmtree(acdc.root / "rgb_anon/snow")
    with pytest.raises(DataError, match=r"snow/train does not exist"):
        acdc.open()
    assert len(acdc.open(condition="rain")) == 1
