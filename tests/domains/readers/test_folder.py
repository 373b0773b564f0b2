"""The generic folder reader and translated copies."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.base.errors import DataError
from domains.base.labels import LabelSpace
from domains.readers.folder import FolderReader, Translated, find_images, read_list

SPACE = LabelSpace("abc", ("a", "b", "c"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)))
IDS = ("city one/0002", "city one/0001", "Zürich/0001")


def write(folder: Path, name: str, value: int, suffix: str = "png", height: int = 4) -> None:
    path = folder / f"{name}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, 6, 3), value, dtype=np.uint8)).save(path)


def write_label(folder: Path, name: str, ids: list[list[int]]) -> None:
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(ids, dtype=np.uint8)).save(path)


@pytest.fixture
def tree(tmp_path) -> Path:
    for value, (name, suffix) in enumerate(zip(IDS, ("png", "jpg", "JPEG"), strict=True)):
        write(tmp_path / "images", name, 10 * value, suffix)
        write_label(tmp_path / "labels", name, [[0, 1, 2, 255, value, value]] * 4)
    (tmp_path / "images" / "._0001.png").write_bytes(b"resource fork")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path


def test_images_are_found_in_every_depth_and_sorted_by_id(tree):
    reader = FolderReader(tree / "images", None, SPACE)
    assert reader.ids == ("Zürich/0001", "city one/0001", "city one/0002")
    assert len(reader) == 3
    assert reader.image(2).unique().tolist() == [0]
    assert reader.image(0).shape == (3, 4, 6)


def test_labels_lie_at_the_same_relative_path(tree):
    reader = FolderReader(tree / "images", tree / "labels", SPACE)
    assert reader.has_labels
    assert [reader.label(k)[0].tolist() for k in range(3)] == [
        [0, 1, 2, 255, 2, 2],
        [0, 1, 2, 255, 1, 1],
        [0, 1, 2, 255, 0, 0],
    ]


def test_a_list_chooses_and_orders_the_images(tree):
    (tree / "list.txt").write_text("city one/0002.png\n\n  Zürich/0001 \n", encoding="utf-8")
    reader = FolderReader(tree / "images", None, SPACE, ids=read_list(tree / "list.txt"))
    assert reader.ids == ("city one/0002", "Zürich/0001")
    assert reader.image(0).unique().tolist() == [0]


def test_images_and_labels_come_at_the_working_size(tree):
    reader = FolderReader(tree / "images", tree / "labels", SPACE, height=8, width=12)
    assert reader.image(1).shape == (3, 8, 12)
    assert reader.label(1)[7].tolist() == [0, 0, 1, 1, 2, 2, 255, 255, 1, 1, 1, 1]


def test_a_reader_travels_cheaply_and_reads_the_same(tree):
    reader = FolderReader(tree / "images", tree / "labels", SPACE)
    reader.image(0)
    data = pickle.dumps(reader)
    assert len(data) < 1500
    assert torch.equal(pickle.loads(data).label(1), reader.label(1))


def test_a_domain_without_labels_gives_none(tree):
    reader = FolderReader(tree / "images", None, SPACE)
    assert not reader.has_labels
    with pytest.raises(DataError, match="opened without labels"):
        reader.label(0)


def test_missing_labels_are_counted_and_the_first_five_named(tree):
    for index in range(7):
        write(tree / "images", f"x{index}", 0)
    with pytest.raises(DataError, match=r"7 of 10 ids have no label in .*: x0, x1, x2, x3, x4, \.\.\."):
        FolderReader(tree / "images", tree / "labels", SPACE)


def test_ids_of_a_list_without_image_are_named(tree):
    with pytest.raises(DataError, match=r"1 of 2 ids have no image in .*: nowhere"):
        FolderReader(tree / "images", None, SPACE, ids=["nowhere", IDS[0]])


def test_parts_and_endings_choose_files_and_are_no_part_of_ids(tmp_path):
    for name in ("day/1_left", "day/1_right", "dusk/2_left", "night/3_left", "day/_left", "day/left"):
        write(tmp_path / "images", name, 0)
    for name in ("day/1", "dusk/2", "day/"):
        write_label(tmp_path / "labels", f"{name}_ids", [[1] * 6] * 4)
        write_label(tmp_path / "labels", f"{name}_colours", [[2] * 6] * 4)
    reader = FolderReader(
        tmp_path / "images",
        tmp_path / "labels",
        SPACE,
        parts=("day", "dusk"),
        image_end="_left",
        label_end="_ids.png",
    )
    assert reader.ids == ("day/", "day/1", "dusk/2")
    assert [reader.label(k).unique().tolist() for k in range(3)] == [[1], [1], [1]]


def test_an_empty_and_a_missing_folder_are_told_apart(tree):
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images in .*empty"):
        find_images(tree / "empty")
    with pytest.raises(DataError, match=r"imagse does not exist; did you mean .*images\?"):
        find_images(tree / "imagse")


def test_two_files_of_one_id_are_refused(tree):
    write(tree / "images", IDS[0], 5, "jpg")
    with pytest.raises(DataError, match="share the id 'city one/0002'"):
        find_images(tree / "images")


def test_an_id_outside_the_label_space_is_refused_with_a_histogram(tree):
    write_label(tree / "labels", IDS[1], [[0, 0, 0, 34, 34, 255]] * 4)
    reader = FolderReader(tree / "images", tree / "labels", SPACE)
    with pytest.raises(DataError, match=r"0001.png .*outside abc .*0: 12, 34: 8, 255: 4"):
        reader.label(1)


def test_a_label_of_another_size_is_refused_with_both_sizes(tree):
    write_label(tree / "labels", IDS[1], [[0, 0, 0, 0, 0]] * 4)
    reader = FolderReader(tree / "images", tree / "labels", SPACE)
    with pytest.raises(DataError, match=r"0001.jpg is 6x4 .*0001.png is 5x4"):
        reader.label(1)


@pytest.mark.parametrize(("text", "word"), [("", "empty"), ("\n \n", "empty"), ("a\nb\na.png\n", "'a' twice")])
def test_a_useless_list_is_refused(tmp_path, text, word):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match=word):
        read_list(tmp_path / "list.txt")


def test_a_missing_list_names_the_nearest_file(tmp_path):
    (tmp_path / "day.txt").write_text("a")
    with pytest.raises(DataError, match=r"days.txt does not exist; did you mean .*day.txt"):
        read_list(tmp_path / "days.txt")


def test_translated_copies_keep_ids_and_labels_and_change_the_images(tree):
    source = FolderReader(tree / "images", tree / "labels", SPACE)
    for name in IDS:
        write(tree / "moved", name, 200, height=8)
    copies = Translated(source, tree / "moved", height=4, width=6)
    assert copies.ids == source.ids
    assert copies.image(1).unique().tolist() == [200]
    assert copies.image(1).shape == (3, 4, 6)
    assert torch.equal(copies.label(1), source.label(1))


def test_a_source_image_without_translation_is_named(tree):
    source = FolderReader(tree / "images", tree / "labels", SPACE)
    write(tree / "moved", IDS[0], 200)
    with pytest.raises(DataError, match=r"2 of 3 ids have no image in .*moved: Zürich/0001"):
        Translated(source, tree / "moved")


def test_every_missing_half_and_every_second_file_can_be_told_at_once(tree):
    for index in range(7):
        write(tree / "images", f"x{index}", 0)
    write_label(tree / "labels", "stray", [[0]])
    write(tree / "images", IDS[0], 5, "jpg")
    problems: list[str] = []
    reader = FolderReader(tree / "images", tree / "labels", SPACE, problems=problems)
    assert reader.ids == ("Zürich/0001", "city one/0001", "city one/0002")
    assert len(problems) == 9
    assert "share the id 'city one/0002'" in problems[0]
    assert str(tree / "labels" / "stray.png") in problems[1]
    assert "has no image in" in problems[1]
    assert [told.split(" has no label")[0] for told in problems[2:]] == [f"x{index}" for index in range(7)]


def test_a_list_tells_its_missing_images_and_no_strays(tree):
    problems: list[str] = []
    ids = ["nowhere", IDS[0], "neither"]
    reader = FolderReader(tree / "images", tree / "labels", SPACE, ids=ids, problems=problems)
    assert reader.ids == (IDS[0],)
    assert [told.split(" has no image")[0] for told in problems] == ["nowhere", "neither"]


def test_labels_of_other_parts_are_no_strays(tmp_path):
    for name in ("day/1", "day_ref/2"):
        write_label(tmp_path / "labels", name, [[1] * 6] * 4)
    write(tmp_path / "images", "day/1", 0)
    problems: list[str] = []
    FolderReader(tmp_path / "images", tmp_path / "labels", SPACE, parts=("day",), problems=problems)
    assert problems == []
