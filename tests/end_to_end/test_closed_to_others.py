"""A Ray of a run's own is closed: to the network, to other users of the machine, and to what they plant.

It is looked at while a search with two workers goes on, which has every kind of process that there is.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest

from pipelines.source_only import SourceOnly
from tests.conftest import Command

KINDS = ("gcs_server", "raylet", "DashboardAgent", "RuntimeEnvAgent", "TrainController", "RayTrainWorker")
OPEN = {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "GLOO_SOCKET_IFNAME": "no-such"}
PLANTED = "import os\n\nos._exit(77)\n"
JOIN = """
import sys
from ray._raylet import GcsClient

GcsClient(address=sys.argv[1]).internal_kv_put(b"planted", b"code", True, None)
"""


@dataclass
class Watched:
    """What was seen of a search while it went on."""

    printed: str = ""
    left: list[Path] = field(default_factory=list)
    """Temporary files that were still there after it."""
    listening: dict[str, set[str]] = field(default_factory=dict)
    """Addresses that took connections, by process."""
    tried: dict[str, set[str]] = field(default_factory=dict)
    """What another user tried, with the outcomes."""
    joined: str = ""
    """What somebody without a token was told by the cluster."""

    @property
    def kinds(self) -> set[str]:
        """The processes of Ray that were seen to listen."""
        listeners = " ".join(name for name, addresses in self.listening.items() if addresses)
        return {kind for kind in KINDS if kind in listeners}


@pytest.fixture(scope="module")
def watched(desk, tiny, request):
    seen = Watched()
    # As the folder of a machine for temporary files: everybody may write to it.
    temp = Path(tempfile.mkdtemp(prefix="sa-", dir="/tmp"))
    temp.chmod(0o1777)
    as_nobody = request.getfixturevalue("as_nobody") if os.geteuid() == 0 else None
    if as_nobody:
        assert as_nobody(partial(plant_in_new, temp / "segadapt-abcdefgh", temp / "ray")) == "None"
    endless = {"source__steps": 10**6, "source__checkpoint_every": 10**6, "source__log_every": 100, "panels": 0}
    words = ["sweep", *tiny(SourceOnly, **endless), "--search", "source.lr=grid(2e-3)"]
    words += ["--preset", "toy", "--compute.workers", "2", "--name", "watched"]
    before = set(temp.iterdir())
    command = desk.start("source_only", *words, env={**OPEN, "TMPDIR": str(temp)})
    command.until(lambda: set(temp.iterdir()) - before)
    (scratch,) = set(temp.iterdir()) - before
    plant(scratch)  # even by this user: the folder that workers work in is not on their path

    def all_seen() -> bool:
        look_for_sockets(command, seen.listening)
        if as_nobody:
            for what, attempt in attempts(scratch).items():
                seen.tried.setdefault(what, set()).add(as_nobody(attempt))
        seen.joined = seen.joined or join(command)
        trains = any(path.stat().st_size for path in desk.runs.glob("watched/*/stages/*/metrics.jsonl"))
        return trains and set(KINDS) <= seen.kinds and bool(seen.joined)

    command.until(all_seen)
    os.kill(command.pid, signal.SIGTERM)
    seen.printed = command.ends(143)
    seen.left = list(set(temp.iterdir()) - before)
    yield seen
    shutil.rmtree(temp)


def plant(*folders: Path) -> None:
    """A package that workers import, and that ends them."""
    for folder in folders:
        (folder / "safetensors.py").write_text(PLANTED)


def plant_in_new(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir()
    plant(*folders, folders[0].parent)


def sockets(process: psutil.Process) -> set[tuple[str, int]]:
    """Where a process takes connections; nowhere once it is gone."""
    with contextlib.suppress(psutil.Error):
        found = (each for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN)
        return {(each.laddr.ip, each.laddr.port) for each in found}
    return set()


def look_for_sockets(command: Command, listening: dict[str, set[str]]) -> None:
    for process in (psutil.Process(command.pid), *command.descendants()):
        with contextlib.suppress(psutil.Error, IndexError):
            name = process.cmdline()[0].split("/")[-1]
            listening.setdefault(name, set()).update(address for address, _ in sockets(process))


def attempts(scratch: Path) -> dict[str, Callable[[], object]]:
    """What Ray's own folder would let every user of the machine do, and what they could gain by it."""
    found = {
        "list the folder": partial(os.listdir, scratch),
        "plant beside": partial(plant, scratch),
        "plant in Ray's folder": partial(plant, scratch / "ray"),
    }
    with contextlib.suppress(FileNotFoundError):  # Ray may be ending
        for path in scratch.rglob("*"):
            if path.is_socket():
                found[f"connect to {path.name}"] = partial(socket.socket(socket.AF_UNIX).connect, str(path))
            elif path.name == "raylet.out":
                found["read a log"] = path.read_text
    return found


def join(command: Command) -> str:
    """Talk to the head of the cluster without its token; returns its answer, or nothing where it takes no calls yet."""
    for process in command.descendants():
        with contextlib.suppress(psutil.Error):
            if process.name() == "gcs_server" and (found := sockets(process)):
                _, port = min(found)
                words = [sys.executable, "-c", JOIN, f"127.0.0.1:{port}"]
                environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
                told = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
                return f"exit code {told.returncode}: {told.stderr}"
    return ""


def test_settings_for_other_clusters_are_told_and_do_not_count(watched):
    assert f"{', '.join(OPEN)}: for clusters that are joined" in watched.printed


def test_nothing_listens_on_the_network(watched):
    assert watched.kinds == set(KINDS)
    addresses = {(name, address) for name, found in watched.listening.items() for address in found}
    assert [pair for pair in addresses if not ipaddress.ip_address(pair[1].removeprefix("::ffff:")).is_loopback] == []


def test_nobody_joins_without_the_token(watched):
    assert "exit code 1" in watched.joined
    assert "Unauthenticated" in watched.joined or "InvalidAuthToken" in watched.joined


def test_other_user_sees_and_changes_nothing(watched, as_nobody):
    assert set(watched.tried) == {
        *("list the folder", "plant beside", "plant in Ray's folder", "read a log"),
        *("connect to raylet", "connect to plasma_store"),
    }
    outcomes = set().union(*watched.tried.values())
    assert outcomes - {"FileNotFoundError"} == {"PermissionError"}, (
        watched.tried
    )  # at its end nothing is there any more


def test_what_is_planted_is_not_run(watched):
    """It would have ended the processes that train, and the search with them."""
    assert "Stopped; what was done is kept" in watched.printed
    assert watched.left == []
