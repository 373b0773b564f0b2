"""BDD100K in the trees of both its releases."""

from __future__ import annotations

from PIL import Image

from domains.base.settings import DomainSettings
from domains.layouts.bdd100k import bdd100k

LABEL = "labels/sem_seg/masks/val/7d06fefd-f7be05a6.png"


def test_labels_are_train_ids_of_the_10k_images(data_set):
    bdd = data_set("bdd100k")
    row = [*range(19), 255]
    bdd.label(LABEL, row)
    reader = bdd.open(split="val")
    assert reader.ids == ("7d06fefd-f7be05a6",)
    assert reader.label(0)[0, :20].tolist() == row
    assert not bdd.open(split="test").has_labels


def test_first_release_has_other_folders_and_names(tmp_path):
    for folder in ("images/val", "labels/val"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(tmp_path / "images/val/7d06fefd-f7be05a6.jpg")
    Image.new("L", (6, 4), 13).save(tmp_path / "labels/val/7d06fefd-f7be05a6_train_id.png")
    reader = bdd100k(DomainSettings(kind="bdd100k", split="val"), tmp_path).open(tmp_path)
    assert reader.ids == ("7d06fefd-f7be05a6",)
    assert reader.label(0).unique().tolist() == [13]
