"""Ctrl-C while a run starts, at each thing that can be seen of its start: nothing is left of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import Command


def names(command: Command) -> set[str]:
    return {process.name() for process in command.descendants() if process.is_running()}


MOMENTS: dict[str, Callable[[Path, Command], object]] = {
    "folder": lambda temp, _: list(temp.iterdir()),
    "mark": lambda temp, _: list(temp.glob("*/.segadapt")),
    "first process": lambda _, command: command.descendants(),
    "logs": lambda temp, _: list(temp.rglob("gcs_server.out")),
    "raylet": lambda _, command: "raylet" in names(command),
    "socket": lambda temp, _: list(temp.rglob("sockets/raylet")),
    "worker": lambda temp, _: list(temp.rglob("worker-*.out")),
}


@pytest.fixture
def temp():
    folder = Path(tempfile.mkdtemp(prefix="sa-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_while_a_run_starts_leaves_no_folder_and_no_process(moment, desk, tiny, temp):
    command = desk.start("drsl", *tiny(), "--name", f"stopped at {moment}", env={"TMPDIR": str(temp)})
    command.until(lambda: MOMENTS[moment](temp, command))
    started = command.descendants()
    command.interrupt()
    command.ends(130)
    assert list(temp.iterdir()) == []
    assert psutil.wait_procs(started, timeout=10)[1] == []
