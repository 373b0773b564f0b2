"""evaluate, label and report on a folder of images: what they write, and what they say of what cannot be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from domains.base.labels import SPACES, remap
from domains.stores.pseudo_labels import PseudoLabels, verify
from domains.toycity.reader import ToyCity


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """The finished run's evaluation images as files; the second label holds its ids as a palette."""
    folder, city = tmp_path_factory.mktemp("pictures"), ToyCity("street", "val", 4, 64, 128)
    table = remap(city.space, SPACES["toycity12"])
    for index, name in enumerate(city.ids):
        for kind in ("images", "labels"):
            (folder / kind / "a street").mkdir(parents=True, exist_ok=True)
        Image.fromarray(city.image(index).permute(1, 2, 0).numpy()).save(folder / "images/a street" / f"{name}.png")
        label = Image.fromarray(table[city.label(index).numpy()])
        if index == 1:
            colours = np.zeros((256, 3), np.uint8)  # of full length, or Pillow would store fewer bits a pixel
            colours[:12] = SPACES["toycity12"].palette
            label.putpalette(colours.ravel().tolist())
            assert label.mode == "P"
        label.save(folder / "labels/a street" / f"{name}.png")
    return folder


def first(folder: Path, kind: str) -> Path:
    return sorted((folder / kind).rglob("*.png"))[0]


def of(folder: Path) -> list[object]:
    return ["--images", folder / "images", "--labels", folder / "labels", "--label_space", "toycity12"]


def test_evaluation_of_files_gives_the_numbers_of_the_run(call, finished, pictures, tmp_path):
    out = tmp_path / "evaluation.json"
    words = ("evaluate", "--model", finished.folder / "model", *of(pictures), "--out", out)
    code, printed, error = call(*words, "--precision", "fp32")  # as the run's
    assert code == 0, error
    assert f"written: {out}" in printed
    found, summary = json.loads(out.read_text()), json.loads((finished.folder / "summary.json").read_text())
    assert {"protocol": found["protocol"]["name"], "miou": found["miou"], "iou": found["iou"]} == summary["adapted"]
    assert found["protocol"]["classes"] == summary["protocol"]["classes"]
    assert found["protocol"]["images"] == 4


def test_labels_are_written_as_shards_and_pictures(call, finished, pictures, tmp_path):
    out = tmp_path / "labels"
    words = ("label", "--model", finished.folder / "model", "--images", pictures / "images", "--out", out)
    code, _, error = call(*words, "--pictures", "--size", "32", "64")
    assert code == 0, error
    assert verify(out) == []
    store = PseudoLabels(out)
    rows = [row for path in sorted(out.glob("*.arrow")) for row in datasets.Dataset.from_file(str(path))]
    assert [row["id"] for row in rows] == list(store.ids)
    assert len(rows) == 4
    for name in store.ids:
        assert store.label(name).shape == (64, 128)
        with Image.open(out / "pictures" / f"{name}.png") as picture:
            expected = SPACES["toycity12"].colour(store.label(name).numpy())
            np.testing.assert_array_equal(np.array(picture), expected)


def test_report_is_written_again_without_ray(call, finished):
    report = finished.folder / "report.html"
    before = report.read_text()
    report.unlink()
    code, printed, _ = call("report", "--run", finished.folder)
    assert code == 0
    assert "starting Ray" not in printed
    assert report.read_text() == before


def spoil_rgb(folder: Path) -> str:
    path = first(folder, "labels")
    Image.new("RGB", (128, 64)).save(path)
    return f"{path}: pixels are RGB, not class ids"


def spoil_size(folder: Path) -> str:
    path = first(folder, "labels")
    Image.new("L", (64, 32)).save(path)
    return "differ in size"


def truncate(folder: Path) -> str:
    path = first(folder, "images")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return f"{path} is not a readable image"


def lose_label(folder: Path) -> str:
    path = first(folder, "labels")
    path.unlink()
    return f"1 of 4 ids have no label in {folder / 'labels'}"


def lose_labels(folder: Path) -> str:
    shutil.rmtree(folder / "labels")
    return f"folder {folder / 'labels'} does not exist"


def lose_images(folder: Path) -> str:
    shutil.rmtree(folder / "images")
    (folder / "images").mkdir()
    return f"no images in {folder / 'images'}"


@pytest.mark.parametrize("spoil", [lose_label, lose_labels, lose_images, spoil_rgb, spoil_size, truncate])
def test_data_that_cannot_be_evaluated_is_named(spoil, call, finished, pictures, tmp_path):
    folder = Path(shutil.copytree(pictures, tmp_path / "spoilt"))
    told = spoil(folder)
    out = tmp_path / "evaluation.json"
    code, _, error = call("evaluate", "--model", finished.folder / "model", *of(folder), "--out", out)
    assert code == 2
    assert told in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("--model", "nowhere", "holds no config.json"),
        ("--label_space", "cityscape19", "cityscape19"),
        ("--label_space", "broken.json", "broken.json"),
        ("--size", "64", "--size takes a height and a width"),
    ],
)
def test_arguments_that_cannot_be_used_are_named_before_ray_starts(
    flag, value, told, call, finished, pictures, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text('{"name": "mine"}')
    words = ["--model", finished.folder / "model", *of(pictures)]
    words = (
        [*words, flag, value]
        if flag not in words
        else [*words[: words.index(flag) + 1], value, *words[words.index(flag) + 2 :]]
    )
    code, printed, error = call("evaluate", *words)
    assert code == 2
    assert told in error
    assert "Traceback" not in error
    assert "starting Ray" not in printed


def test_truncated_image_stops_labelling_with_its_path(call, finished, pictures, tmp_path):
    folder = Path(shutil.copytree(pictures, tmp_path / "spoilt"))
    told = truncate(folder)
    words = ("label", "--model", finished.folder / "model", "--images", folder / "images", "--out", tmp_path / "out")
    code, _, error = call(*words)
    assert (code, told in error, "Traceback" in error) == (2, True, False)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_damaged_model_is_refused(call, finished, pictures, tmp_path):
    model = Path(shutil.copytree(finished.folder / "model", tmp_path / "model"))
    content = bytearray((model / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (model / "model.safetensors").write_bytes(content)
    code, _, error = call("evaluate", "--model", model, *of(pictures))
    assert code == 2
    assert "model.safetensors" in error
    assert "Traceback" not in error


def test_report_of_no_run_is_refused(call, tmp_path):
    code, _, error = call("report", "--run", tmp_path)
    assert code == 2
    assert "no finished run" in error
