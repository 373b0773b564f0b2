"""Files that are whole or absent."""

from __future__ import annotations

import hashlib
import os

import pytest

from domains.base.errors import DataError
from orchestrator.base.errors import UserError
from orchestrator.base.files import (
    append,
    copy_folder,
    digest,
    digest_of,
    digests_below,
    drop_cut_line,
    read_json,
    read_lines,
    remove,
    sync_folder,
    write_json,
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


def test_links_have_no_digest_and_are_not_copied_as_what_they_point_to(tmp_path):
    (tmp_path / "elsewhere").write_text("canary")
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "sub" / "a").write_text("1")
    for name, target in (("file", "elsewhere"), ("folder", "."), ("sub/dangling", "absent")):
        (tmp_path / "folder" / name).symlink_to(tmp_path / target)
    assert list(digests_below(tmp_path / "folder")) == ["sub/a"]
    sync_folder(tmp_path / "folder")
    (tmp_path / "copy").symlink_to(tmp_path / "elsewhere")
    copy_folder(tmp_path / "folder", tmp_path / "copy")
    assert digests_below(tmp_path / "copy") == digests_below(tmp_path / "folder")
    assert not [path for path in (tmp_path / "copy").rglob("*") if path.is_file() and not path.is_symlink()][1:]
    remove(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "folder"]
    assert (tmp_path / "elsewhere").read_text() == "canary"


def test_text_is_appended_and_never_to_what_a_link_points_to(tmp_path):
    for line in ("ä\n", "b\n"):
        append(tmp_path / "log", line)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "ä\nb\n"
    (tmp_path / "link").symlink_to(tmp_path / "log")
    for use in (lambda: append(tmp_path / "link", "c"), lambda: drop_cut_line(tmp_path / "link")):
        with pytest.raises(DataError, match="link is a symbolic link"):
            use()
    for read in (read_lines, read_json):
        with pytest.raises(DataError, match="link is a symbolic link"):
            read(tmp_path / "link")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "ä\nb\n"


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
