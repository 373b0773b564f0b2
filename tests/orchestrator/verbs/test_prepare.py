"""What prepare refuses before Ray starts, and where it writes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator import cli
from orchestrator.contract.flags import PrepareFlags
from orchestrator.verbs import prepare
from pipelines.drsl import PRESETS, Drsl


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A sound tree of CamVid; Ray may not start, and the working folder is another."""
    for folder, pixels in (("train", np.zeros((6, 8, 3), np.uint8)), ("trainannot", np.zeros((6, 8), np.uint8))):
        (tmp_path / "data" / "camvid" / folder).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "data" / "camvid" / folder / "a.png")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("orchestrator.cluster.resources.connect", lambda *_: pytest.fail("Ray was started"))
    return tmp_path / "data" / "camvid"


@pytest.fixture
def refused(root, capsys):
    """The message of a command that ends with code 2 and writes nothing."""

    def run(*words: object) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(Drsl, PRESETS, ["prepare", *map(str, words)])
        assert ended.value.code == 2
        assert list(Path.cwd().iterdir()) == []
        return capsys.readouterr().err

    return run


def test_all_mistakes_of_the_flags_are_told_together(refused):
    text = refused(
        "--kind", "folder", "--labels", "x", "--height", 4, "--quality", 0, "--sha256", "0", "--archive", "a"
    )
    for words in ("label_space: a folder", "must both be 0", "quality must lie", "--root must name"):
        assert words in text
    assert "kind: has no default" in refused("--root", ".")
    assert "nothing to check" in refused("--kind", "none")
    assert "there is no --archive" in refused("--kind", "camvid", "--sha256", "0")


def test_a_wrong_tree_shows_the_expected_one_and_where_it_may_be(refused, root):
    text = refused("--kind", "camvid", "--root", root.parent)
    assert f"it lies in {root}: make that the root" in text
    assert f"{root.parent}/\n    train/<id>.jpg or .png\n    trainannot/<id>.png" in text
    assert "did you mean" in refused("--kind", "camvid", "--root", root.with_name("canvid"))
    assert "split has no meaning" in refused("--kind", "gta5", "--root", root, "--split", "val")


def test_labels_that_are_not_there_are_asked_for_unless_none_are_needed(refused, root, monkeypatch):
    (root / "trainannot").rename(root / "trainanot")
    text = refused("--kind", "camvid", "--root", root)
    assert "There are no labels" in text
    assert "did you mean" in text
    assert "--unlabelled" in text
    words = ["prepare", "--kind", "camvid", "--root", str(root)]
    with pytest.raises(pytest.fail.Exception, match="Ray was started"):
        cli.main(Drsl, PRESETS, [*words, "--unlabelled"])


def test_the_data_set_is_not_written_into_unless_told(refused, root, monkeypatch):
    monkeypatch.chdir(root.parents[1] / "work")
    flags = PrepareFlags(kind="camvid", root=str(root))
    assert prepare._out(flags, root) == root.parents[1] / "work" / "prepared.json"
    assert (
        prepare._out(PrepareFlags(kind="camvid", shards="x"), root) == root.parents[1] / "work" / "x" / "prepared.json"
    )
    (root / "notes").mkdir()
    monkeypatch.chdir(root / "notes")
    assert "say with --out" in refused("--kind", "camvid", "--root", root)
    assert prepare._out(PrepareFlags(kind="camvid", root=str(root), out="p.json"), root) == root / "notes" / "p.json"


def test_a_hostile_archive_or_a_wrong_digest_ends_the_command_before_the_tree_is_looked_at(refused, root):
    archive = root.parent / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("train/b.png", b"b")
        file.writestr("../evil.png", b"x")
    before = sorted(root.parent.rglob("*"))
    words = ("--kind", "camvid", "--root", root, "--archive", archive)
    assert "could lead out of the folder" in refused(*words)
    assert "sha256 than expected" in refused(*words, "--sha256", "0" * 64)
    assert sorted(root.parent.rglob("*")) == before
