"""From settings to readers, and the sentences that a wrong setting gets."""

from __future__ import annotations

import json
import pickle
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from domains.base.errors import DataError
from domains.base.labels import label_space
from domains.base.settings import AugmentSettings, DomainKind, DomainSettings, IsaSettings, PairSettings
from domains.registry import FIELDS, LAYOUTS, check_pair, check_settings, open_reader, open_translated

TOY = label_space("toycity12")
CAMVID = DomainSettings(kind="camvid", root="camvid")
FOLDER = DomainSettings(kind="folder", root="mine", images="images", labels="labels", label_space="camvid11")
CROP = AugmentSettings(crop_height=8, crop_width=8)
NO_ISA = IsaSettings(ratio=0.0)


@pytest.fixture
def root(tmp_path) -> Path:
    for images, labels in (("camvid/train", "camvid/trainannot"), ("mine/images", "mine/labels")):
        (tmp_path / images).mkdir(parents=True)
        (tmp_path / labels).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(np.full((12, 16, 3), 50 * index, dtype=np.uint8)).save(tmp_path / images / f"i{index}.png")
            label = np.arange(11, dtype=np.uint8).repeat(18)[: 12 * 16].reshape(12, 16)
            Image.fromarray(label).save(tmp_path / labels / f"i{index}.png")
    return tmp_path


def test_camvid_is_read_in_the_classes_of_the_run_at_its_size(root):
    reader = open_reader(CAMVID, TOY, str(root), 6, 8)
    assert reader.ids == ("i0", "i1", "i2", "i3")
    assert reader.image(1).shape == (3, 6, 8)
    raw = open_reader(CAMVID, label_space("camvid11"), str(root))
    mapped = open_reader(CAMVID, TOY, str(root)).label(0)
    for own, name in enumerate(raw.space.classes[:10]):
        renamed = {"pavement": "sidewalk", "tree": "vegetation", "sign": "traffic sign", "pedestrian": "person"}
        ids = mapped[raw.label(0) == own].unique().tolist()
        assert ids == [TOY.classes.index(renamed.get(name, name))]
    assert (mapped[raw.label(0) == 10] == 255).all()


def test_evaluation_resizes_the_images_and_keeps_the_labels(root):
    reader = open_reader(CAMVID, TOY, str(root), 6, 8, resize_labels=False)
    assert reader.image(1).shape == (3, 6, 8)
    assert torch.equal(reader.label(1), open_reader(CAMVID, TOY, str(root)).label(1))


def test_count_takes_the_first_images(root):
    assert open_reader(replace(CAMVID, count=3), TOY, str(root)).ids == ("i0", "i1", "i2")
    assert len(open_reader(replace(CAMVID, count=99), TOY, str(root))) == 4


def test_the_toy_city_has_its_own_size_and_counts_where_the_run_sets_none():
    reader = open_reader(DomainSettings(), TOY, "")
    assert len(reader) == 400
    assert len(open_reader(DomainSettings(split="val"), TOY, "")) == 100
    assert reader.image(0).shape == (3, 128, 256)
    small = open_reader(DomainSettings(style="street", count=2), TOY, "", 64, 96)
    assert len(small) == 2
    assert small.image(1).shape == (3, 64, 96)
    assert set(small.label(1).unique().tolist()) <= {*range(12), 255}


def test_a_folder_without_labels_opens_in_any_label_space(root):
    settings = DomainSettings(kind="folder", root="mine", images="images")
    reader = open_reader(settings, TOY, str(root))
    assert not reader.has_labels
    assert reader.image(2).unique().tolist() == [100]


def test_labels_of_a_folder_are_in_the_space_of_the_run_unless_told_otherwise(root):
    settings = replace(FOLDER, label_space="")
    assert torch.equal(
        open_reader(settings, TOY, str(root)).label(0), torch.arange(11).repeat_interleave(18)[:192].view(12, 16)
    )


def test_what_was_read_once_is_remembered_and_stays_behind_when_pickled(root):
    reader = open_reader(CAMVID, TOY, str(root))
    assert reader.image(0) is reader.image(0)
    assert len(pickle.dumps(reader)) < 5_000


def test_spaces_without_a_common_class_are_refused(root):
    space = root / "other.json"
    space.write_text(json.dumps({"name": "fruit", "classes": ["apple"]}))
    with pytest.raises(DataError, match="camvid11 and fruit share no class"):
        open_reader(CAMVID, label_space(str(space)), str(root))


def test_good_settings_raise_no_objection(root):
    assert check_settings(CAMVID, str(root)) == []
    assert check_settings(FOLDER, str(root)) == []
    assert check_settings(DomainSettings(), "") == []
    pair = PairSettings(source=FOLDER, target=CAMVID, evaluation=CAMVID, height=12, width=16)
    assert check_pair(pair, CROP, NO_ISA, str(root)) == []


def test_a_setting_without_meaning_for_the_kind_is_pointed_out(root):
    problems = check_settings(replace(CAMVID, images="images", style="street"), str(root))
    assert len(problems) == 2
    assert all("has no meaning for a domain of kind camvid" in problem for problem in problems)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (replace(CAMVID, split="val"), "camvid/val does not exist"),
        (replace(CAMVID, root="camvit"), "did you mean"),
        (replace(CAMVID, list="day.txt"), "day.txt does not exist"),
        (replace(CAMVID, count=-1), "count must be 0"),
        (replace(FOLDER, labels="lables"), "did you mean"),
        (replace(FOLDER, label_space="camvid12"), "did you mean camvid11"),
        (DomainSettings(split="test"), "train or val"),
    ],
)
def test_a_wrong_setting_gets_one_sentence(root, settings, words):
    problems = check_settings(settings, str(root))
    assert len(problems) == 1
    assert words in problems[0]


def test_no_image_is_decoded_by_the_check(root):
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    assert check_settings(CAMVID, str(root)) == []
    assert check_settings(FOLDER, str(root)) == []


def test_all_mistakes_of_a_pair_are_listed_at_once(root):
    pair = PairSettings(
        source=replace(FOLDER, labels="", label_space=""),
        target=replace(CAMVID, split="val"),
        evaluation=replace(CAMVID, list="none.txt"),
        height=4,
        width=16,
    )
    augment = replace(CROP, scale_min=2.0, brightness=-1.0)
    isa = IsaSettings(ratio=2.0, fourier_beta=0.7, translator="folder")
    text = "\n".join(check_pair(pair, augment, isa, str(root)))
    for words in (
        "source: this domain needs labels",
        "target: ",
        "evaluation: ",
        "the crop (8x8, height x width) must fit in the images (4x16)",
        "scale_min <= scale_max",
        "brightness must lie in [0, 1]",
        "must lie in [0, 1], got 2.0",
        "fourier_beta",
        "needs the folder",
    ):
        assert words in text


def test_half_a_size_and_a_wrong_space_are_refused(root):
    pair = PairSettings(height=64, label_space="toycity13")
    problems = check_pair(pair, CROP, NO_ISA, str(root))
    assert len(problems) == 2
    assert "must both be 0 or both be positive" in problems[0]
    assert "did you mean toycity12" in problems[1]


def test_translated_images_are_opened_and_checked_by_id(root):
    (root / "moved").mkdir()
    for index in range(4):
        Image.fromarray(np.full((24, 32, 3), 9, dtype=np.uint8)).save(root / "moved" / f"i{index}.png")
    isa = IsaSettings(translator="folder", folder="moved")
    pair = PairSettings(source=CAMVID, target=CAMVID, evaluation=CAMVID)
    assert check_pair(pair, CROP, isa, str(root)) == []
    copies = open_translated(open_reader(CAMVID, TOY, str(root), 6, 8), isa, str(root), 6, 8)
    assert copies.image(3).shape == (3, 6, 8)
    assert copies.image(3).unique().tolist() == [9]
    (root / "moved" / "i2.png").unlink()
    assert "translated source images: 1 of 4 ids have no image" in check_pair(pair, CROP, isa, str(root))[0]


def test_a_run_may_lack_an_evaluation_domain_and_no_other(root):
    none = DomainSettings(kind="none")
    assert check_settings(none, str(root)) == []
    pair = PairSettings(source=CAMVID, target=CAMVID, evaluation=none)
    assert check_pair(pair, CROP, NO_ISA, str(root)) == []
    for name in ("source", "target"):
        (problem,) = check_pair(replace(pair, **{name: none}), CROP, NO_ISA, str(root))
        assert problem == f"{name}: a run needs this domain, it cannot be of kind none"


def test_absent_source_is_told_once_even_where_its_translation_is_asked_for(root):
    pair = PairSettings(source=DomainSettings(kind="none"), target=CAMVID, evaluation=CAMVID)
    isa = IsaSettings(translator="folder", folder="moved")
    assert len(check_pair(pair, CROP, isa, str(root))) == 1


def test_nothing_can_be_set_of_a_domain_that_is_not_there(root):
    problems = check_settings(DomainSettings(kind="none", count=3, images="images"), str(root))
    assert len(problems) == 2
    assert all("has no meaning for a domain of kind none" in problem for problem in problems)


def test_a_folder_domain_without_images_is_one_sentence_beside_the_others(root):
    (problem,) = check_settings(replace(FOLDER, images=""), str(root))
    assert problem == "images is not set: name the folder of this domain's images"
    bare = DomainSettings(kind="folder")
    problems = check_pair(PairSettings(source=bare, target=bare, evaluation=CAMVID), CROP, NO_ISA, str(root))
    assert problems == [f"{name}: {problem}" for name in ("source", "target")]


CITY19 = label_space("cityscapes19")
NO_SPLITS = ("gta5", "synthia", "camvid_original")


def domain(kind: str, labelled: bool = True) -> DomainSettings:
    """Settings of a part of a data set that has labels, or has none."""
    split = ("val" if kind == "dark_zurich" else "train") if labelled else "test"
    return DomainSettings(kind=kind, root=kind, split="train" if kind in NO_SPLITS else split)  # pyright: ignore


@pytest.mark.parametrize("kind", LAYOUTS)
def test_any_data_set_can_be_source_target_and_evaluation(tmp_path, data_set, kind):
    data_set(kind)
    settings = domain(kind)
    pair = PairSettings(source=settings, target=settings, evaluation=settings, label_space="cityscapes19")
    assert check_pair(pair, CROP, NO_ISA, str(tmp_path)) == []
    reader = open_reader(settings, CITY19, str(tmp_path), 8, 16)
    assert (reader.space, reader.image(0).shape, reader.label(0).shape) == (CITY19, (3, 8, 16), (8, 16))


@pytest.mark.parametrize("kind", [kind for kind in LAYOUTS if kind not in ("camvid", *NO_SPLITS)])
def test_a_split_without_public_labels_is_a_target_and_nothing_else(tmp_path, data_set, kind):
    data_set(kind)
    labelled, bare = domain(kind), domain(kind, labelled=False)
    pair = PairSettings(source=labelled, target=bare, evaluation=labelled, label_space="cityscapes19")
    assert check_pair(pair, CROP, NO_ISA, str(tmp_path)) == []
    assert not open_reader(bare, CITY19, str(tmp_path)).has_labels
    (problem,) = check_pair(replace(pair, evaluation=bare), CROP, NO_ISA, str(tmp_path))
    assert problem.startswith("evaluation: this domain needs labels: ")
    assert problem.endswith("has no public labels here: choose another split")


def test_labels_that_were_not_unpacked_are_asked_for_where_they_are_needed(tmp_path, data_set):
    data = data_set("cityscapes")
    (data.root / "gtFine").rename(data.root / "gtfine")
    settings = domain("cityscapes")
    pair = PairSettings(source=settings, target=settings, evaluation=DomainSettings(kind="none"))
    (problem,) = check_pair(pair, CROP, NO_ISA, str(tmp_path))
    assert problem.startswith("source: this domain needs labels: ")
    assert "gtFine/train does not exist; did you mean" in problem
    assert "expected:" in problem


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gta5", {"split": "val"}),
        ("synthia", {"split": "test"}),
        ("camvid_original", {"split": "val"}),
        ("cityscapes", {"condition": "fog"}),
        ("foggy_cityscapes", {"condition": "fog"}),
        ("acdc", {"fog_beta": 0.01}),
        ("gta5", {"lane_marking": "road"}),
        ("mapillary", {"label_space": "cityscapes19"}),
        ("bdd100k", {"images": "images"}),
        ("dark_zurich", {"style": "street"}),
        ("toycity", {"condition": "night"}),
        ("folder", {"images": "images", "fog_beta": 0.005}),
    ],
)
def test_settings_of_another_data_set_have_no_meaning(tmp_path, data_set, kind, changes):
    if kind in LAYOUTS:
        data_set(kind)
    settings = replace(DomainSettings(kind=kind, root=kind if kind in LAYOUTS else ""), **changes)
    name = list(changes)[-1]
    assert f"{name} has no meaning for a domain of kind {kind}: leave it out" in check_settings(settings, str(tmp_path))


def test_every_kind_says_which_settings_it_reads():
    assert FIELDS.keys() == set(get_args(DomainKind))
    assert {*LAYOUTS, "toycity", "folder", "arrow", "none"} == FIELDS.keys()
    assert set().union(*FIELDS.values()) | {"kind"} == {field.name for field in fields(DomainSettings)}


def space_file(path: Path, *classes: str) -> str:
    path.write_text(json.dumps({"name": path.stem, "classes": classes}))
    return str(path)


def test_a_space_of_one_class_is_refused_with_what_to_do(root):
    one = space_file(root / "one.json", "road")
    pair = PairSettings(label_space=one)
    (problem,) = check_pair(pair, CROP, NO_ISA, str(root))
    assert problem.startswith("pair.label_space: label space 'one' has one class, 'road',")
    assert "such as background" in problem
    assert (
        check_pair(replace(pair, label_space=space_file(root / "two.json", "road", "sky")), CROP, NO_ISA, str(root))
        == []
    )


def test_a_pair_whose_label_spaces_do_not_meet_is_refused(root, data_set):
    data_set("cityscapes")
    city = domain("cityscapes")
    roads = replace(FOLDER, label_space=space_file(root / "roads.json", "road", "kerb"))
    skies = replace(FOLDER, label_space=space_file(root / "skies.json", "sky", "kite"))
    pair = PairSettings(source=roads, target=replace(skies, labels="", label_space=""), evaluation=skies)
    (problem,) = check_pair(replace(pair, label_space="cityscapes19"), CROP, NO_ISA, str(root))
    assert problem.startswith("source and evaluation have no class in common: of the classes of cityscapes19,")
    assert "labels in roads and in skies" in problem
    assert check_pair(replace(pair, evaluation=city, label_space="cityscapes19"), CROP, NO_ISA, str(root)) == []
    fruit = space_file(root / "fruit.json", "apple", "pear")
    problems = check_pair(
        PairSettings(source=city, target=city, evaluation=city, label_space=fruit), CROP, NO_ISA, str(root)
    )
    assert [problem.split(":")[0] for problem in problems] == ["source", "target", "evaluation"]
    assert all("label spaces cityscapes19 and fruit share no class" in problem for problem in problems)
