"""What all data sets share: trees, lists, splits without labels, errors that show the way."""

from __future__ import annotations

import pickle
import shutil

import pytest
import torch

from domains.base.errors import DataError
from domains.base.settings import DomainSettings
from domains.registry import LAYOUTS

KINDS = sorted(LAYOUTS)
LABELLED = [(kind, "val" if kind == "dark_zurich" else "train") for kind in KINDS]


@pytest.mark.parametrize(("kind", "split"), LABELLED)
def test_every_data_set_gives_images_and_labels_of_their_size(data_set, kind, split):
    reader = data_set(kind).open(split=split)
    assert reader.has_labels
    for index in range(len(reader)):
        assert (reader.image(index).dtype, reader.image(index).shape) == (torch.uint8, (3, 4, 64))
        assert (reader.label(index).dtype, reader.label(index).shape) == (torch.uint8, (4, 64))
        assert set(reader.label(index).unique().tolist()) <= {*range(len(reader.space)), 255}
    assert data_set(kind).open(height=2, width=8, split=split).label(0).shape == (2, 8)


@pytest.mark.parametrize(("kind", "split"), LABELLED)
def test_labels_can_be_written_to_since_each_is_read_anew(data_set, kind, split):
    reader = data_set(kind).open(split=split)
    reader.label(0).fill_(7)
    assert 7 not in reader.label(0)


@pytest.mark.parametrize(("kind", "split"), LABELLED)
def test_readers_travel_cheaply(data_set, kind, split):
    reader = data_set(kind).open(split=split)
    data = pickle.dumps(reader)
    assert len(data) < 4000
    assert torch.equal(pickle.loads(data).label(0), reader.label(0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_folder_shows_the_tree_that_is_expected(data_set, kind, trees):
    data = data_set(kind)
    shutil.rmtree(data.root)
    with pytest.raises(DataError, match=r"(?s)does not exist.*expected:\n  .*<") as caught:
        data.open()
    lines = [line.strip() for line in str(caught.value).splitlines()[2:]]
    shown = {(line.split("/")[0], line.removesuffix(".jpg or .png").rsplit(">", 1)[-1]) for line in lines[1:]}
    for image, label in trees[kind]:
        if "train" in image and "beta_0.0" not in image.replace("beta_0.02", ""):
            assert any(image.startswith(top) and image[:-4].endswith(end) for top, end in shown), lines
            assert not label or any(label.startswith(top) and label.endswith(end) for top, end in shown), lines


def test_a_folder_of_other_files_shows_the_tree_too(data_set):
    city = data_set("cityscapes")
    for path in (city.root / "leftImg8bit/train").rglob("*.png"):
        path.rename(path.with_name("0.png"))
    with pytest.raises(DataError, match=r"(?s)no images in .*train\nexpected:.*_leftImg8bit.jpg or .png"):
        city.open()


def test_a_root_that_is_misspelt_names_the_nearest(data_set):
    data = data_set("cityscapes")
    layout = LAYOUTS["cityscapes"](DomainSettings(kind="cityscapes"), data.root)
    with pytest.raises(DataError, match=r"did you mean .*/cityscapes\?"):
        layout.open(data.root.with_name("cityscape"))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("gta5", "synthia", "camvid_original")])
def test_an_unknown_split_is_refused_with_those_that_there_are(data_set, kind):
    with pytest.raises(DataError, match=r"has the splits train, val, test, not 'trian'"):
        data_set(kind).open(split="trian")


@pytest.mark.parametrize(
    "line",
    [
        "zurich/zurich_000121_000019",
        "zurich/zurich_000121_000019_leftImg8bit.png",
        "leftImg8bit/train/zurich/zurich_000121_000019_leftImg8bit.png gtFine/train/zurich/x_gtFine_labelIds.png",
        "/data/cityscapes/leftImg8bit/train/zurich/zurich_000121_000019_leftImg8bit",
    ],
)
def test_a_list_names_images_by_id_or_path_with_or_without_the_label(data_set, line):
    city = data_set("cityscapes")
    (city.root / "list.txt").write_text(f"{line}\n")
    assert city.open("list.txt").ids == ("zurich/zurich_000121_000019",)


def test_a_line_of_a_list_without_image_is_named(data_set):
    city = data_set("cityscapes")
    (city.root / "list.txt").write_text("zurich/zurich_000121_000019\naachen/aachen_000009_000019\n")
    with pytest.raises(DataError, match=r"1 of 2 ids have no image in .*train: aachen/aachen_000009_000019"):
        city.open("list.txt")


def test_an_image_that_a_list_names_twice_in_two_ways_is_refused(data_set):
    city = data_set("cityscapes")
    (city.root / "list.txt").write_text("aachen/aachen_000000_000019\naachen/aachen_000000_000019_leftImg8bit.png\n")
    with pytest.raises(DataError, match=r"list.txt names 'aachen/aachen_000000_000019' twice"):
        city.open("list.txt")


def test_without_a_folder_of_labels_images_still_serve_and_some_labels_missing_is_a_mistake(data_set):
    city = data_set("cityscapes")
    (city.root / "gtFine/train/zurich/zurich_000121_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 ids have no label in .*<id>_gtFine_labelIds.png\): zurich"):
        city.open()
    shutil.rmtree(city.root / "gtFine")
    reader = city.open()
    assert (len(reader), reader.has_labels) == (2, False)


def test_a_root_one_folder_too_high_or_too_low_is_told_where_the_data_set_lies(data_set):
    root = data_set("cityscapes").root
    layout = LAYOUTS["cityscapes"](DomainSettings(kind="cityscapes"), root)
    for wrong in (root.parent, root / "leftImg8bit"):
        with pytest.raises(DataError, match=r"(?s)it lies in .*/cityscapes: make that the root\nexpected:"):
            layout.open(wrong)
