"""The CamVid layout, written here in the encodings of the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domains.base.errors import DataError
from domains.base.settings import DomainSettings
from domains.layouts.camvid import camvid
from domains.readers.folder import FolderReader

IDS = ("0001TP_006690", "0006R0_f00930", "0016E5_00390")


def open_camvid(root: Path, split: str, list_file: str = "", height: int = 0, width: int = 0) -> FolderReader:
    return camvid(DomainSettings(kind="camvid", split=split), root).open(root, list_file, height, width)


def fill(root: Path, split: str, suffix: str) -> None:
    (root / split).mkdir()
    (root / f"{split}annot").mkdir()
    for number, name in enumerate(IDS):
        image = np.full((12, 16, 3), 40 * number, dtype=np.uint8)
        Image.fromarray(image).save(root / split / f"{name}.{suffix}", quality=93)
        label = np.arange(12, dtype=np.uint8)[:, None].repeat(16, 1)
        Image.fromarray(label).save(root / f"{split}annot" / f"{name}.png")


@pytest.fixture(params=["jpg", "png"])
def root(request, tmp_path) -> Path:
    fill(tmp_path, "train", request.param)
    fill(tmp_path, "val", request.param)
    return tmp_path


def test_ids_are_stems_and_label_ids_keep_the_order_of_the_file(root):
    reader = open_camvid(root, "train")
    assert reader.ids == IDS
    assert reader.space.name == "camvid11"
    assert reader.label(0)[:, 0].tolist() == [*range(11), 255]
    assert [round(reader.image(k).float().mean().item()) for k in range(3)] == [0, 40, 80]


def test_a_list_chooses_images_by_stem_or_in_the_form_of_the_export(root):
    (root / "day.txt").write_text(f"{IDS[2]}\n{IDS[0]}\n")
    assert open_camvid(root, "train", "day.txt").ids == (IDS[2], IDS[0])
    (root / "train.txt").write_text(f"/SegNet/CamVid/train/{IDS[1]}.png /SegNet/CamVid/trainannot/{IDS[1]}.png\n")
    assert open_camvid(root, "train", "train.txt").ids == (IDS[1],)


def test_images_come_at_the_working_size(root):
    reader = open_camvid(root, "val", height=6, width=8)
    assert reader.image(0).shape == (3, 6, 8)
    assert reader.label(0).shape == (6, 8)


def test_a_missing_split_shows_the_expected_tree(root):
    with pytest.raises(DataError, match=r"(?s)test does not exist.*expected:.*testannot/<id>.png"):
        open_camvid(root, "test")


def test_a_misspelt_root_names_the_nearest_folder(tmp_path):
    (tmp_path / "camvid").mkdir()
    fill(tmp_path / "camvid", "train", "png")
    with pytest.raises(DataError, match=r"did you mean .*camvid\?\nexpected:"):
        open_camvid(tmp_path / "CamVit", "train")


def test_an_unknown_split_is_refused(root):
    with pytest.raises(DataError, match="train, val, test, not 'training'"):
        open_camvid(root, "training")


@pytest.mark.parametrize("stray", [12, 34, 255])
def test_a_label_beyond_the_export_is_refused_with_a_histogram(root, stray):
    label = np.full((12, 16), 3, dtype=np.uint8)
    label[0] = stray
    Image.fromarray(label).save(root / "trainannot" / f"{IDS[1]}.png")
    with pytest.raises(DataError, match=rf"{IDS[1]}.png .*3: 176, {stray}: 16"):
        open_camvid(root, "train").label(1)


def test_a_label_of_another_size_is_refused(root):
    Image.fromarray(np.zeros((12, 15), dtype=np.uint8)).save(root / "trainannot" / f"{IDS[1]}.png")
    with pytest.raises(DataError, match=r"16x12 .*15x12"):
        open_camvid(root, "train").label(1)


NAMES = {
    "sky": "128 128 128 sky",
    "building": "0 128 64 bridge; 128 0 0 building; 64 192 0 wall; 64 0 64 tunnel; 192 0 128 archway",
    "pole": "192 192 128 column/pole; 0 0 64 traffic cone",
    "road": "128 64 128 road; 128 0 192 driving lane marking; 192 0 64 other lane marking",
    "pavement": "0 0 192 sidewalk; 64 192 128 parking block; 128 128 192 road shoulder",
    "tree": "128 128 0 tree; 192 192 0 other vegetation",
    "sign": "192 128 128 sign/symbol; 128 128 64 other text; 0 64 64 traffic light",
    "fence": "64 64 128 fence",
    "car": "64 0 128 car; 64 128 192 suv/van/pickup; 192 128 192 truck/bus; 192 64 128 train; 128 64 64 other moving",
    "pedestrian": "64 64 0 pedestrian; 192 128 64 child; 64 0 192 cart/luggage/pram; 64 128 64 animal",
    "bicyclist": "0 128 192 bicyclist; 192 0 192 motorcycle/scooter",
    "void": "0 0 0 void",
}
"""The 32 published colours and names in their groups."""

ORIGINAL = "LabeledApproved_full/Seq05VD_f02610_L.png"


def test_32_colours_of_the_original_become_11_classes(data_set):
    original = data_set("camvid_original")
    groups = [(name, entry.split()[:3]) for name, entries in NAMES.items() for entry in entries.split(";")]
    assert len(groups) == 32
    original.label(ORIGINAL, np.array([colour for _, colour in groups], dtype=np.uint8))
    reader = original.open()
    assert reader.ids == ("0001TP_006690", "0016E5_07959", "Seq05VD_f02610")
    classes = (*reader.space.classes, "void")
    expected = [classes.index(name) if name != "void" else 255 for name, _ in groups]
    assert reader.label(2)[1, :32].tolist() == expected
    assert reader.label(2)[:, 32:].unique().tolist() == [255]


def test_colours_that_mean_nothing_are_void(data_set):
    original = data_set("camvid_original")
    original.label(ORIGINAL, np.array([(128, 64, 128), (129, 64, 128), (255, 255, 255), (0, 0, 1)]))
    assert original.open().label(2)[0, :5].tolist() == [3, 255, 255, 255, 255]


def test_a_file_without_any_of_the_colours_is_refused(data_set):
    original = data_set("camvid_original")
    Image.new("RGB", (64, 4), (244, 35, 232)).save(original.root / ORIGINAL)
    with pytest.raises(DataError, match=r"f02610_L.png: no pixel has any of the 32 colours"):
        original.open().label(2)


def test_an_index_label_in_place_of_colours_is_refused(data_set):
    original = data_set("camvid_original")
    Image.new("L", (64, 4), 3).save(original.root / ORIGINAL)
    with pytest.raises(DataError, match=r"f02610_L.png: pixels are L: .*RGB colours"):
        original.open().label(2)


def test_lists_of_the_export_choose_from_the_original_too(data_set):
    original = data_set("camvid_original")
    (original.root / "val.txt").write_text("/SegNet/CamVid/val/0016E5_07959.png /SegNet/CamVid/x/0016E5_07959.png")
    assert original.open("val.txt").ids == ("0016E5_07959",)
