"""Checkpoints that are complete or ignored: safetensors and JSON, a manifest of digests, a marker written last.

Each knows what decides the training that it belongs to, and continues no other.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from orchestrator.base.errors import StageFailed, UserError
from orchestrator.base.files import (
    digests_below,
    read_json,
    remove,
    remove_unfinished,
    replacing_folder,
    write_json,
    write_tensors,
)
from orchestrator.run.fingerprint import Fingerprint
from orchestrator.train.finite import Diverged, bad_tensors

log = logging.getLogger(__name__)

SCHEMA = 2
MARKER = "COMPLETE"
MANIFEST = "manifest.json"
KEEP = 2


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint on disk."""

    path: Path
    step: int

    def tensors(self, kind: str) -> dict[str, torch.Tensor]:
        """The tensors of one kind ("networks" or "optimisers"), by name."""
        return load_file(self.path / f"{kind}.safetensors")

    def state(self) -> dict[str, Any]:
        """Everything that is not a tensor."""
        return read_json(self.path / "state.json")


def save(
    folder: Path,
    step: int,
    tensors: dict[str, dict[str, torch.Tensor]],
    state: dict[str, Any],
    identity: Fingerprint,
) -> Path:
    """Write checkpoint `step` so that a crash at any moment leaves it whole or absent; older ones are pruned.

    Args:
        folder: holds the checkpoints of one stage.
        step: optimiser steps done.
        tensors: tensors by kind and name; each kind is one safetensors file.
        state: JSON-able rest.
        identity: what decides the training.

    Raises:
        Diverged: a tensor holds NaN or infinity. Nothing is written.
    """
    if bad := [name for values in tensors.values() for name in bad_tensors(values)]:
        raise Diverged(f"step {step}: NaN or infinity in {len(bad)} tensors, the first {bad[0]}; nothing is saved")
    final = folder / _name(step)
    with replacing_folder(final) as partial:
        for kind, values in tensors.items():
            write_tensors(partial / f"{kind}.safetensors", values)
        told = {"fingerprint": identity.digest, "decided_by": dict(identity.decided_by)}
        write_json(partial / "state.json", {"schema": SCHEMA, "step": step, **told, **state})
        write_json(partial / MANIFEST, digests_below(partial))
        (partial / MARKER).touch()
    for old in _candidates(folder)[KEEP:]:
        remove(old)
    return final


def newest_verified(folder: Path, identity: Fingerprint) -> Checkpoint | None:
    """The newest checkpoint whose files have their digests; bad ones are set aside as `*.corrupt`, with a warning.

    Args:
        folder: holds the checkpoints of one stage.
        identity: what decides the training that is to be continued.

    Raises:
        StageFailed: there are checkpoints but none is intact: starting over silently would hide the loss.
        UserError: the newest intact one belongs to another training; what differs is listed.
    """
    remove_unfinished(folder)
    candidates = _candidates(folder)
    for path in candidates:
        fault = _fault(path)
        if not fault:
            _require_same(path, identity)
            return Checkpoint(path, read_json(path / "state.json")["step"])
        aside = path.with_name(path.name + ".corrupt")
        remove(aside)
        path.replace(aside)
        log.warning("checkpoint %s %s; set aside as %s", path, fault, aside.name)
    if candidates or list(folder.glob("*.corrupt")):
        raise StageFailed(
            f"None of the checkpoints in {folder} is intact ({', '.join(p.name for p in sorted(folder.iterdir()))}): "
            "restore one from a backup, or start a new run with --fresh."
        )
    return None


def exist(folder: Path) -> bool:
    """Whether there are any, be they intact or not."""
    return any(folder.glob("step-*"))


def at(folder: Path, step: int) -> Checkpoint:
    """The checkpoint of a step, which another worker has just verified."""
    return Checkpoint(folder / _name(step), step)


def optimiser_tensors(name: str, optimiser: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Split an optimiser's state into tensors for safetensors and a JSON-able rest."""
    full = optimiser.state_dict()
    tensors, rest = {}, {}
    for index, values in full["state"].items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{name}/{index}/{key}"] = value
            else:
                rest.setdefault(str(index), {})[key] = value
    return tensors, {"groups": full["param_groups"], "rest": rest}


def restore_optimiser(
    name: str, optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], state: dict[str, Any]
) -> None:
    """Undo `optimiser_tensors`."""
    values: dict[int, dict[str, Any]] = {int(i): dict(rest) for i, rest in state["rest"].items()}
    for path, tensor in tensors.items():
        owner, index, key = path.split("/")
        if owner == name:
            values.setdefault(int(index), {})[key] = tensor
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in state["groups"]]
    optimiser.load_state_dict({"state": values, "param_groups": groups})


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _candidates(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("step-*") if not p.name.endswith(".corrupt")), reverse=True)


def _require_same(path: Path, identity: Fingerprint) -> None:
    """Refuse a checkpoint of another layout or another training."""
    state = read_json(path / "state.json")
    if state["schema"] != SCHEMA:
        raise StageFailed(
            f"{path} has checkpoint schema {state['schema']}, this version reads {SCHEMA}: "
            "continue with the version that wrote it, or start a new run with --fresh."
        )
    if state["fingerprint"] != identity.digest:
        raise UserError(
            f"{path} belongs to another training than the one that is to be continued:",
            *(identity.differences(state["decided_by"]) or ["what it reads was made in another way"]),
            "Put back what was changed, or start a new run with --fresh.",
        )


def _fault(path: Path) -> str:
    """What is wrong with the files of a checkpoint; "" where nothing is."""
    unlike = "does not match its digests"
    if not (path / MARKER).exists() or not (path / MANIFEST).exists():
        return unlike
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except ValueError:
        return unlike
    found = digests_below(path)
    if {k: v for k, v in found.items() if k not in (MANIFEST, MARKER)} != manifest:
        return unlike
    holds_bad = any(bad_tensors(load_file(file)) for file in path.glob("*.safetensors"))
    return "holds NaN or infinity" if holds_bad else ""
