"""Bring a pickled public checkpoint into safetensors, once, without running anything that it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from domains.base.files import write_bytes
from models.layouts import recognise
from models.normalisation import KNOWN
from models.weights import CONFIG, WEIGHTS

NESTS = ("state_dict", "model")
"""Where training programs put the tensors when they save more than those."""


def convert(source: Path, out: Path, normalisation: str = "auto") -> dict[str, Any]:
    """Write `model.safetensors` and a `config.json` that says where it comes from and what images it expects.

    Names and values of the tensors stay as they are; what is no tensor is left out.

    Args:
        source: a file of `torch.save`: a state dict, or one under "state_dict" or "model".
        out: made if missing; weights in it are replaced.
        normalisation: what the network was trained on, "imagenet" or "caffe" (`models.normalisation.KNOWN`);
            "auto": what is usual for the layout.

    Returns:
        The content of `config.json`: layout, normalisation, and the sha256 of both files.

    Raises:
        ValueError: if the file cannot be read as tensors alone, or holds a network of no known layout.
    """
    if normalisation not in ("auto", *KNOWN):
        raise ValueError(f"normalisation must be auto, {' or '.join(KNOWN)}, got {normalisation!r}")
    try:
        pickled = source.read_bytes()
    except OSError as error:
        raise ValueError(f"{source} cannot be read: {error.strerror}") from error
    tensors = _tensors(source)
    try:
        layout = recognise(tensors)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    # Tensors of a pickle may share memory, which the format does not know.
    weights = safetensors.torch.save({name: tensor.clone().contiguous() for name, tensor in tensors.items()})
    config = {
        "source": {"file": source.name, "sha256": hashlib.sha256(pickled).hexdigest()},
        "layout": layout.name,
        "normalisation": KNOWN[layout.normalisation if normalisation == "auto" else normalisation].as_json(),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    write_bytes(out / WEIGHTS, weights)
    write_bytes(out / CONFIG, json.dumps(config, indent=2).encode())
    return config


def _tensors(source: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of unknown make can fail in any way
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ValueError(
            f"{source} cannot be read as tensors alone, and no code in it is run ({type(error).__name__}: {reason})"
        ) from error
    for nest in NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            content = content[nest]
    found = content.items() if isinstance(content, Mapping) else ()
    return {str(name): tensor for name, tensor in found if isinstance(tensor, Tensor)}
