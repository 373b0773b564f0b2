"""Looking at images and labels one by one: nothing stops it, and what it counts is what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domains.base.labels import LabelSpace
from domains.dataset_check import examine, total
from domains.readers.folder import FolderReader

SPACE = LabelSpace("abc", ("a", "b", "c"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)))


def put(root: Path, id: str, label: list[list[int]], size: tuple[int, int] | None = None) -> None:
    pixels = np.array(label, dtype=np.uint8)
    for kind in ("images", "labels"):
        (root / kind).mkdir(exist_ok=True)
    Image.fromarray(np.full((*(size or pixels.shape), 3), 7, np.uint8)).save(root / "images" / f"{id}.png")
    Image.fromarray(pixels).save(root / "labels" / f"{id}.png")


@pytest.fixture
def reader(tmp_path) -> FolderReader:
    put(tmp_path, "x", [[0, 0, 1], [0, 255, 1]])
    put(tmp_path, "y", [[2, 2], [2, 2]])
    put(tmp_path, "z", [[255, 255], [255, 255]])
    return FolderReader(tmp_path / "images", tmp_path / "labels", SPACE)


def test_pixels_of_each_class_are_counted_by_hand(reader):
    found = examine(reader, 0)
    assert (found.id, found.size, found.pixels, found.void, found.problems) == ("x", (2, 3), (3, 2, 0), 1, ())
    assert found.lacks(SPACE) == ["c"]
    assert found.record(SPACE)["lacks"] == ["c"]


def test_classes_are_counted_at_the_working_size_as_training_reads_them(reader, tmp_path):
    found = examine(reader, 0, 4, 6)
    label = FolderReader(tmp_path / "images", tmp_path / "labels", SPACE, height=4, width=6).label(0).numpy()
    assert found.pixels == tuple(int((label == k).sum()) for k in range(3)) == (12, 8, 0)
    assert found.size == (2, 3)


def test_sums_over_a_domain(reader):
    sums = total([examine(reader, index) for index in range(3)], SPACE)
    assert (sums["images"], sums["sizes"]) == (3, {"2x2": 2, "2x3": 1})
    assert sums["pixels"] == {"a": 3, "b": 2, "c": 4}
    assert sums["share"]["c"] == pytest.approx(4 / 9)
    assert (sums["images_with"], sums["images_lacking"]) == ({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 2})
    assert (sums["void"], sums["all_void"]) == (5, ["z"])


def test_a_domain_without_labels_has_sizes_alone(reader, tmp_path):
    found = examine(FolderReader(tmp_path / "images", None, SPACE), 0)
    assert (found.size, found.pixels) == ((2, 3), None)
    assert total([found], SPACE) == {"images": 1, "sizes": {"2x3": 1}}


def test_the_digest_changes_with_any_pixel_or_class(reader, tmp_path):
    before = examine(reader, 0).content
    assert examine(reader, 0).content == before
    put(tmp_path, "x", [[0, 0, 1], [0, 255, 2]])
    after_label = examine(reader, 0).content
    Image.fromarray(np.full((2, 3, 3), 8, np.uint8)).save(tmp_path / "images" / "x.png")
    assert len({before, after_label, examine(reader, 0).content}) == 3


def test_image_and_label_are_both_looked_at_and_the_same_sentence_comes_once(reader, tmp_path):
    (tmp_path / "images" / "x.png").write_bytes(b"")
    put(tmp_path, "y", [[0, 9], [9, 9]])
    (told,) = examine(reader, 0).problems
    assert "x.png is not a readable image" in told
    found = examine(reader, 1)
    assert "outside abc (0 to 2, 255); pixels by id: 0: 1, 9: 3" in found.problems[0]
    assert (found.size, found.pixels) == ((2, 2), None)


def test_a_decoder_that_fails_as_none_did_before_stops_nothing(reader, monkeypatch):
    def broken(_index: int) -> None:
        raise IndexError("beyond")

    monkeypatch.setattr(reader, "image", broken)
    found = examine(reader, 0)
    assert found.problems == ("x cannot be read: IndexError: beyond",)
    assert found.pixels == (3, 2, 0)


def test_labels_that_silently_lost_eight_of_their_bits_are_told(data_set):
    synthia = data_set("synthia")
    Image.fromarray(np.zeros((4, 64, 3), np.uint8)).save(synthia.root / "GT/LABELS/0000001.png")
    found = [examine(synthia.open(), index) for index in range(3)]
    assert [len(each.problems) for each in found] == [0, 1, 0]
    assert "8 bits a channel (RGB) where this data set has 16" in found[1].problems[0]
