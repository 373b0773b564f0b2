"""How public weights name their tensors, and the same in the names of our encoders (those of transformers)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

_KINDS = {"conv": "convolution", "bn": "normalization", "downsample.0": "convolution", "downsample.1": "normalization"}
_UNIT = re.compile(r"(?:layer(\d)\.(\d+)\.)?(?:(conv|bn)(\d)|(downsample\.[01]))\.(\w+)")
_STEM = "embedder.embedder.convolution.weight"
_MIT_STEM = "encoder.patch_embeddings.0.proj.weight"
_PATCHES = "embeddings.patch_embeddings.weight"
_PROJECTION = "embeddings.patch_embeddings.projection.weight"
_JOINT = ".kv."
_MIT_PARTS = {
    "proj": "proj",
    "norm": "layer_norm",
    "attn.q": "attention.self.query",
    "attn.kv": "attention.self.kv",
    "attn.sr": "attention.self.sr",
    "attn.norm": "attention.self.layer_norm",
    "attn.proj": "attention.output.dense",
    "norm1": "layer_norm_1",
    "norm2": "layer_norm_2",
    "mlp.fc1": "mlp.dense1",
    "mlp.dwconv.dwconv": "mlp.dwconv.dwconv",
    "mlp.fc2": "mlp.dense2",
}
_MIT = re.compile(r"(?:(patch_embed)(\d)|block(\d)\.(\d+))\.([\w.]+)\.(weight|bias)|norm(\d)\.(weight|bias)")
_NAMES_SHOWN = 4


@dataclass(frozen=True)
class Layout:
    """One way of naming the tensors of a network.

    Attributes:
        name: what people call it.
        first: name of the first convolution's weight, by which the layout is recognised.
        prefix: what stands before the name of every tensor of the encoder.
        heads: beginnings of the names of tensors that belong to no encoder.
        normalisation: what such weights expect where no file beside them says it.
    """

    name: str
    first: str
    prefix: str
    heads: tuple[str, ...]
    normalisation: Literal["imagenet", "caffe"] = "imagenet"

    def rename(self, name: str) -> str | None:
        """The encoder's name of a tensor, None for one of a head; an unknown name comes back as it is."""
        if name.startswith(self.heads):
            return None
        return _renamed(name.removeprefix(self.prefix))

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the encoder under its own names."""
        found: dict[str, Tensor] = {}
        for old, tensor in tensors.items():
            name = self.rename(old)
            if name is None:
                continue
            if _JOINT in name:  # SegFormer's code computes keys and values at once
                for half, part in zip((".key.", ".value."), tensor.chunk(2), strict=True):
                    found[name.replace(_JOINT, half)] = part
            else:
                found[name] = tensor
        return found


LAYOUTS = (
    Layout("transformers", _STEM, "", ("classifier.",)),
    Layout("transformers", f"resnet.{_STEM}", "resnet.", ("classifier.",)),
    Layout("segadapt", f"encoder.{_STEM}", "encoder.", ("classifier.", "mean", "std")),
    Layout("transformers", _MIT_STEM, "", ("classifier.", "decode_head.")),
    Layout("transformers", f"segformer.{_MIT_STEM}", "segformer.", ("classifier.", "decode_head.")),
    Layout("transformers", _PATCHES, "", ("classifier.",)),
    Layout("transformers", f"convnext.{_PATCHES}", "convnext.", ("classifier.",)),
    Layout("transformers", _PROJECTION, "", ("classifier.",)),
    Layout("transformers", f"swin.{_PROJECTION}", "swin.", ("classifier.",)),
    Layout("transformers", f"dinov2.{_PROJECTION}", "dinov2.", ("classifier.",)),
    Layout("transformers", "stages.0.downsample_layers.0.weight", "", ("classifier.",)),
    Layout("segformer", "patch_embed1.proj.weight", "", ("head.",)),
    Layout("torchvision", "conv1.weight", "", ("fc.", "layer5.", "layer6.")),
    Layout("caffe", "Scale.conv1.weight", "Scale.", ("Scale.fc.", "Scale.layer5.", "Scale.layer6."), "caffe"),
)
"""timm names plain ResNets as torchvision does, SegFormer's own code names MiT as "segformer" says, and "caffe" is the
initial network of AdaptSegNet's public code."""


def recognise(names: Iterable[str]) -> Layout:
    """The layout of these tensors.

    Raises:
        ValueError: if it is none of those that are known.
    """
    found = set(names)
    for layout in LAYOUTS:
        if layout.first in found:
            return layout
    known = ", ".join(dict.fromkeys(layout.name for layout in LAYOUTS))
    raise ValueError(
        f"its tensors ({', '.join(sorted(found)[:_NAMES_SHOWN]) or 'none'}, ...) are named in none of the known ways "
        f"({known}): it holds another kind of network"
    )


def _renamed(name: str) -> str:
    match = _UNIT.fullmatch(name)
    if match is None:
        return _renamed_mit(name)
    stage, block, kind, number, shortcut, tensor = match.groups()
    if stage is None:
        return f"embedder.embedder.{_KINDS[kind]}.{tensor}" if kind and number == "1" else name
    unit = f"shortcut.{_KINDS[shortcut]}" if shortcut else f"layer.{int(number) - 1}.{_KINDS[kind]}"
    return f"encoder.stages.{int(stage) - 1}.layers.{block}.{unit}.{tensor}"


def _renamed_mit(name: str) -> str:
    match = _MIT.fullmatch(name)
    if match is None:
        return name
    patch, patch_stage, block_stage, block, part, tensor, norm_stage, norm_tensor = match.groups()
    if norm_stage:
        return f"encoder.layer_norm.{int(norm_stage) - 1}.{norm_tensor}"
    if part not in _MIT_PARTS:
        return name
    place = f"patch_embeddings.{int(patch_stage) - 1}" if patch else f"block.{int(block_stage) - 1}.{block}"
    return f"encoder.{place}.{_MIT_PARTS[part]}.{tensor}"
