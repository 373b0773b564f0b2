"""A cluster of several nodes on this machine: they come, are lost, and Ray says what each of them did."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from ray.util.state import list_actors, list_nodes, list_tasks

from tests.conftest import Command, Desk

RAY = str(Path(sys.executable).parent / "ray")


@dataclass
class Nodes:
    """Nodes of one core each, and a head that has none."""

    desk: Desk
    folder: Path
    head: Command
    started: dict[str, Command] = field(default_factory=dict)

    @classmethod
    def begin(cls, desk: Desk) -> Nodes:
        """Start the head."""
        folder = desk.temp / "n"
        folder.mkdir()
        # The dashboard answers what ran where.
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            board = ["--include-dashboard", "true", "--dashboard-port", str(free.getsockname()[1])]
        words = ["--head", "--num-cpus", "0", "--port", "0", "--temp-dir", str(folder)]
        return cls(desk, folder, _start(desk, folder, [*words, *board]))

    @property
    def address(self) -> str:
        """Where drivers join."""
        return self.head.printed.split("--address='")[1].split("'")[0]

    def add(self) -> str:
        """Start a node; returns its name."""
        name = f"node-{len(self.started)}"
        words = ["--address", self.address, "--num-cpus", "1", "--node-name", name]
        self.started[name] = _start(self.desk, self.folder, words)
        return name

    def alive(self) -> list[str]:
        """Names of the nodes that nobody killed."""
        return [name for name, command in self.started.items() if _raylets(command)]

    def lose(self, name: str) -> None:
        """Kill what makes a machine a node."""
        (raylet,) = _raylets(self.started[name])
        raylet.kill()
        raylet.wait()

    def announce_end(self, name: str) -> None:
        """Let a node tell, as a spot machine does, that it will be taken away."""
        (number,) = (number for number, other in self._names().items() if other == name)
        words = ["drain-node", "--address", self.address, "--node-id", number]
        words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "taken away"]
        words += ["--deadline-remaining-seconds", "120"]
        Command([RAY, *words], self.desk.work, self.desk.env).ends()

    def lose_one_at(self, title: str) -> str | None:
        """Lose a node amid something that one of its processes is carrying out; None where none is just then."""
        for name in self.alive():
            for process in self.started[name].descendants():
                if title in _title(process):
                    process.suspend()
                    # Stopped, it cannot finish any more; it may have done so before.
                    if title in _title(process):
                        self.lose(name)
                        process.kill()
                        return name
                    process.resume()
        return None

    def ran_tasks(self, name: str) -> list[tuple[str, int]]:
        """What Ray remembers of the tasks of a name: the node of each attempt, and its number."""
        tasks = list_tasks(address=self._board, filters=[("name", "=", name)], limit=1000)
        names = self._names()
        return [(names[task.node_id], task.attempt_number) for task in tasks if task.node_id]

    def ran_workers(self) -> list[str]:
        """What Ray remembers of the training workers: the node of each."""
        names = self._names()
        workers = list_actors(address=self._board, filters=[("class_name", "=", "RayTrainWorker")], limit=1000)
        return [names[worker.node_id] for worker in workers if worker.node_id]

    @property
    def _board(self) -> str:
        return self.head.printed.split("RAY_API_SERVER_ADDRESS='")[1].split("'")[0]

    def _names(self) -> dict[str, str]:
        return {node.node_id: node.node_name for node in list_nodes(address=self._board, limit=1000)}

    def close(self) -> None:
        """Kill what was started here."""
        for command in [*self.started.values(), self.head]:
            with contextlib.suppress(ProcessLookupError):  # a lost node may have ended all of its own
                os.killpg(command.pid, signal.SIGKILL)
            command.process.wait()


def _start(desk: Desk, folder: Path, words: list[str]) -> Command:
    # So often does the head look whether a node is still there.
    own = {"RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0", "RAY_health_check_period_ms": "500"}
    command = Command([RAY, "start", "--block", *words], desk.work, {**desk.env, **own})
    # The last that it prints: what it says of addresses is there by then.
    command.until(lambda: "Process exit logs will be saved" in command.printed)
    return command


def _raylets(command: Command) -> list[psutil.Process]:
    if command.process.poll() is not None:
        return []
    return [process for process in command.descendants() if process.name() == "raylet"]


def _title(process: psutil.Process) -> str:
    try:
        return "".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
