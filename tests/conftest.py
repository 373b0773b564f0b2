"""Tests share the machine: one thread each, and those that start whole runs come last and share them."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch

from domains.stores.arrow import sha256_of
from orchestrator.contract.config import flatten
from orchestrator.contract.method import Method
from pipelines.drsl import Drsl
from tests import one_process

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
WHOLE_RUNS = [ROOT / "tests" / name for name in ("cluster", "end_to_end", "faults")]
PATIENCE_S = 500
"""Until something is given up that a busy machine merely delays."""

TINY = {
    "pair.source.count": 8,
    "pair.target.count": 8,
    "pair.evaluation.count": 4,
    "pair.height": 64,
    "pair.width": 128,
    "augment.crop_height": 48,
    "augment.crop_width": 96,
    "model.backbone": "resnet10",
    "model.width": 8,
    "mmdl.embed_dim": 8,
    "mmdl.samples_per_class": 10,
    "pretrain": "joint",
    "loss.triplet": 0.25,
    "loss.mixture": 0.1,
    "loss.consistency": 0.1,
    "isa.ratio": 0.5,
    "isa.translator": "statistics",
    "source.steps": 12,
    "source.source_batch": 4,
    "source.optimiser": "adamw",
    "source.lr": 2e-3,
    "source.schedule": "poly",
    "source.batchnorm": "train",
    "source.checkpoint_every": 2,
    "source.log_every": 1,
    "adapt.steps": 12,
    "adapt.source_batch": 2,
    "adapt.target_batch": 2,
    "adapt.optimiser": "sgd",
    "adapt.lr": 5e-3,
    "adapt.head_multiplier": 1,
    "adapt.schedule": "constant",
    "adapt.batchnorm": "train",
    "adapt.checkpoint_every": 2,
    "adapt.log_every": 1,
    "pseudo.rounds": 1,
    "pseudo.spatial_prior": False,
    "compute.precision": "fp32",
    "compute.cpus_per_worker": 1,
    "compute.tasks": 3,
    "panels": 2,
}
"""The toy preset so small that a stage costs little more than its processes, and all that tests rely on."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests first: what fails in one of them explains what fails in a whole run. Whole runs start Ray."""

    def whole(item: pytest.Item) -> bool:
        return item.path.parent in WHOLE_RUNS

    items.sort(key=whole)
    for item in filter(whole, items):
        if not item.get_closest_marker("without_ray"):
            item.add_marker("ray")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    with one_process.environment_kept():
        yield


def flags(settings: Mapping[str, object]) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def digests(run: Path) -> dict[str, str]:
    """All that a run is judged by: weights of every network, labels and translations, evaluations and metrics."""
    patterns = ("metrics.jsonl", "*/*.safetensors", "stages/*/*.arrow", "stages/*/evaluation.json")
    patterns += ("stages/*/*.safetensors", "stages/*/*/*.safetensors")
    paths = sorted(path for pattern in patterns for path in run.glob(pattern))
    assert paths, f"{run} holds nothing to compare"
    return {str(path.relative_to(run)): sha256_of(path) for path in paths}


def end(processes: list[psutil.Process]) -> None:
    """Kill processes, of which some may be gone by themselves, and see them gone."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


class Command:
    """A pipeline's script in a process group of its own, as a shell starts it."""

    def __init__(self, words: list[str], cwd: Path, env: dict[str, str]) -> None:
        self._log = cwd.with_name(f"{uuid.uuid4().hex}.log")
        with self._log.open("w") as log:
            self.process = subprocess.Popen(words, cwd=cwd, env=env, stdout=log, stderr=log, start_new_session=True)
        self.pid = self.process.pid

    @property
    def printed(self) -> str:
        return self._log.read_text()

    def ends(self, code: int = 0) -> str:
        """What it had printed when it ended with this code."""
        self.process.wait(PATIENCE_S)
        assert self.process.returncode == code, self.printed
        return self.printed

    def until(self, condition: Callable[[], object]) -> None:
        """Wait, while it goes on, for something that it does."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"ended too early\n{self.printed}"
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.005)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def kill(self) -> list[psutil.Process]:
        """Kill the script alone, as the kernel does when memory runs out; returns what it had started."""
        started = self.descendants()
        self.process.kill()
        self.process.wait()
        return started

    def interrupt(self) -> None:
        """What Ctrl-C in a terminal does: every process of the group gets the signal."""
        os.killpg(self.pid, signal.SIGINT)


NOBODY = 65534
"""A user who is not this one, where one can become another."""


@pytest.fixture(scope="session")
def as_nobody() -> Callable[[Callable[[], object]], str]:
    """Do something as another user of the machine; returns its outcome, or the name of the error."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def outcome_of(action: Callable[[], object]) -> str:
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                outcome = str(action())
            except BaseException as error:
                outcome = type(error).__name__
            os.write(theirs, outcome.encode())
            os._exit(0)
        os.close(theirs)
        with open(ours, encoding="utf-8") as file:
            outcome = file.read()
        os.waitpid(pid, 0)
        return outcome

    return outcome_of


@pytest.fixture(scope="session")
def command() -> type[Command]:
    """For tests that start other programs."""
    return Command


@dataclass(frozen=True)
class Desk:
    """A user with an empty home, a working directory outside the project and a temporary folder of their own."""

    home: Path
    work: Path
    temp: Path

    @property
    def runs(self) -> Path:
        return self.work / "runs"

    @property
    def env(self) -> dict[str, str]:
        own = {"HOME": str(self.home), "TMPDIR": str(self.temp), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "HF_", "MPL"))}
        return {**inherited, **own}

    def start(self, pipeline: str, *words: str, env: Mapping[str, str] | None = None) -> Command:
        script = str(ROOT / "pipelines" / f"{pipeline}.py")
        return Command([sys.executable, script, *words], self.work, {**self.env, **(env or {})})

    def carry_out(self, pipeline: str, *words: str, code: int = 0) -> str:
        """The same without Ray, in this process (`tests.one_process`); returns what it printed."""
        return one_process.carry_out(pipeline, words, self.work, self.temp, code)


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    # Sockets lie in the temporary folder and need short names, which those of pytest are not.
    temp = Path(tempfile.mkdtemp(prefix="sa-", dir="/tmp"))
    folder = tmp_path_factory.mktemp("desk")
    places = [folder / name for name in ("home", "work")]
    for place in places:
        place.mkdir()
    yield Desk(*places, temp)
    shutil.rmtree(temp, ignore_errors=True)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., list[str]]:
    """Flags of a tiny run, with changes; of another method than DRSL, those that it knows."""

    def words(method: type[Method] = Drsl, **changes: object) -> list[str]:
        known = flatten(method)
        changed = {**TINY, **{name.replace("__", "."): value for name, value in changes.items()}}
        return flags({name: value for name, value in changed.items() if name in known or name not in TINY})

    return words


@dataclass(frozen=True)
class FinishedRun:
    """A run, and what it printed."""

    folder: Path
    words: list[str]
    printed: str


@pytest.fixture(scope="session")
def finished(desk: Desk, tiny: Callable[..., list[str]]) -> FinishedRun:
    """An undisturbed run of DRSL+: the measure of all others."""
    words = [*tiny(), "--name", "undisturbed"]
    printed = desk.start("drsl", *words).ends()
    return FinishedRun(desk.runs / "undisturbed", words, printed)


SEARCHED_LRS = ("1e-1", "3e-2", "1e-2")
"""By the score without labels each is worse than the one before it, from the first report on."""


@pytest.fixture(scope="session")
def searched(desk: Desk, tiny: Callable[..., list[str]]) -> FinishedRun:
    """An undisturbed search of three trials, two at a time."""
    shorter = {"adapt.steps": 8, "source.steps": 60, "source.checkpoint_every": 20, "panels": 0}
    words = ["sweep", *tiny(**shorter, **{"validation.times": 2}), "--reduction", "2", "--concurrent", "2"]
    words += ["--search", f"adapt.lr=grid({','.join(SEARCHED_LRS)})"]
    printed = desk.start("drsl", *words, "--name", "search").ends()
    return FinishedRun(desk.runs / "search", words, printed)


@dataclass(frozen=True)
class Cluster:
    """A running Ray cluster of this machine."""

    address: str
    head: Command

    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(self.head.pid), *self.head.descendants()]


@pytest.fixture(scope="session")
def cluster(desk: Desk) -> Iterator[Cluster]:
    """Two cores, without authentication, as `ray start` makes it; only what was started here is killed."""
    folder = desk.temp / "c"
    folder.mkdir()
    words = ["start", "--head", "--block", "--num-cpus", "2", "--port", "0", "--temp-dir", str(folder)]
    command = [str(Path(sys.executable).parent / "ray"), *words, "--include-dashboard", "false"]
    env = {**desk.env, "RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    head = Command(command, desk.work, env)
    head.until(lambda: "--address='" in head.printed and "started" in head.printed)
    cluster = Cluster(head.printed.split("--address='")[1].split("'")[0], head)
    yield cluster
    end(cluster.processes())
