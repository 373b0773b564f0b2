"""Process-wide environment: set before Ray or a cache-writing library is imported."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("segadapt", "torch", "ray", "accelerate", "datasets", "pyarrow", "safetensors", "transformers", "kornia")
SCRATCH_PREFIX = "segadapt-"
LONGEST_TEMP = 13 if sys.platform == "darwin" else 17
"""Longest name of the folder for temporary files: Ray's sockets lie 90 bytes deeper, and kernels limit them."""


CROWDED = "PYTHON worker processes have been started"


def prepare() -> Path:
    """Point every cache at one private scratch folder and quieten Ray. Returns the folder, whose name is short.

    Nothing of a run is kept there. Folders of processes that are gone (killed before they could clean up) are removed.
    """
    remove_stale_scratch()
    scratch = Path(tempfile.mkdtemp(prefix=f"{SCRATCH_PREFIX}{os.getpid()}-", dir=temporary()))
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Token authentication is on for local clusters; a token in the environment keeps Ray from writing to $HOME.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Nothing is held back but a warning that means nothing here: trials and controllers hold no cores, so there may
        # be more processes than cores.
        "RAY_DEDUP_LOGS_ALLOW_REGEX": f"^(?!.*{CROWDED})",
        "RAY_DEDUP_LOGS_SKIP_REGEX": CROWDED,
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # How often the controller looks for finished or lost workers; its default is 2 s.
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
        # Else a thread that goes on while the command leaves starts a second Ray, which nobody ends.
        "RAY_ENABLE_AUTO_CONNECT": "0",
        # Stages of tasks follow each other with training between them: a process kept idle meanwhile has its imports
        # done, which take longer than a small stage. By default it is ended after a second.
        "RAY_idle_worker_killing_time_threshold_ms": "600000",
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        # Threads that wait must not spin: beside any other load, spinning made steps up to nine times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MPLCONFIGDIR": str(scratch / "matplotlib"),
        "HF_HOME": str(scratch / "huggingface"),
        # Weights are fetched before this is set, and must be found again by workers and by the next run.
        "HF_HUB_CACHE": str(_usual_cache() / "hub"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if os.environ.get("RAY_ADDRESS"):
        # A running cluster decides on its own authentication.
        del defaults["RAY_AUTH_MODE"], defaults["RAY_AUTH_TOKEN"]
    else:
        # One process less for each stage: nobody announces that this machine will be taken away.
        defaults["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if path := os.environ.get("PYTHONPATH"):
        # Workers start in another folder than the one that these are relative to.
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(folder) for folder in path.split(os.pathsep))
    return scratch


def _usual_cache() -> Path:
    """Where Hugging Face's libraries keep what they fetch, unless told otherwise."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("HF_HOME") or caches / "huggingface").expanduser()


def remove_stale_scratch() -> None:
    """Remove scratch folders whose process no longer lives."""
    for folder in Path(temporary()).glob(f"{SCRATCH_PREFIX}*-*"):
        pid = folder.name.removeprefix(SCRATCH_PREFIX).split("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def describe() -> dict[str, Any]:
    """Versions, hardware and git revision, for `environment.json`. Reads no environment variable: none can leak."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "packages": versions,
        "system": platform.platform(),
        "cpu_cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "git_revision": _git_revision(),
    }


def changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of two descriptions can change a run's numbers: versions and the revision of the code, in words."""
    before, after = (
        {"python": told.get("python"), **told.get("packages", {}), "git_revision": told.get("git_revision")}
        for told in (was, now)
    )
    differing = [name for name in after if name in before and before[name] != after[name]]
    return [f"{name} {before[name]}, now {after[name]}" for name in differing]


def temporary() -> str:
    """The folder for temporary files, or /tmp where its name is too long for sockets to lie in it."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= LONGEST_TEMP else "/tmp"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 asks and does nothing
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _git_revision() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
