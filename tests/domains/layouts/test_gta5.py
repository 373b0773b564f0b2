"""GTA5, in its tree and encoding."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from domains.base.errors import DataError

LABEL = "labels/00002.png"


def test_palette_indices_not_colours_are_label_ids_and_34_is_void(data_set):
    gta = data_set("gta5")
    gta.label(LABEL, [0, 7, 8, 33, 34, 26, 15])
    reader = gta.open()
    assert reader.ids == ("00001", "00002", "24966")
    assert reader.label(1)[0, :8].tolist() == [255, 0, 1, 18, 255, 13, 255, 255]
    with Image.open(gta.root / LABEL) as file:
        assert file.mode == "P"
        assert np.array(file.convert("RGB"))[0, 1].tolist() != [7, 7, 7]


def test_all_19_classes_are_those_of_cityscapes(data_set):
    gta = data_set("gta5")
    gta.label(LABEL, [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33])
    assert gta.open().label(1)[3, :19].tolist() == list(range(19))


def test_an_index_beyond_the_number_plate_is_refused(data_set):
    gta = data_set("gta5")
    gta.label(LABEL, [35])
    with pytest.raises(DataError, match=r"00002.png .*outside the GTA5 label ids \(0 to 34, 255\); .*35: 4"):
        gta.open().label(1)


def test_a_label_of_another_size_is_told_of_that_file_alone(data_set):
    gta = data_set("gta5")
    Image.fromarray(np.zeros((4, 60), dtype=np.uint8)).save(gta.root / LABEL)
    reader = gta.open()
    assert reader.label(0).shape == (4, 64)
    with pytest.raises(DataError, match=r"00002.png is 64x4 pixels, .*00002.png is 60x4"):
        reader.label(1)


def test_published_lists_name_files(data_set):
    gta = data_set("gta5")
    (gta.root / "train.txt").write_text("00002.png\nimages/24966.png\n")
    assert gta.open("train.txt").ids == ("00002", "24966")
