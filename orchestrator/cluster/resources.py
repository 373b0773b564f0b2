"""What a run asks of Ray, and turning "detect it" into numbers."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.base.errors import UserError
from orchestrator.base.signals import held_back
from orchestrator.cluster.starts import nothing_left_of_a_failure
from orchestrator.contract.settings import ComputeSettings

PATIENCE_S = 20.0
"""How long to wait for a busy cluster to free what a run needs before saying so."""
START_ATTEMPTS = 3
"""Times that Ray is started on a machine that is too busy for it."""
CONNECT_S = 10.0
"""How long a cluster's address may take to answer."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts on which nothing but this machine reaches a dashboard."""


def connect(scratch: Path, verbose: bool = False) -> None:
    """Join the cluster that RAY_ADDRESS names, or start a private one on this machine.

    Raises:
        UserError: the cluster runs another version of Ray or Python, or cannot be reached, or none starts here, or
            it lets anybody on its network run code.
    """
    import ray

    quiet = {} if verbose else {"log_to_driver": False, "logging_level": "error"}
    address = os.environ.get("RAY_ADDRESS")
    try:
        # Here workers start too; a folder of the user's could hold anything.
        with contextlib.chdir(scratch):
            if address:
                _require_reachable(address)
                dashboard = ray.init(address=address, **_own_path(address), **quiet).dashboard_url
            else:
                dashboard = None
                _start(scratch, quiet)
    except Exception as error:  # Ray raises bare ones too, such as when its own processes start too slowly
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not address:
            raise UserError(
                f"Ray could not start on this machine: {reason}",
                "A busy machine may be too slow for it: try the same command again, or see more with --verbose.",
            ) from error
        raise UserError(
            f"Cannot join the Ray cluster at {address}: {reason}",
            f"This environment has Ray {ray.__version__}; the cluster must run the same Ray and Python versions.",
            "Unset RAY_ADDRESS to run on this machine alone.",
        ) from error
    if dashboard:
        _require_closed(dashboard)


def _own_path(address: str) -> dict[str, Any]:
    """Keep the folder that Ray is joined from off the workers' path, where it comes first: it would hide packages."""
    from ray.job_config import JobConfig

    # Ray leaves it out for a client's job, and says itself that one by ray:// is such.
    return {} if "://" in address else {"job_config": JobConfig(_client_job=True)}


def _start(scratch: Path, quiet: Mapping[str, Any]) -> None:
    """Start Ray on this machine; on a busy one its processes may miss their 30 s, which Ray does not let one change."""
    import ray

    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            # Ray's library crashes where its start is cut off.
            with nothing_left_of_a_failure(), held_back():
                # A pseudo-label shard never passes through the object store, so a small one is enough.
                ray.init(
                    address="local",
                    include_dashboard=False,
                    object_store_memory=200 << 20,
                    _temp_dir=str(scratch / "ray"),  # Ray opens it to all users, but not what it lies in
                    **_own_path("local"),
                    **quiet,
                )
                if ray.util.get_node_ip_address() not in LOOPBACK:
                    raise RuntimeError("it listens on the network, not on this machine alone.")
            return
        except Exception as error:
            if attempt == START_ATTEMPTS or "timed out during startup" not in str(error):
                raise


def recall(compute: ComputeSettings, recorded: Mapping[str, Any]) -> ComputeSettings:
    """Fill in zeros and "auto" as they were filled in when the run began: it goes on with the same arithmetic."""
    automatic = {field.name for field in dataclasses.fields(compute) if field.default in (0, "auto")}
    detected = {name for name in automatic if getattr(compute, name) in (0, "auto") and name in recorded}
    return dataclasses.replace(compute, **{name: recorded[name] for name in detected})


def resolve(compute: ComputeSettings, patience_s: float = PATIENCE_S) -> ComputeSettings:
    """Fill in zeros and "auto" from what the connected cluster has, and wait until a worker has room in it.

    Of workers that are asked for and do not fit, as many as do share the work (`orchestrator.cluster.elastic`).

    Args:
        compute: as the user gave it.
        patience_s: how long to wait, in seconds.

    Raises:
        UserError: the cluster has less than a worker needs, or it stays busy; both amounts are named.
    """
    import ray

    total = ray.cluster_resources()
    cores, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    resolved = filled_in(compute, cores, gpus)
    _wait_for({"CPU": resolved.cpus_per_worker, "GPU": resolved.gpus_per_worker}, total, patience_s)
    return resolved


def filled_in(compute: ComputeSettings, cores: float, gpus: float) -> ComputeSettings:
    """Fill in zeros and "auto" for a machine, or machines, with so many cores and GPUs."""
    workers = compute.workers or (int(gpus) if gpus else 1)
    gpus_per_worker = compute.gpus_per_worker or (1.0 if gpus else 0.0)
    there = max(1, min(workers, int(gpus / gpus_per_worker))) if gpus else workers
    # Without GPUs one core a worker: a second thread helps a small network little, and beside any other load the
    # threads of one step wait for each other so long that the step takes several times what one thread needs.
    cpus_per_worker = compute.cpus_per_worker or (max(1.0, min(8.0, cores // there)) if gpus else 1.0)
    tasks = compute.tasks or int(gpus or cores)
    return dataclasses.replace(
        compute,
        workers=workers,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        tasks=max(1, tasks),
        precision=fast_precision() if compute.precision == "auto" else compute.precision,
    )


def cores_alone() -> ComputeSettings:
    """As many tasks at a time as the connected cluster has cores, and no GPU: for work that only decodes."""
    import ray

    total = ray.cluster_resources()
    _wait_for({"CPU": 1.0}, total, PATIENCE_S)
    return ComputeSettings(workers=1, gpus_per_worker=0, tasks=max(1, int(total.get("CPU", 1.0))))


def fast_precision() -> str:
    """The precision that this machine multiplies fastest in: bf16 (or fp16) with tensor or matrix units, else fp32."""
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Without matrix units bf16 on a processor is emulated and several times slower than fp32.
    info = Path("/proc/cpuinfo")
    return "bf16" if info.exists() and "amx_bf16" in info.read_text() else "fp32"


def _require_reachable(address: str) -> None:
    """Knock at a HOST:PORT, since Ray itself tries for minutes to reach one where nothing is."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


def _require_closed(dashboard: str) -> None:
    """Refuse a cluster whose dashboard, which runs code for whoever reaches it, is open to the network."""
    host = dashboard.rpartition(":")[0].strip("[]")
    # Where Ray finds a token for a cluster that it was told no mode of, it sets the mode.
    if host in LOOPBACK or os.environ.get("RAY_AUTH_MODE", "").lower() in ("token", "disabled"):
        return
    raise UserError(
        f"The dashboard of this Ray cluster listens on {dashboard} without a token: who reaches it can run code.",
        "Start the cluster with RAY_AUTH_MODE=token and --dashboard-host=127.0.0.1, and set RAY_AUTH_MODE=token here.",
        "Where a firewall keeps all others out, RAY_AUTH_MODE=disabled says that you know.",
    )


def _wait_for(needed: Mapping[str, float], total: Mapping[str, float], patience_s: float) -> None:
    import ray

    deadline = time.monotonic() + patience_s
    while True:
        free = ray.available_resources()
        short = {name: amount for name, amount in needed.items() if free.get(name, 0.0) < amount}
        if not short:
            return
        impossible = any(total.get(name, 0.0) < amount for name, amount in short.items())
        if impossible or time.monotonic() > deadline:
            raise UserError(
                "The cluster cannot give a worker of this run what it needs: "
                + ", ".join(
                    f"{amount:g} {name} needed, {free.get(name, 0.0):g} free of {total.get(name, 0.0):g}"
                    for name, amount in short.items()
                )
                + ".",
                "Lower --compute.cpus_per_worker or --compute.gpus_per_worker, or free the cluster.",
            )
        time.sleep(0.5)
