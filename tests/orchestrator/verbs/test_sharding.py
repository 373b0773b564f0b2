"""A store is completed, not begun anew; what is stale or damaged in it is written again. Tasks run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from domains.base.errors import DataError
from domains.base.samples import Reader
from domains.dataset_check import examine
from domains.stores.arrow import sha256_of
from domains.stores.dataset import ArrowReader
from domains.toycity.reader import ToyCity
from orchestrator.base.errors import StageFailed, UserError
from orchestrator.base.progress import Progress
from orchestrator.contract.settings import ComputeSettings
from orchestrator.verbs import sharding


def city(count: int = 8, style: str = "game") -> Reader:
    return ToyCity(style, "train", count, 32, 48)  # pyright: ignore


@pytest.fixture
def write(tmp_path, monkeypatch) -> Callable[..., list[str]]:
    """Write shards of three images each; returns the names of those that were written."""
    monkeypatch.setattr(sharding, "IMAGES", 3)

    def run(reader: Reader, *, dies_at: str = "", **changes: object) -> list[str]:
        written: list[str] = []

        def in_this_process(function, items, _compute, _name, on_result):
            for index, item in enumerate(items):
                if item.path.name == dies_at:
                    raise StageFailed("killed")
                written.append(item.path.name)
                on_result(index, function(item))
            return [sha256_of(item.path) for item in items]

        monkeypatch.setattr(sharding, "run_tasks", in_this_process)
        contents = [examine(reader, index).content for index in range(len(reader))]
        options = {"size": (32, 48), "encoding": "raw", "quality": 95, **changes}
        sharding.write_shards(
            reader, contents, tmp_path / "s", compute=ComputeSettings(), progress=Progress(), **options
        )
        return written

    return run


NAMES = [f"images-{number:05d}.arrow" for number in range(3)]


def test_a_store_that_is_whole_is_left_as_it_is(write, tmp_path):
    assert write(city()) == NAMES
    assert write(city()) == []
    assert ArrowReader(tmp_path / "s").ids == city().ids


def test_what_was_cut_off_is_completed_and_is_no_store_before(write, tmp_path):
    with pytest.raises(StageFailed):
        write(city(), dies_at=NAMES[1])
    with pytest.raises(ValueError, match=r"manifest\.json is missing"):
        ArrowReader(tmp_path / "s")
    assert write(city()) == NAMES[1:]


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_shard_alone_is_written_again_and_is_the_same(write, tmp_path, damage):
    write(city())
    path: Path = tmp_path / "s" / NAMES[1]
    before, content = sha256_of(path), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"cut": content[:100], "flip": content, "gone": b""}[damage])
    if damage == "gone":
        path.unlink()
    assert write(city()) == [NAMES[1]]
    assert sha256_of(path) == before


class Changed:
    """A domain one of whose images was drawn anew."""

    def __init__(self) -> None:
        self.reader = city()
        self.ids, self.space, self.has_labels = self.reader.ids, self.reader.space, True
        self.label = self.reader.label

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> torch.Tensor:
        return 255 - self.reader.image(index) if index == 7 else self.reader.image(index)


def test_an_image_that_changed_under_its_name_is_written_again(write, tmp_path):
    write(city())
    assert write(Changed()) == [NAMES[2]]
    assert torch.equal(ArrowReader(tmp_path / "s").image(7), 255 - city().image(7))


def test_other_settings_write_all_anew_and_a_smaller_domain_leaves_no_rest(write, tmp_path):
    write(city())
    assert write(city(), encoding="jpeg") == NAMES
    assert write(city(), encoding="jpeg", quality=80) == NAMES
    write(city(4), encoding="jpeg")
    assert sorted(path.name for path in (tmp_path / "s").glob("*.arrow")) == NAMES[:2]
    assert len(ArrowReader(tmp_path / "s")) == 4


def test_a_store_of_something_else_is_never_written_over(write, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "manifest.json").write_text('{"schema": 1, "labeller": "x", "shards": {}}')
    with pytest.raises(UserError, match="holds something else"):
        write(city())
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("name", ["manifest.json", "images-00000.arrow", "images-00001.arrow.sha256", "more"])
def test_a_folder_with_a_link_out_of_it_is_refused(name, write, tmp_path):
    (tmp_path / "canary").write_text("untouched")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / name).symlink_to(tmp_path / "canary")
    with pytest.raises(DataError, match=f"{name} is a symbolic link out of"):
        write(city())
    assert [path.name for path in (tmp_path / "s").iterdir()] == [name]
    assert (tmp_path / "canary").read_text() == "untouched"
