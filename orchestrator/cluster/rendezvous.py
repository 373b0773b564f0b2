"""Where the workers of a group find each other.

PyTorch's own way, a store of the first worker's, listens on all interfaces and asks for nothing. On one machine a file
in a private folder does the same; between machines there is no such file, and the network of a cluster is its own.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import ray
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train.backend import BackendConfig
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

from orchestrator.cluster.environment import MEETING


class Rendezvous(TorchConfig):
    """Ray Train's process group, which in a Ray of our own meets in a file."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """What sets the group up, in the process that controls it."""
        return _Backend


class _Backend(_TorchBackend):
    def on_start(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:
        """Set up the process group; each time in a file of its own."""
        assert isinstance(backend_config, Rendezvous)
        folder = os.environ.get(MEETING)
        if not folder:
            super().on_start(worker_group, backend_config)
            return
        place = Path(folder) / f"group-{time.time_ns()}"
        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        worker_group.execute(_set_torch_distributed_env_vars)
        joined: list[Any] = [
            worker_group.execute_single_async(
                rank,
                _setup_torch_process_group,
                backend="nccl" if gpus else "gloo",
                world_rank=rank,
                world_size=len(worker_group),
                init_method=place.as_uri(),
                timeout_s=backend_config.timeout_s,
            )
            for rank in range(len(worker_group))
        ]
        ray.get(joined)
