"""Process-wide environment: set before Ray or a cache-writing library is imported."""

from __future__ import annotations

import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("segadapt", "torch", "ray", "accelerate", "datasets", "pyarrow", "safetensors", "transformers", "kornia")
LOOPBACK_INTERFACE = "lo0" if sys.platform == "darwin" else "lo"
MEETING = "SEGADAPT_MEETING"
"""Names the folder in which the processes of a Ray of our own find each other (`orchestrator.cluster.rendezvous`)."""
CROWDED = "PYTHON worker processes have been started"


def prepare(scratch: Path) -> list[str]:
    """Point every cache at the scratch folder, quieten Ray, and close a Ray of our own to all others.

    Args:
        scratch: nothing of a run is kept there.

    Returns:
        Names of the user's settings that count for clusters that are joined, and not here.
    """
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
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
    overridden: list[str] = []
    if not os.environ.get("RAY_ADDRESS"):  # a running cluster decides on its own authentication
        # One process less for each stage: nobody announces that this machine will be taken away.
        defaults["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
        closed = _closed(scratch)
        overridden = [name for name, value in closed.items() if os.environ.get(name, value) != value]
        os.environ.update(closed)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if path := os.environ.get("PYTHONPATH"):
        # Workers start in another folder than the one that these are relative to.
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(folder) for folder in path.split(os.pathsep))
    return overridden


def _closed(scratch: Path) -> dict[str, str]:
    """What keeps all others out of a Ray that is started here, whatever the user set for clusters that are joined."""
    return {
        "RAY_AUTH_MODE": "token",
        # In the environment it keeps Ray from writing one to $HOME.
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Ray's switch for machines that can be no part of a cluster, on Linux as well: it then listens on the loopback
        # interface alone.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # They are given to anybody who asks.
        "RAY_enable_metrics_collection": "0",
        "GLOO_SOCKET_IFNAME": LOOPBACK_INTERFACE,
        "NCCL_SOCKET_IFNAME": LOOPBACK_INTERFACE,
        MEETING: str(scratch),
    }


def _usual_cache() -> Path:
    """Where Hugging Face's libraries keep what they fetch, unless told otherwise."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("HF_HOME") or caches / "huggingface").expanduser()


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


def _git_revision() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
