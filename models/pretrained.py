"""Pretrained weights of the encoder, from a local folder, a file or a pinned revision of the hub.

Every tensor of the encoder comes from there or none does, and the normalisation that the weights expect comes along.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from models.adapter import Adapted
from models.layouts import recognise
from models.normalisation import KNOWN, Normalisation
from models.settings import HUB, SegmenterSettings
from models.weights import CONFIG, WEIGHTS, load_tensors

PREPROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True)
class Pretrained:
    """Weights as they were read.

    Attributes:
        tensors: by the names of our encoder, on the processor, floating-point ones in float32.
        layout: how they were named.
        normalisation: how images enter a network of these weights.
        sha256: of the safetensors file.
    """

    tensors: dict[str, Tensor]
    layout: str
    normalisation: Normalisation
    sha256: str

    def record(self) -> dict[str, Any]:
        """What decides the outcome of a training that begins here, as JSON."""
        return {"sha256": self.sha256, "layout": self.layout, "normalisation": self.normalisation.as_json()}


def read_pretrained(weights: str) -> Pretrained:
    """Read weights, and what lies beside them about their normalisation.

    That is the `normalisation` of a `config.json` (of our own model folders and of `convert`), the
    `preprocessor_config.json` of transformers, or what is usual for the layout, in this order.

    Args:
        weights: folder with `model.safetensors`, such a file, or `owner/name@commit` on the hub.

    Raises:
        ValueError: if they cannot be had or read, are damaged, or belong to another kind of network.
    """
    path = _locate(weights)
    try:
        data = path.read_bytes()
        found = safetensors.torch.load(data)
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} cannot be read ({error}): get the file again") from error
    sha256 = hashlib.sha256(data).hexdigest()
    config = _beside(path, CONFIG)
    if config.get("sha256", sha256) != sha256:
        raise ValueError(f"{path} is damaged or not the one of its {CONFIG}: restore it or convert again")
    try:
        layout = recognise(found)
        normalisation = _normalisation(config, _beside(path, PREPROCESSOR)) or KNOWN[layout.normalisation]
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error
    tensors = {name: _full(tensor) for name, tensor in layout.translate(found).items()}
    return Pretrained(tensors, layout.name, normalisation, sha256)


def pretrained_record(settings: SegmenterSettings) -> dict[str, Any]:
    """What is recorded of the weights that these settings name, empty where they name none.

    Raises:
        ValueError: as `read_pretrained`.
    """
    if not settings.pretrained:
        return {}
    return {"weights": settings.weights, **read_pretrained(settings.weights).record()}


def load_encoder(encoder: nn.Module, weights: str) -> Normalisation:
    """Give an encoder its pretrained weights, all of them, turned to see red first.

    Args:
        encoder: the encoder of a segmenter; it may be on the "meta" device.
        weights: as `read_pretrained` takes them.

    Returns:
        The normalisation that images now need; its `unit` suits the encoder.

    Raises:
        ValueError: naming what cannot be had, or which tensors are missing, left over or of another shape.
    """
    pretrained = read_pretrained(weights)
    try:
        if isinstance(encoder, Adapted):
            encoder.load(pretrained.tensors)
        else:
            load_tensors(encoder, _counters(encoder) | pretrained.tensors)
    except ValueError as error:
        raise ValueError(
            f"{weights} ({pretrained.layout} layout): {error}; no tensor may stay random, so name the backbone and "
            "width of these weights"
        ) from error
    if pretrained.normalisation.reversed:
        first = next(layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
        first.weight.data = first.weight.data.flip(1)
    return pretrained.normalisation


def _locate(weights: str) -> Path:
    """The safetensors file that a setting names."""
    if HUB.fullmatch(weights):
        return _download(weights)
    path = Path(weights).expanduser()
    if path.is_dir():
        path /= WEIGHTS
    if path.is_file() and path.suffix != ".safetensors":
        raise ValueError(f"{path} is no safetensors file: pickles can run code when opened, bring it in with `convert`")
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist: name a folder with {WEIGHTS}, a safetensors file, owner/name@COMMIT on the hub "
            "with the full hash of the commit, or none"
        )
    return path


def _download(weights: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name, revision = weights.split("@")
    try:
        # No pickle is asked for. What the cache holds of this commit is not fetched again.
        folder = snapshot_download(name, revision=revision, allow_patterns=[WEIGHTS, CONFIG, PREPROCESSOR])
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{weights} cannot be had from the hub ({type(error).__name__}: {reason})") from error
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{weights} holds no {WEIGHTS}: name a revision that does, or `convert` its pickle")
    return path


def _beside(path: Path, name: str) -> dict[str, Any]:
    """A JSON file of the weights' folder, empty where there is none."""
    file = path.with_name(name)
    try:
        content = json.loads(file.read_bytes()) if file.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON ({error}): restore it") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold an object: restore it")
    return content


def _normalisation(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Normalisation | None:
    if "normalisation" in config:
        return Normalisation.of(config["normalisation"])
    return Normalisation.of_preprocessor(preprocessor) if preprocessor else None


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _counters(encoder: nn.Module) -> dict[str, Tensor]:
    """Zeros for the batches that normalisations have counted: older files lack them, and nothing depends on them."""
    names = (name for name in encoder.state_dict() if name.endswith("num_batches_tracked"))
    return {name: torch.zeros((), dtype=torch.int64) for name in names}
