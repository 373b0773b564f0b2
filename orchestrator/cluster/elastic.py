"""How many workers a training stage has: those of the run, or as many as the cluster carries just then.

An optimiser step of a run is made of workers x accumulation micro-batches. These, and which images each holds, stay as
they were when the run began. How many workers share them does not matter (`domains.batches.microbatches`), so their
number may change.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

from orchestrator.base.errors import UserError
from orchestrator.cluster.placement_groups import remove_leaked_placement_groups
from orchestrator.cluster.resources import PATIENCE_S
from orchestrator.contract.settings import ComputeSettings

POLL_S = 0.5


def micro_batches(compute: ComputeSettings) -> int:
    """Micro-batches of one optimiser step, over all workers."""
    return compute.workers * compute.accumulation


def fitting(compute: ComputeSettings, most: int, patience_s: float = PATIENCE_S) -> ComputeSettings:
    """The workers that the connected cluster carries now, each with an equal share of the micro-batches of a step.

    Args:
        compute: of the run, as `resources.resolve` filled it in; its workers are never exceeded.
        most: at most so many, at least 1.
        patience_s: how long to wait, in seconds, for what is there but busy.

    Raises:
        UserError: not even one worker fits.
    """
    remove_leaked_placement_groups()
    most = min(most, compute.workers)
    deadline = time.monotonic() + patience_s
    while (free := _free_places(compute)) < min(most, places(compute)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    workers = largest_share(micro_batches(compute), min(most, free))
    if not workers:
        raise UserError(
            f"The cluster has no room for a training worker of {_words(needs(compute))}: "
            f"{places(compute)} would fit, {free} now. Free it, or give it more nodes; the same command then goes on."
        )
    return dataclasses.replace(compute, workers=workers, accumulation=micro_batches(compute) // workers)


def largest_share(micros: int, most: int) -> int:
    """The largest number of workers up to `most` that share a number of micro-batches evenly; 0 where most is 0."""
    return max((count for count in range(1, most + 1) if micros % count == 0), default=0)


def needs(compute: ComputeSettings) -> dict[str, float]:
    """What one worker reserves."""
    found = {"CPU": compute.cpus_per_worker, "GPU": compute.gpus_per_worker}
    return {name: amount for name, amount in found.items() if amount}


def places(compute: ComputeSettings) -> int:
    """Workers that the living nodes carry when nothing else runs: a worker lies on one node as a whole."""
    import ray

    return sum(_times(needs(compute), node["Resources"]) for node in ray.nodes() if node["Alive"])


def _free_places(compute: ComputeSettings) -> int:
    import ray

    return min(places(compute), _times(needs(compute), ray.available_resources()))


def _times(needed: Mapping[str, float], there: Mapping[str, float]) -> int:
    """How often the needed is in what is there."""
    # Shares of a core or GPU add up to slightly less than whole ones.
    return min(int(there.get(name, 0.0) / amount + 1e-6) for name, amount in needed.items())


def _words(needed: dict[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in needed.items())
