"""The check of shared storage: every node sees the run folder, or a stage would fail on a file that is not there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from orchestrator.base.errors import UserError

ANSWER_S = 60.0
"""How long a node may take to look; one that does not answer is taken to be busy or lost, not blind."""


def require_shared(folder: Path) -> None:
    """Check that all nodes of the connected cluster see a folder of this one and may write to it.

    Raises:
        UserError: some do not; they are named.
    """
    import ray

    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if len(nodes) < 2:
        return
    sign = folder / f".seen-{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sign.touch()
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be written ({error.strerror}); see --runs.") from error
    try:
        answers = _ask(list(nodes), sign)
    finally:
        sign.unlink()
    blind = [address for (node, address) in nodes.items() if answers.get(node) is False]
    if blind:
        raise UserError(
            f"The run folder {folder} is not shared: {', '.join(blind)} of the cluster cannot see it or write to it.",
            "Name a folder with --runs that all nodes mount at the same path, such as an NFS share.",
        )


def _ask(nodes: list[str], sign: Path) -> dict[str, bool]:
    """What the nodes say, by id; of those that answered in time."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0)(sees)
    asked = {
        node: look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(str(sign))
        for node in nodes
    }
    answered, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_S)
    found = {}
    for node, answer in asked.items():
        if answer in answered:
            try:
                found[node] = ray.get(answer)
            except RayError:  # the node was lost meanwhile
                continue
    return found


def sees(sign: str) -> bool:
    """Whether this machine has the file, and may write beside it."""
    return os.path.exists(sign) and os.access(os.path.dirname(sign), os.W_OK)
