"""Scratch folders: private, gone with their process, and nothing else is ever removed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.base import scratch
from orchestrator.base.scratch import MARK, remove_abandoned, scratch_folder, temporary
from orchestrator.dryrun.run import private_folder
from tests.conftest import NOBODY

KILLED = """
import os, signal, sys
from pathlib import Path
from orchestrator.base.scratch import scratch_folder

with scratch_folder(sys.argv[1]) as folder:
    (folder / "ray" / "logs").mkdir(parents=True)
    print(folder)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path):
    """What a killed command left."""
    folder = Path(
        subprocess.run([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, text=True).stdout[:-1]
    )
    assert folder.is_dir()
    return folder


def test_folder_is_the_users_alone_and_gone_at_the_end(tmp_path):
    with scratch_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "ray").mkdir()
        (folder / "ray" / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_folder_goes_with_an_error_too(tmp_path):
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", ["made", "marked"])
def test_ctrl_c_while_the_folder_is_made_leaves_nothing(at, tmp_path, monkeypatch):
    module, name = {"made": (tempfile, "mkdtemp"), "marked": (scratch, "try_lock")}[at]
    real = getattr(module, name)

    def interrupted(*words: object, **named: object) -> object:
        result = real(*words, **named)
        os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(module, name, interrupted)
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path):
        pytest.fail("went on")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_command_left_is_removed_by_the_next(killed, tmp_path):
    with scratch_folder(tmp_path) as folder:
        assert not killed.exists()
        assert list(tmp_path.iterdir()) == [folder]


def test_folder_of_a_command_that_lives_stays(tmp_path):
    with scratch_folder(tmp_path) as folder:
        remove_abandoned(tmp_path)
        with scratch_folder(tmp_path):
            assert folder.is_dir()
        assert (folder / MARK).exists()


@pytest.mark.parametrize("name", ["segadapt-2026-results", "segadapt-99999999-abc", "segadapt-abcdefgh"])
def test_folder_without_our_mark_stays_whatever_it_is_called(name, tmp_path):
    precious = tmp_path / name / "precious.txt"
    precious.parent.mkdir()
    precious.touch()
    remove_abandoned(tmp_path)
    assert precious.exists()


def test_folder_that_is_just_being_made_stays(tmp_path):
    """Between its making and its lock another command may look at it: its mark is missing, then empty."""
    folder = tmp_path / "segadapt-abcdefgh"
    folder.mkdir()
    remove_abandoned(tmp_path)
    (folder / MARK).touch()
    remove_abandoned(tmp_path)
    assert folder.exists()


def test_mark_is_locked_before_it_says_anything(tmp_path, monkeypatch):
    seen = []
    real = scratch.try_lock

    def looked_at(file: object) -> bool:
        (mark,) = tmp_path.glob(f"*/{MARK}")
        seen.append(mark.read_text())
        return real(file)

    monkeypatch.setattr(scratch, "try_lock", looked_at)
    with scratch_folder(tmp_path) as folder:
        assert seen == [""]
        assert (folder / MARK).read_text() == "\n".join(scratch._here())


@pytest.mark.parametrize(
    ("host", "boot", "goes"),
    [("same", "same", True), ("other", "same", True), ("same", "other", True), ("other", "other", False)],
)
def test_folder_of_another_machine_stays_and_one_of_another_container_or_start_goes(
    host, boot, goes, killed, tmp_path, monkeypatch
):
    ours = dict(zip(("host", "boot"), scratch._here(), strict=True))
    elsewhere = (ours["host"] if host == "same" else "elsewhere", ours["boot"] if boot == "same" else "f00")
    monkeypatch.setattr(scratch, "_here", lambda: elsewhere)
    remove_abandoned(tmp_path)
    assert killed.exists() is not goes


def test_unknown_start_is_not_the_same_start(killed, tmp_path, monkeypatch):
    (killed / MARK).write_text("elsewhere\n")
    monkeypatch.setattr(scratch, "_here", lambda: ("here", ""))
    remove_abandoned(tmp_path)
    assert killed.exists()


def test_symbolic_links_are_not_followed(killed, tmp_path):
    place, mine = tmp_path / "place", tmp_path / "mine"
    for folder in (place, mine, place / "segadapt-planted"):
        folder.mkdir()
    os.symlink(killed, place / "segadapt-link")
    os.symlink(killed / MARK, place / "segadapt-planted" / MARK)
    os.symlink(mine, killed / "way out")
    (mine / "precious.txt").touch()
    remove_abandoned(place)
    assert (killed / MARK).exists()
    assert (place / "segadapt-planted").exists()
    remove_abandoned(tmp_path)
    assert not killed.exists()
    assert (mine / "precious.txt").exists()


def test_removal_that_is_cut_off_goes_on_the_next_time(killed, tmp_path, monkeypatch):
    real = scratch.shutil.rmtree

    def cut_off(path: Path, **named: object) -> None:
        if path == killed:
            raise KeyboardInterrupt
        real(path, **named)

    monkeypatch.setattr(scratch.shutil, "rmtree", cut_off)
    with pytest.raises(KeyboardInterrupt):
        remove_abandoned(tmp_path)
    monkeypatch.setattr(scratch.shutil, "rmtree", real)
    assert [path.name for path in killed.iterdir()] == [MARK]
    remove_abandoned(tmp_path)
    assert not killed.exists()


def test_storage_that_knows_no_locks_serves_too(tmp_path, monkeypatch):
    def no_locks(_: object) -> bool:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(scratch, "try_lock", no_locks)
    with scratch_folder(tmp_path) as folder:
        assert folder.is_dir()
        remove_abandoned(tmp_path)
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_other_user_cannot_look_in_nor_write_nor_have_anything_removed(killed, tmp_path, as_nobody):
    for folder in (*tmp_path.parents, tmp_path):
        if folder != Path("/") and os.stat(folder).st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    with scratch_folder(tmp_path) as folder:
        (folder / "ray").mkdir()
        (folder / "ray").chmod(0o777)
        (folder / "ray" / "secret").touch(0o666)
        assert as_nobody(lambda: list(folder.iterdir())) == "PermissionError"
        assert as_nobody(lambda: (folder / "ray" / "safetensors.py").write_text("")) == "PermissionError"
        assert as_nobody(lambda: (folder / "ray" / "secret").read_text()) == "PermissionError"
    theirs = tmp_path / "segadapt-theirs"
    theirs.mkdir()
    (theirs / MARK).write_text("\n".join(scratch._here()))
    os.chown(theirs, NOBODY, NOBODY)
    remove_abandoned(tmp_path)
    assert theirs.exists()


@pytest.mark.parametrize("cluster", [False, True])
def test_folder_of_a_dry_run_is_private_and_marked_wherever_it_lies(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "LONGEST_TEMP", 1000)
    monkeypatch.setenv("RAY_ADDRESS", "auto" if cluster else "")
    runs = tmp_path / "storage" / "runs"
    with private_folder(runs) as folder:
        assert folder.parent == (runs if cluster else tmp_path)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        remove_abandoned(folder.parent)
        assert (folder / MARK).exists()
    assert not runs.exists()
    assert list(tmp_path.glob("segadapt-*")) == []


@pytest.mark.parametrize(("folder", "used"), [("/scratch/me", "/scratch/me"), ("/scratch/" + "x" * 60, "/tmp")])
def test_temporary_folder_too_deep_for_sockets_is_not_used(folder, used, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", folder)
    assert temporary() == used


def test_sockets_fit_below_the_longest_temporary_folder():
    session = "session_2026-11-25_15-54-38_841002_4194304"
    longest = "/" + "t" * (scratch.LONGEST_TEMP - 1)
    with tempfile.TemporaryDirectory() as place, scratch_folder(place) as folder:
        socket = f"{longest}/{folder.name}/ray/{session}/sockets/plasma_store"
    assert len(socket) == (103 if sys.platform == "darwin" else 107)
