"""A few images of every data set, written in its true tree and encoding; nothing here is taken from any of them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from domains.base.labels import LabelSpace
from domains.base.settings import DomainSettings
from domains.readers.folder import FolderReader
from domains.registry import LAYOUTS

SIZE = (4, 64)
"""Height and width of all these images; a row of a label has room for every id of a data set."""

TREES: dict[str, list[tuple[str, str]]] = {
    "cityscapes": [
        (
            f"leftImg8bit/{split}/{city}/{city}_{number}_leftImg8bit.png",
            f"gtFine/{split}/{city}/{city}_{number}_gtFine_labelIds.png",
        )
        for split, city, number in (
            ("train", "aachen", "000000_000019"),
            ("train", "zurich", "000121_000019"),
            ("val", "frankfurt", "000001_054640"),
            ("test", "berlin", "000543_000019"),
        )
    ],
    "foggy_cityscapes": [
        (
            f"leftImg8bit_foggy/{split}/{city}/{city}_000000_000019_leftImg8bit_foggy_beta_{beta}.png",
            f"gtFine/{split}/{city}/{city}_000000_000019_gtFine_labelIds.png",
        )
        for split, city in (("train", "aachen"), ("val", "lindau"), ("test", "bonn"))
        for beta in ("0.005", "0.01", "0.02")
    ],
    "gta5": [(f"images/{name}.png", f"labels/{name}.png") for name in ("00001", "00002", "24966")],
    "synthia": [(f"RGB/{name}.png", f"GT/LABELS/{name}.png") for name in ("0000000", "0000001", "0009399")],
    "camvid": [
        (f"{split}/{name}.png", f"{split}annot/{name}.png")
        for split, name in (("train", "0001TP_006690"), ("val", "0016E5_07959"), ("test", "Seq05VD_f00000"))
    ],
    "camvid_original": [
        (f"701_StillsRaw_full/{name}.png", f"LabeledApproved_full/{name}_L.png")
        for name in ("0001TP_006690", "0016E5_07959", "Seq05VD_f02610")
    ],
    "acdc": [
        (
            f"rgb_anon/{condition}/{split}/{clip}/{clip}_frame_000041_rgb_anon.png",
            f"gt/{condition}/{split}/{clip}/{clip}_frame_000041_gt_labelTrainIds.png" if split != "test" else "",
        )
        for condition, clip in (("fog", "GOPR0475"), ("night", "GP010376"), ("rain", "GP010400"), ("snow", "GOPR0122"))
        for split in ("train", "val", "test")
    ],
    "dark_zurich": [
        ("rgb_anon/train/night/GOPR0351/GOPR0351_frame_000159_rgb_anon.png", ""),
        ("rgb_anon/train/twilight/GOPR0348/GOPR0348_frame_000010_rgb_anon.png", ""),
        ("rgb_anon/train/day/GOPR0345/GOPR0345_frame_000277_rgb_anon.png", ""),
        (
            "rgb_anon/val/night/GOPR0356/GOPR0356_frame_000321_rgb_anon.png",
            "gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelTrainIds.png",
        ),
        ("rgb_anon/test/night/GOPR0364/GOPR0364_frame_000001_rgb_anon.png", ""),
    ],
    "bdd100k": [
        ("images/10k/train/0004a4c0-d4dff0ad.jpg", "labels/sem_seg/masks/train/0004a4c0-d4dff0ad.png"),
        ("images/10k/val/7d06fefd-f7be05a6.jpg", "labels/sem_seg/masks/val/7d06fefd-f7be05a6.png"),
        ("images/10k/test/ac6d4f42-00000000.jpg", ""),
    ],
    "mapillary": [
        ("training/images/00qclUcInksIYnm19b1Xfw.jpg", "training/labels/00qclUcInksIYnm19b1Xfw.png"),
        ("validation/images/0035fkbjWljhaftpVM37-g.jpg", "validation/labels/0035fkbjWljhaftpVM37-g.png"),
        ("testing/images/0kIEFjsGJHGYlFUkdWBN0A.jpg", ""),
    ],
}
"""By kind of domain: paths of images and of their labels, "" where none are public."""


def put_image(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), value, dtype=np.uint8)).save(path)


def put_label(kind: str, path: Path, row: Sequence[int] | np.ndarray) -> None:
    """Write a label all of whose rows are this one, 0 to its end: ids on disk, or colours of the original CamVid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = np.zeros((*SIZE, 3) if kind == "camvid_original" else SIZE, dtype=np.uint16)
    raw[:, : len(row)] = np.asarray(row)
    match kind:
        case "synthia":
            put_deep(path, np.stack([raw, np.full_like(raw, 976), np.zeros_like(raw)], axis=-1))
        case "gta5" | "mapillary":
            image = Image.fromarray(raw.astype(np.uint8))
            image.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
            assert image.mode == "P"
            image.save(path)
        case _:
            Image.fromarray(raw.astype(np.uint8)).save(path)


def put_deep(path: Path, pixels: np.ndarray, filters: Sequence[int] = (0,)) -> None:
    """Write uint16 (H, W, 3 or 4) as a PNG of 16 bits a channel; row r is predicted by filter r modulo their number."""
    height, width, channels = pixels.shape
    step = 2 * channels
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1).astype(int)
    above = np.zeros(rows.shape[1], dtype=int)
    coded = []
    for number, row in enumerate(rows):
        left, corner = (np.concatenate([np.zeros(step, dtype=int), line[:-step]]) for line in (row, above))
        guess = left + above - corner
        distances = np.stack([abs(guess - left), abs(guess - above), abs(guess - corner)])
        paeth = np.choose(distances.argmin(0), [left, above, corner])
        method = filters[number % len(filters)]
        predicted = (0, left, above, (left + above) // 2, paeth)[method]
        coded.append(bytes([method]) + ((row - predicted) % 256).astype(np.uint8).tobytes())
        above = row
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(coded))), (b"IEND", b""))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, content in chunks:
            check = struct.pack(">I", zlib.crc32(name + content))
            file.write(struct.pack(">I", len(content)) + name + content + check)


class DataSet:
    """A data set on disk, below a root of its own."""

    def __init__(self, kind: str, root: Path) -> None:
        self.kind, self.root = kind, root
        for number, (image, label) in enumerate(TREES[kind]):
            put_image(root / image, 10 * number)
            if label:
                put_label(kind, root / label, [0])

    def label(self, name: str, row: Sequence[int] | np.ndarray) -> None:
        """Write the label at this path anew."""
        put_label(self.kind, self.root / name, row)

    def open(self, list_file: str = "", height: int = 0, width: int = 0, **settings: object) -> FolderReader:
        """Open it as the settings say."""
        domain = DomainSettings(kind=self.kind, **settings)  # pyright: ignore[reportArgumentType]
        return LAYOUTS[self.kind](domain, self.root).open(self.root, list_file, height, width)


SPACE = LabelSpace("abc", ("a", "b", "c"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)))


@dataclass
class Fake:
    """Four images of 4x6 whose pixels hold their index; counts how often it is asked."""

    space: LabelSpace = SPACE
    has_labels: bool = True
    ids: tuple[str, ...] = ("i0", "i1", "i2", "i3")
    asked: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Tensor:
        self.asked.append(f"image {index}")
        return torch.full((3, 4, 6), index, dtype=torch.uint8)

    def label(self, index: int) -> Tensor:
        self.asked.append(f"label {index}")
        return torch.tensor([0, 1, 2, 255], dtype=torch.uint8)[:, None].expand(4, 6)


@pytest.fixture
def fake_reader() -> type[Fake]:
    """Makes a reader of four images, whose `asked` says what was read."""
    return Fake


@pytest.fixture
def data_set(tmp_path) -> Callable[[str], DataSet]:
    """Writes a data set of some kind below a root of the same name."""
    return lambda kind: DataSet(kind, tmp_path / kind)


@pytest.fixture
def trees() -> dict[str, list[tuple[str, str]]]:
    """Paths of the images and labels of every kind."""
    return TREES


@pytest.fixture
def write_deep() -> Callable[..., None]:
    """Writes a PNG of 16 bits a channel."""
    return put_deep
