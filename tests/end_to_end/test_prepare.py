"""prepare on real Ray: all that is wrong with a broken tree, shards of a good one, and a training that reads them."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.base.labels import label_space
from domains.base.settings import DomainSettings
from domains.registry import open_reader
from domains.stores.arrow import sha256_of
from orchestrator.verbs import sharding


def put(root: Path, id: str, label: np.ndarray | None = None, size: tuple[int, int] = (6, 8)) -> None:
    for folder in ("train", "trainannot"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(root / "train" / f"{id}.png")
    ids = np.arange(48, dtype=np.uint8).reshape(6, 8) % 12 if label is None else label
    Image.fromarray(ids).save(root / "trainannot" / f"{id}.png")


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says that it has 900 megapixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)), (b"IEND", b"")]
    coded = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(coded))


@pytest.fixture
def broken(tmp_path) -> tuple[Path, dict[str, str]]:
    """A tree of CamVid with one of every fault, and what must be told of each file."""
    root = tmp_path / "Straßen bilder"
    for id in (*"abcdefghijkl", "good"):
        put(root, id)
    images, labels = root / "train", root / "trainannot"
    (images / "a.png").write_bytes((images / "a.png").read_bytes()[:50])
    (images / "b.png").write_bytes(b"")
    (labels / "c.png").unlink()
    (images / "d.png").unlink()
    put(root, "e", size=(6, 9))
    put(root, "f", np.full((6, 8), 34, np.uint8))
    put(root, "g", np.zeros((6, 8, 3), np.uint8))
    put(root, "h", np.zeros((6, 8), np.uint16))
    bomb(images / "i.png")
    turned = Image.Exif()
    turned[0x0112] = 3
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(images / "j.png", exif=turned)
    (images / "k.png").write_text("<html>Please log in</html>")
    (labels / "l.png").write_bytes((labels / "l.png").read_bytes()[:40])
    return root, {
        "train/a.png": "is not a readable image",
        "train/b.png": "is not a readable image",
        "c ": "has no label in",
        "trainannot/d.png": "has no image in",
        "train/e.png": "is 9x6 pixels",
        "trainannot/f.png": "holds class ids outside camvid11 (0 to 11); pixels by id: 34: 48",
        "trainannot/g.png": "pixels are RGB",
        "trainannot/h.png": "more than 8 bits a pixel",
        "train/i.png": "900000000 pixels",
        "train/j.png": "has EXIF orientation 3",
        "train/k.png": "is not a readable image",
        "trainannot/l.png": "is not a readable image",
    }


def test_every_fault_of_a_broken_tree_is_listed_and_the_good_file_counted(call, broken, tmp_path):
    root, told = broken
    for number in range(30):  # more than a screen should show
        put(root, f"odd{number}", np.full((6, 8), 34, np.uint8))
    out = tmp_path / "prepared.json"
    shards = tmp_path / "shards"
    code, _, error = call("prepare", "--kind", "camvid", "--root", root, "--out", out, "--shards", shards)
    assert code == 2, error
    assert "Traceback" not in error
    found = json.loads(out.read_text())
    assert f"{len(found['problems'])} problems, all of them in {out}:" in error
    for place, words in told.items():
        (problem,) = [line for line in found["problems"] if place in line and words.split()[0] in line]
        assert words in problem.replace("30000x30000", "900000000"), place
    assert len(found["problems"]) == len(told) + 30
    assert "... and 22 more" in error
    assert len(error.strip().splitlines()) == 22
    (good,) = [sample for sample in found["samples"] if sample["id"] == "good"]
    assert good["pixels"] == [4] * 11
    assert not shards.exists()
    assert sorted(path.name for path in root.iterdir()) == ["train", "trainannot"]


def test_an_archive_of_a_good_tree_is_unpacked_checked_and_counted(call, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(3):
            put(tmp_path / "packed", str(number))
        for path in sorted((tmp_path / "packed").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "packed"))
    root, out = tmp_path / "data", tmp_path / "prepared.json"
    words = ("prepare", "--kind", "camvid", "--root", root, "--out", out, "--archive", tmp_path / "a.zip")
    code, printed, error = call(*words, "--sha256", sha256_of(tmp_path / "a.zip"))
    assert code == 0, error
    assert "unpacked: 6 new files" in printed
    assert "3 images, all of them sound; height x width 6x8" in printed
    (row,) = [line.split() for line in printed.splitlines() if line.startswith("bicyclist")]
    assert row == ["bicyclist", "9.09%", "3"]
    found = json.loads(out.read_text())
    assert (found["schema"], found["kind"], found["images"], found["problems"]) == (1, "camvid", 3, [])
    assert (found["pixels"]["sky"], found["images_with"]["sky"], found["void"]) == (12, 3, 12)
    assert [sample["id"] for sample in found["samples"]] == ["0", "1", "2"]


def test_shards_hold_what_the_reader_gives_bit_for_bit(call, tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, "IMAGES", 3)
    folder = tmp_path / "toy"
    words = ("prepare", "--kind", "toycity", "--count", 8, "--height", 64, "--width", 128, "--shards", folder)
    code, printed, error = call(*words, "--encoding", "raw")
    assert code == 0, error
    assert "shards: 3 written in" in printed
    assert json.loads((folder / "prepared.json").read_text())["images"] == 8
    space = label_space("toycity12")
    ours = open_reader(DomainSettings(kind="arrow", root="toy"), space, str(tmp_path))
    theirs = open_reader(DomainSettings(count=8), space, "", 64, 128)
    assert ours.ids == theirs.ids
    for index in range(8):
        assert torch.equal(ours.image(index), theirs.image(index))
        assert torch.equal(ours.label(index), theirs.label(index))
