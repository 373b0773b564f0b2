"""Moving folders together: no file is replaced, and a move that fails takes back those before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from domains.archives.merge import merge
from domains.base.errors import DataError


@pytest.fixture
def part(tmp_path) -> Path:
    for name in ("a/1", "a/2", "b/3"):
        (tmp_path / "part" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "part" / name).write_text(name)
    return tmp_path / "part"


def test_files_move_and_those_that_are_there_alike_stay(part, tmp_path):
    target = tmp_path / "target"
    (target / "a").mkdir(parents=True)
    (target / "a" / "1").write_text("a/1")
    assert merge([part], target) == 2
    assert sorted(p.relative_to(target).as_posix() for p in target.rglob("*")) == ["a", "a/1", "a/2", "b", "b/3"]
    assert [p.name for p in part.rglob("*") if p.is_file()] == ["1"]


def test_a_link_in_the_place_of_a_file_is_not_followed(part, tmp_path):
    target = tmp_path / "target"
    (target / "b").mkdir(parents=True)
    (target / "b" / "3").symlink_to(part / "b" / "3")
    with pytest.raises(DataError, match="nothing is replaced"):
        merge([part], target)
    assert not (target / "a").exists()


def test_a_disk_that_fails_half_way_leaves_the_target_as_it_was(part, tmp_path, monkeypatch):
    target = tmp_path / "target"
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.name == "3" and "part" in self.parts:
            raise OSError(28, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="No space left"):
        merge([part], target)
    assert not target.exists()
    assert len([p for p in part.rglob("*") if p.is_file()]) == 3
