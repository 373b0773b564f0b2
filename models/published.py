"""Weights that published settings begin with: which file it is, and how it gets here. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A public file of weights.

    Attributes:
        what: the file, in words.
        place: where it is had.
        use: what to do with it.
    """

    what: str
    place: str
    use: str


def _pickled(file: str, folder: str, more: str = "") -> str:
    return f"`convert --weights {file} --out {folder}{more}` brings it in, --model.weights {folder} names it"


_TORCHVISION, _CAFFE = "resnet101-5d3b4d8f.pth", "DeepLab_resnet_pretrained_init-f81d91e8.pth"

PUBLISHED: dict[str, Published] = {
    "resnet101-torchvision": Published(
        f"torchvision's ResNet-101 ({_TORCHVISION}, IMAGENET1K_V1)",
        f"https://download.pytorch.org/models/{_TORCHVISION}",
        f"{_pickled(_TORCHVISION, 'resnet101')}; or --model.weights timm/resnet101.tv_in1k@COMMIT, the same on the hub",
    ),
    "resnet101-caffe": Published(
        f"DeepLab's ResNet-101 from Caffe ({_CAFFE})",
        "its first address is gone, copies are linked in issue 2 of github.com/layumi/AdaBoost_Seg",
        _pickled(_CAFFE, "caffe", " --normalisation caffe"),
    ),
    "mit_b5-imagenet": Published(
        "SegFormer's MiT-B5, trained on ImageNet alone (mit_b5.pth)",
        "linked in the README of github.com/NVlabs/SegFormer, and nvidia/mit-b5 on the hub",
        f"{_pickled('mit_b5.pth', 'mit-b5')}; or --model.weights nvidia/mit-b5@COMMIT, at a commit with safetensors",
    ),
}
"""By the name that a preset calls them (`required:NAME`)."""


def how_to_get(name: str) -> str:
    """One sentence: which file a preset wants, where it is and what to do with it, or without it."""
    if name not in PUBLISHED:
        return f"required:{name} is a mark of presets, and none has it; there are {', '.join(PUBLISHED)}"
    weights = PUBLISHED[name]
    return (
        f"name the weights to begin with, a network that is silently random is refused: published is {weights.what}, "
        f"{weights.place}; {weights.use}; --model.weights none begins with random ones, for which set "
        "--source.batchnorm train"
    )
