"""Settings of the networks, importable without torch; each field's docstring is its command-line help."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Backbone = Literal[
    "resnet10",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "mit_b0",
    "mit_b1",
    "mit_b2",
    "mit_b3",
    "mit_b4",
    "mit_b5",
    "swin_tiny",
    "swin_small",
    "swin_base",
    "swin_base_window12",
    "swin_large",
    "swin_large_window12",
    "convnext_tiny",
    "convnext_small",
    "convnext_base",
    "convnext_large",
    "dinov2_small",
    "dinov2_base",
    "dinov2_large",
    "dinov3_small",
    "dinov3_base",
    "dinov3_large",
    "dinov3convnext_tiny",
    "dinov3convnext_small",
    "dinov3convnext_base",
    "dinov3convnext_large",
]
STRIDES = {
    **dict.fromkeys(("mit", "swin", "convnext", "dinov3convnext"), (4, 8, 16, 32)),
    "dinov2": (14, 14, 14, 14),
    "dinov3": (16, 16, 16, 16),
}
"""Pixels between two cells of each level, by family; those of ResNets follow from `output_stride`."""


def family_of(backbone: str) -> str:
    """Which kind of network it is: resnet, mit, swin, convnext, dinov2, dinov3 or dinov3convnext."""
    return "resnet" if backbone.startswith("resnet") else backbone.split("_")[0]


NO_WEIGHTS = "none"
REQUIRED = "required:"
"""Before the name of published weights (`models.published`) that a preset begins with; the user has to say where they
lie."""
HUB = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")
"""A model on the hub with its commit; anything else is a local path."""
_UNPINNED = re.compile(r"[\w-][\w.-]*/[\w.-]+@.*")


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings:
    """Shape of the segmentation network (DeepLab-v2: an encoder, a dilated ResNet there, and a dilated-sum classifier).

    Raises:
        ValueError: if a value is out of its range.
    """

    backbone: Backbone = "resnet101"
    """Encoder; resnet10 has one block in every stage, all but ResNets are those of transformers."""
    width: int = 64
    """Channels of a ResNet's first stage, and 64ths of any standard network's: less than 64 gives a reduced one."""
    output_stride: Literal[8, 14, 16, 32] = 8
    """Pixels between two feature cells; DeepLab-v2 uses 8, 32 is without dilation; DINOv2 has 14, DINOv3 16, other
    kinds 32."""
    dilations: tuple[int, ...] = (6, 12, 18, 24)
    """Dilation of every branch of the classifier; "6 12" is what AdaptSegNet's public code computes."""
    ceil_pool: bool = True
    """Round the first pooling up, as DeepLab does: 512 pixels give 65 cells, the outermost on the border."""
    weights: str = NO_WEIGHTS
    """First weights of the encoder: none (random), a folder, a safetensors file, or owner/name@COMMIT on the hub."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        known = get_args(Backbone)
        if self.backbone not in known:
            raise ValueError(f"backbone must be one of {', '.join(known)}, got {self.backbone!r}")
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")
        strides = STRIDES[family][-1:] if (family := family_of(self.backbone)) in STRIDES else (8, 16, 32)
        if self.output_stride not in strides:
            allowed = " or ".join(map(str, strides))
            raise ValueError(f"output_stride must be {allowed} with {self.backbone}, got {self.output_stride}")
        if family != "resnet" and self.width % 2:
            raise ValueError(f"width must be even with {self.backbone}, got {self.width}")
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(f"dilations must be one or more numbers of at least 1, got {self.dilations}")
        if not self.weights:
            raise ValueError(f"weights must say {NO_WEIGHTS} where the encoder is to begin with random ones")
        if _UNPINNED.fullmatch(self.weights) and not HUB.fullmatch(self.weights):
            raise ValueError(f"weights: a branch or tag can move, so name the commit's 40 digits, got {self.weights!r}")

    @property
    def pretrained(self) -> bool:
        """Whether the encoder begins with weights that are read."""
        return self.weights != NO_WEIGHTS

    @property
    def wanted(self) -> str:
        """Published weights that the user has yet to give a place, by name; empty where there is nothing to do."""
        return self.weights.removeprefix(REQUIRED) if self.weights.startswith(REQUIRED) else ""

    @property
    def local(self) -> bool:
        """Whether these lie on this machine by a path."""
        return self.pretrained and not self.wanted and not HUB.fullmatch(self.weights)


@dataclass(frozen=True, kw_only=True)
class MmdlSettings:
    """The multi-modal distribution learning head of DRSL and the losses on it (arXiv 2206.09683).

    Raises:
        ValueError: if a value is out of its range.
    """

    embed_dim: int = 256
    """Length of a pixel's embedding (lost in the paper; RepMet uses 256)."""
    modes: int = 3
    """Learned centres per class (paper: 3)."""
    sigma2: float = 0.5
    """Variance of every mode (paper: 0.5); the likelihood of a mode is exp(-distance / (2 sigma2))."""
    margin: float = 1.0
    """Margin of the triplet loss, Eq. 4 and 7."""
    margin_consistency: float = 1.0
    """Margin of the cross-domain consistency loss, Eq. 6 (paper: 1)."""
    normalise: Literal["both", "none"] = "both"
    """Scale embeddings and modes to unit length, so that squared distances lie in [0, 4]."""
    posterior: Literal["normalised", "raw", "softmax_of_prob"] = "normalised"
    """Posterior of Eq. 5: normalised over classes, RepMet's raw likelihood, or a softmax of likelihoods."""
    mode_pooling: Literal["max", "sum"] = "max"
    """Likelihood of a class from those of its modes (paper: max)."""
    triplet_distance: Literal["squared", "euclidean"] = "squared"
    """Distance within the triplet losses."""
    negative: Literal["random", "hardest"] = "random"
    """How the consistency loss picks a source embedding of another class (paper: random)."""
    detach_source: bool = False
    """Stop the gradient of the consistency loss at source embeddings."""
    label_reduction: int = 2
    """Pixels per step of the grid on which labels are reduced and embeddings sampled (paper: 2)."""
    label_reduction_rule: Literal["nearest", "majority"] = "nearest"
    """How a block of labels becomes one label."""
    samples_per_class: int = 300
    """Embeddings per class and image, at most (paper: 300)."""
    sampling: Literal["systematic", "uniform"] = "systematic"
    """How pixels of a class are drawn: evenly spaced from a random start, or independent of each other."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("embed_dim", "modes", "label_reduction", "samples_per_class"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.sigma2 > 0:
            raise ValueError(f"sigma2 must be above 0, got {self.sigma2}")
        for name in ("margin", "margin_consistency"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class DiscriminatorSettings:
    """A discriminator of class maps, for adversarial alignment.

    Raises:
        ValueError: if a value is out of its range.
    """

    layers: Literal["patch", "aspp"] = "patch"
    """patch: five strided convolutions (AdaptSegNet); aspp: parallel dilations 1 to 4 (Structure Enhancement)."""
    width: int = 64
    """Channels after the first convolution (64 in both papers)."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.layers not in ("patch", "aspp"):
            raise ValueError(f"layers must be patch or aspp, got {self.layers!r}")
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")


@dataclass(frozen=True, kw_only=True)
class TranslatorSettings:
    """The networks of CycleGAN: two generators and two PatchGANs.

    Raises:
        ValueError: if a value is out of its range.
    """

    width: int = 64
    """Channels after a generator's first convolution; every halving of the size doubles them (paper: 64)."""
    blocks: int = 9
    """Residual blocks of a generator (paper: 6 for crops of 128 pixels, 9 for larger ones)."""
    halvings: int = 2
    """Times that a generator halves the size before these blocks (paper: 2)."""
    judge_width: int = 64
    """Channels after a discriminator's first convolution (paper: 64)."""
    judge_layers: int = 3
    """Strided convolutions of a discriminator: a score sees 70x70 pixels with 3 (paper), 34x34 with 2, 16x16 with 1."""
    pool: int = 50
    """Translated images that each discriminator is shown again (paper: 50); 0: none."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("width", "blocks", "judge_width", "judge_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("halvings", "pool"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
