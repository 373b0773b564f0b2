"""Files that are whole or absent."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.files import (
    digest,
    digest_of,
    digests_below,
    drop_cut_line,
    read_json,
    read_lines,
    sync_folder,
    write_json,
    write_text,
)


def test_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert digest(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_digest_of_a_value_knows_no_order_of_names_but_one_of_lists():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])
    assert digest_of(1) != digest_of("1")
    assert digest_of((1, 2)) == digest_of([1, 2])


def test_digests_are_of_all_files_at_any_depth(tmp_path):
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / "deep" / "a").write_text("1")
    (tmp_path / ".hidden").write_text("2")
    assert digests_below(tmp_path) == {
        ".hidden": digest(tmp_path / ".hidden"),
        "sub/deep/a": digest(tmp_path / "sub" / "deep" / "a"),
    }


def test_text_is_written_into_new_folders(tmp_path):
    write_text(tmp_path / "a" / "b", "täxt\n")
    assert (tmp_path / "a" / "b").read_text(encoding="utf-8") == "täxt\n"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_crash_while_writing_leaves_the_old_content(moment, tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_text(path, "old")

    def crash(*_: object) -> None:
        raise OSError("crash")

    monkeypatch.setattr(*((os, "fsync") if moment == "fsync" else (Path, "replace")), crash)
    with pytest.raises(OSError, match="crash"):
        write_text(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_text(path, "newer")
    assert path.read_text() == "newer"


def test_json_reads_back(tmp_path):
    value = {"a": [1, 0.1, None, True, "ü"], "b": {}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"a": 1} x'])
def test_broken_json_names_the_file(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")


def test_lines_leave_out_one_that_was_cut_off(tmp_path):
    path = tmp_path / "a.jsonl"
    assert read_lines(path) == []
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert read_lines(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a"')
    assert read_lines(path) == []


@pytest.mark.parametrize(
    ("text", "kept"), [("", ""), ("ab", ""), ("a\n", "a\n"), ("a\nb", "a\n"), ("a\n\nb\nc", "a\n\nb\n")]
)
def test_cut_line_is_removed(text, kept, tmp_path):
    path = tmp_path / "a"
    path.write_text(text)
    drop_cut_line(path)
    assert path.read_text() == kept
    drop_cut_line(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_every_file_and_the_folder_are_flushed(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").touch()
    (tmp_path / "sub" / "b").touch()
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.readlink(f"/proc/self/fd/{handle}")))
    sync_folder(tmp_path)
    assert set(flushed) == {str(tmp_path / "a"), str(tmp_path / "sub" / "b"), str(tmp_path)}
