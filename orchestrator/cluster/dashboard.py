"""A label in Ray's dashboard: an actor that does nothing and bears the name of what goes on.

Ray Train calls the workers of every stage RayTrainWorker and gives none of its actors or tasks a name of ours; the name
of its run is in no view of the dashboard. Tasks have names of their own (`orchestrator.mapreduce.tasks`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


class Training:
    """The dashboard lists its class and the name that it is given."""


@contextlib.contextmanager
def dashboard_label(name: str) -> Iterator[None]:
    """Show a name in the dashboard of the cluster that RAY_ADDRESS names; one of a run's own has no dashboard."""
    if not os.environ.get("RAY_ADDRESS"):
        yield
        return
    import ray

    # By the cluster's free resources, also where a trial of a search, which holds next to none, starts it.
    options = {"name": name, "num_cpus": 0, "scheduling_strategy": "DEFAULT"}
    shown = None
    with contextlib.suppress(ValueError):  # one of this name, of a stage that was cut off, is not gone yet
        shown = ray.remote(**options)(Training).remote()
    try:
        yield
    finally:
        del shown  # the last handle: with it the actor goes
