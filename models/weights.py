"""A trained network on disk: `model.safetensors` beside a `config.json` that says how to use it.

No pickle is read or written. The configuration holds the hash of the weights, so a pair that does not belong
together, and a file that was cut or changed, are told from a good one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from domains.base.files import open_itself, write_bytes
from models.matching import refuse_unmatched
from models.segmenter import Segmenter
from models.settings import SegmenterSettings, family_of

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
SCHEMA = 1
"""Version of the layout of `config.json`."""


def save_model(
    folder: str | Path,
    segmenter: Segmenter,
    settings: SegmenterSettings,
    label_space: Mapping[str, Any],
    protocol: Mapping[str, Any],
    pretrained: Mapping[str, Any] | None = None,
) -> None:
    """Write a network such that a reader sees the whole of it, the previous one, or an error.

    Args:
        folder: made if missing; a model in it is replaced.
        segmenter: the network, on any device.
        settings: what it was built from.
        label_space: JSON form of its label space, `{"classes": [...], ...}` in the order of the outputs.
        protocol: JSON record of how it was trained and evaluated; kept, not read.
        pretrained: JSON record of the weights that training began with, if any; kept, not read.

    Raises:
        ValueError: if the label space has not one class per output.
    """
    if len(label_space["classes"]) != segmenter.num_classes:
        raise ValueError(
            f"the label space has {len(label_space['classes'])} classes, but the network has "
            f"{segmenter.num_classes} outputs: save it with the label space it was built for"
        )
    state = segmenter.state_dict()
    # Kernels in the channels_last layout are not contiguous, which the format requires.
    weights = safetensors.torch.save({name: tensor.contiguous() for name, tensor in state.items()})
    config = {
        "schema": SCHEMA,
        "settings": asdict(settings),
        "normalisation": _normalisation(segmenter),
        "label_space": dict(label_space),
        "protocol": dict(protocol),
        **({"pretrained": dict(pretrained)} if pretrained else {}),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    document = json.dumps(config, indent=2, allow_nan=False).encode()
    write_bytes(Path(folder) / WEIGHTS, weights)
    write_bytes(Path(folder) / CONFIG, document)


def load_model(folder: str | Path) -> tuple[Segmenter, dict[str, Any]]:
    """Read what `save_model` wrote.

    Args:
        folder: holds `model.safetensors` and `config.json`.

    Returns:
        The network, on the processor and in evaluation mode, and the content of `config.json`.

    Raises:
        ValueError: if the folder holds no model, or one that is damaged, of another schema, whose tensors are not
            those of the network that its configuration describes, or whose files are symbolic links.
    """
    config = _read_config(Path(folder))
    tensors = _read_tensors(Path(folder) / WEIGHTS, config["sha256"])
    settings = _settings_from(config["settings"])
    # On "meta" nothing is allocated or drawn at random: every tensor comes from the file. Networks of transformers
    # hold tensors that are no part of their state, and are built in full.
    plain = family_of(settings.backbone) == "resnet"
    with torch.device("meta") if plain else torch.random.fork_rng(devices=[]):
        segmenter = Segmenter(settings, len(config["label_space"]["classes"]))
    load_tensors(segmenter, tensors)
    if _normalisation(segmenter) != config["normalisation"]:
        raise ValueError(
            f"{folder}: {CONFIG} asks for normalisation {config['normalisation']}, "
            f"but the weights were trained with {_normalisation(segmenter)}: restore the file"
        )
    return segmenter.eval(), config


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make `tensors` the parameters and buffers of a module, all of them or none.

    Args:
        module: receives the tensors themselves, not copies; it may be on the "meta" device.
        tensors: one for each name in the module's state, of the same shape and type.

    Raises:
        ValueError: naming what is missing, unexpected, or of another shape or type.
    """
    own = module.state_dict()
    both = own.keys() & tensors.keys()
    refuse_unmatched(
        missing=sorted(own.keys() - tensors.keys()),
        unexpected=sorted(tensors.keys() - own.keys()),
        different=[
            f"{name} ({_kind(tensors[name])}, the network has {_kind(own[name])})"
            for name in sorted(both)
            if _kind(tensors[name]) != _kind(own[name])
        ],
    )
    module.load_state_dict(dict(tensors), assign=True)


def weights_digest(module: nn.Module) -> str:
    """sha256 of all parameters and buffers of a module, by name."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(f"{name} {_kind(value)}\n".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _normalisation(segmenter: Segmenter) -> dict[str, Any]:
    """How images enter the network; `scale` is the value of full intensity."""
    constants = {
        name: [round(value, 6) for value in segmenter.get_buffer(name).flatten().tolist()] for name in ("mean", "std")
    }
    return {"channel_order": "RGB", "scale": 1.0, **constants}


def _settings_from(fields: dict[str, Any]) -> SegmenterSettings:
    try:
        return SegmenterSettings(**{**fields, "dilations": tuple(fields["dilations"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{CONFIG} has unusable network settings: {error}") from error


def _read_config(folder: Path) -> dict[str, Any]:
    if folder.is_file():
        raise ValueError(
            f"{folder} is a file, not a model folder ({WEIGHTS} and {CONFIG}); pickled checkpoints (.pth) "
            "can run code when opened and are refused: bring it in with `convert`, then train from it (--model.weights)"
        )
    path = folder / CONFIG
    try:
        content = _content(path)
    except FileNotFoundError as error:
        raise ValueError(f"{folder} holds no {CONFIG}: name a folder that a model was saved to") from error
    try:
        config = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): restore it or save again") from error
    schema = config.get("schema") if isinstance(config, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema!r}, this version reads {SCHEMA}: use the version that wrote it")
    absent = {"settings", "normalisation", "label_space", "sha256"} - config.keys()
    if absent:
        raise ValueError(f"{path} lacks {', '.join(sorted(absent))}: restore it or save again")
    return config


def _read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        data = _content(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: restore it or save again") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path} is damaged or not the one of its {CONFIG}: restore it or save again")
    return safetensors.torch.load(data)


def _content(path: Path) -> bytes:
    with open_itself(path) as file:
        return file.read()


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
