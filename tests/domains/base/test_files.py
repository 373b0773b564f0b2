"""Files are whole or absent, and nothing is read or written through a symbolic link that leads elsewhere."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
from pathlib import Path

import pytest

from domains.base.errors import DataError
from domains.base.files import (
    TEMPORARY,
    leads_out,
    links_below,
    note_digest,
    open_itself,
    refuse_links,
    replacing,
    sha256_of,
    verified_digest,
    write_bytes,
    write_noted,
    write_text,
)


@pytest.fixture
def canary(tmp_path) -> Path:
    path = tmp_path / "elsewhere" / "canary"
    path.parent.mkdir()
    path.write_text("untouched")
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "sub" / "file").write_text("own")
    return tmp_path / "folder"


def test_text_is_written_into_new_folders_and_replaced_as_a_whole(tmp_path):
    for text in ("long old täxt\n", "new"):
        write_text(tmp_path / "a" / "b", text)
        assert (tmp_path / "a" / "b").read_text(encoding="utf-8") == text
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_lines_end_as_they_were_given(tmp_path):
    write_text(tmp_path / "a", "x\r\ny\n")
    assert (tmp_path / "a").read_bytes() == b"x\r\ny\n"


def test_a_name_of_any_length_that_a_file_system_takes_can_be_written(tmp_path):
    write_bytes(tmp_path / ("a" * 255), b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a" * 255]


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_crash_while_writing_leaves_the_old_content_and_no_rest(moment, tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_text(path, "old")

    def crash(*_: object) -> None:
        raise OSError("crash")

    with monkeypatch.context() as patch:
        patch.setattr(
            *{"write": (Path, "write_bytes"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[moment], crash
        )
        with pytest.raises(OSError, match="crash"):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_and_then_its_folder_are_flushed(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.readlink(f"/proc/self/fd/{handle}")))
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
        assert not (tmp_path / "a").exists()
    assert flushed == [str(temporary), str(tmp_path)]


def test_others_may_do_with_a_written_file_what_the_mask_of_the_process_says(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_no_two_files_on_the_way_have_the_same_name(tmp_path):
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second
        assert {first, second} == set(tmp_path.glob(TEMPORARY))
        assert len(first.name) > 32


def test_a_link_under_the_very_name_of_the_file_on_the_way_is_not_followed(tmp_path, canary, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda _: "known")
    planted = tmp_path / TEMPORARY.replace("*", "known")
    planted.symlink_to(canary)
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "a", "x")
    assert canary.read_text() == "untouched"
    assert planted.is_symlink()
    planted.unlink()
    planted.symlink_to(canary.with_name("new"))
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "a", "x")
    assert not canary.with_name("new").exists()


@pytest.mark.parametrize("name", ["canary", "new"])
def test_a_link_under_the_name_of_a_file_is_replaced_and_not_followed(name, tmp_path, canary):
    (tmp_path / "a").symlink_to(canary.with_name(name))
    write_text(tmp_path / "a", "x")
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "a").read_text() == "x"
    assert [path.name for path in canary.parent.iterdir()] == ["canary"]
    assert canary.read_text() == "untouched"


@pytest.mark.parametrize("name", ["canary", "new"])
@pytest.mark.parametrize("mode", ["r", "rb", "rb+", "a", "a+", "w", "x"])
def test_a_link_is_never_opened(mode, name, tmp_path, canary):
    (tmp_path / "a").symlink_to(canary.with_name(name))
    with pytest.raises((DataError, FileExistsError)):
        open_itself(tmp_path / "a", mode)
    assert [path.name for path in canary.parent.iterdir()] == ["canary"]
    assert canary.read_text() == "untouched"


def test_a_file_below_a_folder_that_is_a_link_is_opened_as_always(tmp_path, folder):
    (tmp_path / "home").symlink_to(folder)
    with open_itself(tmp_path / "home" / "sub" / "file", "a") as file:
        file.write("ü")
    with open_itself(folder / "sub" / "file", "r") as file:
        assert file.read() == "ownü"


@pytest.mark.parametrize("target", ["canary", "absent", "folder", "up", "chain"])
@pytest.mark.parametrize("place", ["link", "sub/link", "sub/deeper/link"])
def test_a_link_out_of_a_folder_is_refused_wherever_it_lies(target, place, folder, canary):
    link = folder / place
    link.parent.mkdir(exist_ok=True)
    if target == "chain":
        (folder / "first").symlink_to(canary)
    targets = {"absent": canary.with_name("absent"), "folder": canary.parent, "up": "../../../../.."}
    link.symlink_to({**targets, "canary": canary, "chain": folder / "first"}[target])
    with pytest.raises(DataError, match="is a symbolic link out of") as caught:
        refuse_links(folder)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)
    assert leads_out(link, folder)
    assert link in set(links_below(folder))


def test_links_within_a_folder_and_to_the_folder_itself_are_allowed(tmp_path, folder):
    (folder / "latest").symlink_to("sub")
    (folder / "sub" / "other").symlink_to(folder / "sub" / "file")
    (folder / "ring").symlink_to("ring")
    (tmp_path / "home").symlink_to(folder)
    for place in (folder, tmp_path / "home"):
        refuse_links(place)
        assert not leads_out(place / "latest" / "file", place)
    refuse_links(tmp_path / "absent")


def test_a_folder_whose_name_begins_alike_is_elsewhere(tmp_path, folder):
    (tmp_path / "folder-2").mkdir()
    (folder / "link").symlink_to(tmp_path / "folder-2")
    with pytest.raises(DataError, match="symbolic link out of"):
        refuse_links(folder)


def test_a_pipe_that_would_be_waited_for_is_refused(folder):
    os.mkfifo(folder / "sub" / "pipe")
    with pytest.raises(DataError, match="pipe is neither a file nor a folder"):
        refuse_links(folder)


def test_digest_is_sha256_and_lies_beside_in_the_form_of_sha256sum(tmp_path):
    content = b"abc" * 100_000
    write_noted(tmp_path / "a ü", content)
    assert verified_digest(tmp_path / "a ü") == sha256_of(tmp_path / "a ü") == hashlib.sha256(content).hexdigest()
    check = subprocess.run(["sha256sum", "--check", "a ü.sha256"], cwd=tmp_path, capture_output=True, text=True)
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "no digest", "empty digest", "other digest", "bytes"])
def test_a_damaged_file_has_no_verified_digest(damage, tmp_path):
    path = tmp_path / "a"
    write_noted(path, b"content")
    match damage:
        case "cut":
            path.write_bytes(b"conten")
        case "flip":
            path.write_bytes(b"contenu")
        case "gone":
            path.unlink()
        case "no digest":
            (tmp_path / "a.sha256").unlink()
        case "empty digest":
            (tmp_path / "a.sha256").write_text("")
        case "other digest":
            note_digest(path, "0" * 64)
        case "bytes":
            (tmp_path / "a.sha256").write_bytes(b"\xff" * 64)
    assert verified_digest(path) is None


def test_crash_between_a_file_and_its_digest_leaves_two_that_differ(tmp_path, monkeypatch):
    write_noted(tmp_path / "a", b"old")

    def crash(*_: object) -> None:
        raise OSError("crash")

    monkeypatch.setattr("domains.base.files.note_digest", crash)
    with pytest.raises(OSError, match="crash"):
        write_noted(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert verified_digest(tmp_path / "a") is None
