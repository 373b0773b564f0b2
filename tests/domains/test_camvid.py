"""The CamVid layout, written here in the encodings of the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domains.camvid import camvid
from domains.errors import DataError
from domains.folder import FolderReader
from domains.settings import DomainSettings

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
