"""Placeholders for data that are not here: true sizes, trees and encodings."""

from __future__ import annotations

import pytest

from domains.base.labels import label_space
from domains.base.settings import DomainSettings
from domains.placeholder import SHAPES, missing, write_placeholder
from domains.registry import check_settings, open_reader
from losses.ignore import IGNORE


@pytest.mark.parametrize("kind", SHAPES)
def test_stand_in_is_read_like_the_data_set_itself(kind, tmp_path):
    space = label_space("camvid11" if kind == "camvid" else "cityscapes19")
    settings = write_placeholder(DomainSettings(kind=kind, list="some.txt", count=7), tmp_path / "data", 2)
    assert check_settings(settings, "") == []
    reader = open_reader(settings, space, "")
    assert len(reader) == (8 if kind == "acdc" else 2)
    size = (SHAPES[kind].height, SHAPES[kind].width)
    image, label = reader.image(1), reader.label(1)
    assert image.shape == (3, *size)
    assert label.shape == size
    shown = set(label.unique().tolist())
    absent = {space.classes.index(name) for name in ("terrain", "truck", "train")} if kind == "synthia" else set()
    assert shown >= set(range(len(space))) - absent
    assert shown <= {*range(len(space)), IGNORE}


def test_only_a_missing_folder_of_known_measures_is_missing(tmp_path):
    (tmp_path / "gta5").mkdir()
    assert not missing(DomainSettings(kind="gta5", root="gta5"), str(tmp_path))
    assert missing(DomainSettings(kind="cityscapes", root="cityscapes"), str(tmp_path))
    for kind in ("folder", "toycity", "none"):
        assert not missing(DomainSettings(kind=kind, root="nowhere"), str(tmp_path))


def test_numbers_of_images_are_those_of_the_split_and_the_count():
    shape = SHAPES["cityscapes"]
    assert shape.images(DomainSettings(kind="cityscapes")) == 2975
    assert shape.images(DomainSettings(kind="cityscapes", split="val")) == 500
    assert shape.images(DomainSettings(kind="cityscapes", count=10)) == 10
    assert SHAPES["gta5"].images(DomainSettings(kind="gta5")) == 24966
