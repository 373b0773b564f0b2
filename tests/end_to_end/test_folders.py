"""A user's own folders: labelled source, target without labels, labelled evaluation; and files that are broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from domains.toycity.reader import ToyCity


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Three folders in a place with a space and an umlaut; in the second labels carry another space's ids."""
    root = tmp_path_factory.mktemp("own") / "Straßen bilder"
    for name, city in {
        "source": ToyCity("game", "train", 6, 64, 128),
        "target": ToyCity("street", "train", 6, 64, 128),
        "evaluation": ToyCity("street", "val", 3, 64, 128),
    }.items():
        for kind in ("images", "labels"):
            (root / name / kind).mkdir(parents=True)
        for index, id in enumerate(city.ids):
            Image.fromarray(city.image(index).permute(1, 2, 0).numpy()).save(root / name / "images" / f"{id}.png")
            if name != "target":
                Image.fromarray(city.label(index).numpy()).save(root / name / "labels" / f"{id}.png")
    return root


@pytest.fixture(scope="module")
def words(folders, tiny) -> list[str]:
    domains = {}
    for name in ("source", "target", "evaluation"):
        # The preset's style and split mean nothing to a folder.
        own = {"kind": "folder", "root": name, "images": "images", "count": 0, "style": "game", "split": "train"}
        domains |= {f"pair__{name}__{key}": value for key, value in own.items()}
    for name in ("source", "evaluation"):
        domains |= {f"pair__{name}__labels": "labels", f"pair__{name}__label_space": "cityscapes19"}
    changes = {"pretrain": "frozen_backbone", "source__steps": 4, "source__batchnorm": "eval", "adapt__steps": 4}
    return [*tiny(**domains, **changes), "--root", str(folders), "--name", "own folders"]


@pytest.fixture
def truncated(folders):
    """Cut a file in half until it is mended."""
    cut: list[tuple[Path, bytes]] = []

    def cut_in_half(path: Path) -> Path:
        content = path.read_bytes()
        cut.append((path, content))
        path.write_bytes(content[: len(content) // 2])
        return path

    yield cut_in_half
    for path, content in cut:
        path.write_bytes(content)


def refused(printed: str, path: Path) -> None:
    assert printed.splitlines()[-1].startswith(f"{path} is not a readable image")
    assert "Traceback" not in printed


def test_truncated_image_met_in_training_is_named(desk, words, folders, truncated):
    path = truncated(folders / "source" / "images" / "game-train-00002.png")
    refused(desk.start("drsl", *words).ends(2), path)
    assert not (desk.runs / "own folders" / "stages" / "00-source" / "done.json").exists()


def test_truncated_target_image_is_named_and_what_was_done_is_kept(desk, words, folders, truncated):
    path = truncated(folders / "target" / "images" / "street-train-00004.png")
    refused(desk.start("drsl", *words).ends(2), path)
    assert (desk.runs / "own folders" / "stages" / "00-source" / "done.json").exists()


def test_mended_folders_make_a_complete_run(desk, words):
    printed = desk.carry_out("drsl", *words)
    assert "source: done before" in printed
    summary = json.loads((desk.runs / "own folders" / "summary.json").read_text())
    assert 0 <= summary["adapted"]["miou"] <= 1
    (only,) = summary["rounds"]
    assert only["pseudo_label_miou"] is None
    assert only["pseudo_label_accuracy"] is None
    assert summary["pair"]["target"] == "folder, images (6 images)"
    assert (desk.runs / "own folders" / "report.html").exists()
