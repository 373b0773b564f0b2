"""Checkpoints that are complete or ignored: safetensors and JSON, a manifest of digests, a marker written last."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from orchestrator.errors import StageFailed
from orchestrator.files import digests_below, read_json, sync_folder, write_json

log = logging.getLogger(__name__)

SCHEMA = 1
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


def save(folder: Path, step: int, tensors: dict[str, dict[str, torch.Tensor]], state: dict[str, Any]) -> Path:
    """Write checkpoint `step` so that a crash at any moment leaves it whole or absent; older ones are pruned.

    Args:
        folder: holds the checkpoints of one stage.
        step: optimiser steps done.
        tensors: tensors by kind and name; each kind is one safetensors file.
        state: JSON-able rest.
    """
    final = folder / f"step-{step:08d}"
    partial = folder / f".step-{step:08d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for kind, values in tensors.items():
        save_file({name: t.detach().cpu().contiguous() for name, t in values.items()}, partial / f"{kind}.safetensors")
    (partial / "state.json").write_text(json.dumps({"schema": SCHEMA, "step": step, **state}))
    write_json(partial / MANIFEST, digests_below(partial))
    sync_folder(partial)
    (partial / MARKER).touch()
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
    sync_folder(folder)
    for old in _candidates(folder)[KEEP:]:
        shutil.rmtree(old)
    return final


def newest_verified(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose files have their digests; bad ones are set aside as `*.corrupt`, with a warning.

    Raises:
        StageFailed: there are checkpoints but none is intact: starting over silently would hide the loss.
    """
    for partial in folder.glob(".step-*.partial"):
        shutil.rmtree(partial)
    candidates = _candidates(folder)
    for path in candidates:
        if _intact(path):
            state = read_json(path / "state.json")
            if state["schema"] != SCHEMA:
                raise StageFailed(
                    f"{path} has checkpoint schema {state['schema']}, this version reads {SCHEMA}: "
                    "continue with the version that wrote it, or start a new run with --fresh."
                )
            return Checkpoint(path, state["step"])
        aside = path.with_name(path.name + ".corrupt")
        shutil.rmtree(aside, ignore_errors=True)
        path.replace(aside)
        log.warning("checkpoint %s does not match its digests; set aside as %s", path, aside.name)
    if candidates or list(folder.glob("*.corrupt")):
        raise StageFailed(
            f"None of the checkpoints in {folder} is intact ({', '.join(p.name for p in sorted(folder.iterdir()))}): "
            "restore one from a backup, or start a new run with --fresh."
        )
    return None


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


def _candidates(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("step-*") if not p.name.endswith(".corrupt")), reverse=True)


def _intact(path: Path) -> bool:
    if not (path / MARKER).exists() or not (path / MANIFEST).exists():
        return False
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except ValueError:
        return False
    found = digests_below(path)
    return {k: v for k, v in found.items() if k not in (MANIFEST, MARKER)} == manifest
