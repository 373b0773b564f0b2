"""SYNTHIA-RAND-CITYSCAPES, in its tree and its encoding of 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from domains.base.errors import DataError
from domains.base.labels import label_space
from domains.layouts.synthia import LABEL_IDS, LANE_MARKING, VOID_IDS

NAMES = (
    "void, sky, building, road, sidewalk, fence, vegetation, pole, car, traffic sign, pedestrian, bicycle, "
    "motorcycle, parking slot, road work, traffic light, terrain, rider, truck, bus, train, wall, lane marking"
)
"""Published names of the ids in their order."""

PUBLISHED = (
    "3:0 4:1 2:2 21:3 5:4 7:5 15:6 9:7 6:8 16:9 1:10 10:11 17:12 8:13 18:14 19:15 20:16 12:17 11:18"  # id:trainId
)
LABEL = "GT/LABELS/0000001.png"


def test_first_of_the_16_bit_channels_holds_the_class(data_set):
    city = data_set("synthia")
    table = dict(tuple(map(int, pair.split(":"))) for pair in PUBLISHED.split())
    city.label(LABEL, range(23))
    reader = city.open()
    assert reader.ids == ("0000000", "0000001", "0009399")
    assert reader.label(1)[3, :23].tolist() == [table.get(value, 255) for value in range(23)]
    with Image.open(city.root / LABEL) as file:  # what the reader is there to avoid
        assert np.array(file).max(axis=(0, 1)).tolist() == [0, 3, 0]


def test_table_by_name_is_that_of_the_published_names():
    names = NAMES.split(", ")
    own = {name: names.index({"person": "pedestrian"}.get(name, name)) for name in LABEL_IDS}
    assert {name: (value,) for name, value in own.items()} == LABEL_IDS
    assert tuple(LABEL_IDS) == label_space("cityscapes19").classes
    assert [names[value] for value in VOID_IDS] == ["void", "parking slot", "road work"]
    assert names[LANE_MARKING] == "lane marking"
    assert len(names) == len(LABEL_IDS) + len(VOID_IDS) + 1


def test_lane_markings_are_void_or_road(data_set):
    city = data_set("synthia")
    city.label(LABEL, [22, 3])
    assert city.open().label(1)[0, :2].tolist() == [255, 0]
    assert city.open(lane_marking="road").label(1)[0, :2].tolist() == [0, 0]


def test_an_8_bit_file_is_refused_with_the_reason(data_set):
    city = data_set("synthia")
    with Image.open(city.root / LABEL) as file:
        file.save(city.root / LABEL)
    with pytest.raises(DataError, match=r"0000001.png has 8 bits a channel \(RGB\).* high byte alone .*into 0"):
        city.open().label(1)
    assert city.open().label(0).unique().tolist() == [255]


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_a_file_of_one_channel_is_refused(data_set, mode):
    city = data_set("synthia")
    Image.new(mode, (64, 4)).save(city.root / LABEL)
    with pytest.raises(DataError, match=r"0000001.png has .*take the original file"):
        city.open().label(1)


@pytest.mark.parametrize("value", [23, 255, 256 + 3, 976])
def test_an_id_beyond_the_classes_is_refused_with_a_histogram(data_set, value):
    city = data_set("synthia")
    city.label(LABEL, [value, 3])
    with pytest.raises(DataError, match=rf"outside the SYNTHIA class ids \(0 to 22\); .* 3: 4, {value}: 4"):
        city.open().label(1)


def test_transparency_changes_nothing(data_set, write_deep):
    city = data_set("synthia")
    pixels = np.full((4, 64, 4), 65535, dtype=np.uint16)
    pixels[..., 0] = 8
    write_deep(city.root / LABEL, pixels)
    assert city.open().label(1).unique().tolist() == [13]


def test_size_is_checked_and_labels_come_at_the_working_size(data_set, write_deep):
    city = data_set("synthia")
    city.label(LABEL, [3] * 32 + [1] * 32)
    assert city.open(height=2, width=4).label(1).tolist() == [[0, 0, 10, 10]] * 2
    write_deep(city.root / LABEL, np.zeros((4, 63, 3), dtype=np.uint16))
    with pytest.raises(DataError, match=r"is 64x4 pixels, .*is 63x4"):
        city.open().label(1)
