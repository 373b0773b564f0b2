"""Cityscapes and its foggy images, in their tree and encoding."""

from __future__ import annotations

import pytest
from PIL import Image

from domains.base.errors import DataError
from domains.base.labels import label_space
from domains.layouts.cityscapes import LABEL_IDS, VOID_IDS

PUBLISHED = "7:0 8:1 11:2 12:3 13:4 17:5 19:6 20:7 21:8 22:9 23:10 24:11 25:12 26:13 27:14 28:15 31:16 32:17 33:18"
"""labelId:trainId of the official scripts; every other id has no training class."""

NAMES = (
    "unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground, road, sidewalk, parking, "
    "rail track, building, wall, fence, guard rail, bridge, tunnel, pole, polegroup, traffic light, traffic sign, "
    "vegetation, terrain, sky, person, rider, car, truck, bus, caravan, trailer, train, motorcycle, bicycle"
)
"""Published names of the labelIds in their order."""

LABEL = "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"


def test_label_ids_become_train_ids_as_published(data_set):
    city = data_set("cityscapes")
    table = dict(tuple(map(int, pair.split(":"))) for pair in PUBLISHED.split())
    raw = [*range(34), 255]
    city.label(LABEL, raw)
    assert city.open().label(0)[2, : len(raw)].tolist() == [table.get(value, 255) for value in raw]


def test_table_by_name_is_that_of_the_published_names():
    names = NAMES.split(", ")
    assert {name: tuple(i for i, n in enumerate(names) if n == name) for name in LABEL_IDS} == LABEL_IDS
    assert tuple(LABEL_IDS) == label_space("cityscapes19").classes
    assert sorted({*VOID_IDS, *(value for ids in LABEL_IDS.values() for value in ids)}) == [*range(34), 255]


def test_ids_are_city_and_frame_and_each_split_is_its_own(data_set):
    city = data_set("cityscapes")
    assert city.open().ids == ("aachen/aachen_000000_000019", "zurich/zurich_000121_000019")
    assert city.open(split="val").ids == ("frankfurt/frankfurt_000001_054640",)
    assert city.open().image(1).unique().tolist() == [10]


def test_other_files_of_the_download_are_passed_over(data_set):
    city = data_set("cityscapes")
    for end in ("color.png", "instanceIds.png", "polygons.json"):
        (city.root / LABEL.replace("labelIds.png", end)).write_bytes(b"")
    (city.root / "leftImg8bit/train/aachen/notes.png").write_bytes(b"")
    assert len(city.open()) == 2
    assert city.open().label(0).unique().tolist() == [255]


def test_withheld_labels_of_the_test_split_are_none_though_files_bear_their_name(data_set):
    city = data_set("cityscapes")
    reader = city.open(split="test")
    assert not reader.has_labels
    assert reader.ids == ("berlin/berlin_000543_000019",)
    with pytest.raises(DataError, match="opened without labels"):
        reader.label(0)


def test_a_label_id_that_does_not_exist_is_refused_with_a_histogram(data_set):
    city = data_set("cityscapes")
    city.label(LABEL, [34, 7])
    with pytest.raises(DataError, match=r"outside the Cityscapes labelIds \(0 to 33, 255\); .* 0: 248, 7: 4, 34: 4"):
        city.open().label(0)


def test_a_colour_label_in_place_of_ids_is_refused(data_set):
    city = data_set("cityscapes")
    Image.new("RGB", (64, 4), (128, 64, 128)).save(city.root / LABEL)
    with pytest.raises(DataError, match=r"labelIds.png: pixels are RGB, not class ids"):
        city.open().label(0)


def test_fog_is_chosen_by_its_density_and_keeps_the_ids_and_labels_of_clear_weather(data_set):
    foggy = data_set("foggy_cityscapes")
    foggy.label(LABEL, [7, 26])
    for number, beta in enumerate((0.005, 0.01, 0.02)):
        reader = foggy.open(fog_beta=beta)
        assert reader.ids == ("aachen/aachen_000000_000019",)
        assert reader.image(0).unique().tolist() == [10 * number]
        assert reader.label(0)[0, :3].tolist() == [0, 13, 255]
    assert foggy.open().image(0).unique().tolist() == [20]
    assert not foggy.open(split="test").has_labels


def test_a_density_that_was_never_simulated_is_refused(data_set):
    with pytest.raises(DataError, match=r"must be one of 0.005, 0.01, 0.02, not '0.03'"):
        data_set("foggy_cityscapes").open(fog_beta=0.03)


def test_fog_folder_without_labels_is_a_domain_without_labels(data_set):
    foggy = data_set("foggy_cityscapes")
    (foggy.root / "gtFine").rename(foggy.root / "gtFine_elsewhere")
    assert not foggy.open().has_labels
