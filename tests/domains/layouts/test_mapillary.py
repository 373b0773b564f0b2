"""Mapillary Vistas v1.2, in its tree and encoding."""

from __future__ import annotations

import pytest

from domains.base.errors import DataError
from domains.base.labels import label_space
from domains.layouts.mapillary import LABEL_IDS

NAMES = """
    bird, ground animal, curb, fence, guard rail, barrier, wall, bike lane, crosswalk, curb cut, parking,
    pedestrian area, rail track, road, service lane, sidewalk, bridge, building, tunnel, person, bicyclist,
    motorcyclist, other rider, zebra, general lane marking, mountain, sand, sky, snow, terrain, vegetation, water,
    banner, bench, bike rack, billboard, catch basin, cctv camera, fire hydrant, junction box, mailbox, manhole,
    phone booth, pothole, street light, pole, traffic sign frame, utility pole, traffic light, back of traffic sign,
    traffic sign, trash can, bicycle, boat, bus, car, caravan, motorcycle, on rails, other vehicle, trailer, truck,
    wheeled slow, car mount, ego vehicle, unlabeled
"""
"""Names of the 66 ids in their order."""

PUBLISHED = (
    "13,24,41:0; 2,15:1; 17:2; 6:3; 3:4; 45,47:5; 48:6; 50:7; 30:8; 29:9; 27:10; 19:11; 20,21,22:12; 55:13; 61:14; "
    "54:15; 58:16; 57:17; 52:18"
)
"""ids:trainId; all others are void."""

OTHER_NAMES = {
    "road": {"road", "general lane marking", "manhole"},
    "sidewalk": {"curb", "sidewalk"},
    "pole": {"pole", "utility pole"},
    "rider": {"bicyclist", "motorcyclist", "other rider"},
    "train": {"on rails"},
}
LABEL = "training/labels/00qclUcInksIYnm19b1Xfw.png"


def test_66_ids_become_train_ids_as_published(data_set):
    vistas = data_set("mapillary")
    table = {
        int(value): int(label)
        for values, label in (pair.split(":") for pair in PUBLISHED.split(";"))
        for value in values.split(",")
    }
    for raw in (range(64), [64, 65]):
        vistas.label(LABEL, raw)
        assert vistas.open().label(0)[0, : len(raw)].tolist() == [table.get(value, 255) for value in raw]


def test_table_by_name_is_that_of_the_published_names():
    names = [name.strip() for name in NAMES.split(",")]
    assert len(names) == 66
    assert {name: {names[value] for value in ids} for name, ids in LABEL_IDS.items()} == {
        name: OTHER_NAMES.get(name, {name}) for name in label_space("cityscapes19").classes
    }


def test_splits_have_folders_of_other_names_and_testing_has_no_labels(data_set):
    vistas = data_set("mapillary")
    assert vistas.open().ids == ("00qclUcInksIYnm19b1Xfw",)
    assert vistas.open(split="val").ids == ("0035fkbjWljhaftpVM37-g",)
    assert not vistas.open(split="test").has_labels
    with pytest.raises(DataError, match="splits train, val, test, not 'validation'"):
        vistas.open(split="validation")


def test_an_id_of_version_2_is_refused(data_set):
    vistas = data_set("mapillary")
    vistas.label(LABEL, [66, 123])
    with pytest.raises(DataError, match=r"66 ids of Mapillary Vistas v1.2 \(0 to 65\); .*66: 4, 123: 4"):
        vistas.open().label(0)
