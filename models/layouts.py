"""How public ResNet weights name their tensors, and the same in the names of our encoder (those of transformers)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_KINDS = {"conv": "convolution", "bn": "normalization", "downsample.0": "convolution", "downsample.1": "normalization"}
_UNIT = re.compile(r"(?:layer(\d)\.(\d+)\.)?(?:(conv|bn)(\d)|(downsample\.[01]))\.(\w+)")
_STEM = "embedder.embedder.convolution.weight"
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


LAYOUTS = (
    Layout("transformers", _STEM, "", ("classifier.",)),
    Layout("transformers", f"resnet.{_STEM}", "resnet.", ("classifier.",)),
    Layout("segadapt", f"encoder.{_STEM}", "encoder.", ("classifier.", "mean", "std")),
    Layout("torchvision", "conv1.weight", "", ("fc.", "layer5.", "layer6.")),
    Layout("caffe", "Scale.conv1.weight", "Scale.", ("Scale.fc.", "Scale.layer5.", "Scale.layer6."), "caffe"),
)
"""timm names its plain ResNets as torchvision does; "caffe" is the initial network of AdaptSegNet's public code."""


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
        return name
    stage, block, kind, number, shortcut, tensor = match.groups()
    if stage is None:
        return f"embedder.embedder.{_KINDS[kind]}.{tensor}" if kind and number == "1" else name
    unit = f"shortcut.{_KINDS[shortcut]}" if shortcut else f"layer.{int(number) - 1}.{_KINDS[kind]}"
    return f"encoder.stages.{int(stage) - 1}.layers.{block}.{unit}.{tensor}"
