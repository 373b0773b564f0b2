"""What the engine can be told: compute, training, and how networks are measured. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

NEUTRAL = {"neutral": True}
"""Metadata of a dataclass field, `field(default=..., metadata=NEUTRAL)`: its default changes nothing."""
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class BackendSettings:
    """Who computes; a matter of the command and not of the run, which may go on with another."""

    backend: Literal["ray", "local"] = "ray"
    """ray: Ray, on this machine or on a cluster; local: this process alone, which starts in seconds: one training
    worker, one task after the other, and the same numbers."""


@dataclass(frozen=True, kw_only=True)
class ComputeSettings(BackendSettings):
    """Where the work runs. Zeros and "auto" are filled in from what the machine or cluster has."""

    workers: Annotated[int, Ge(0)] = 0
    """Training workers, each one process of a data-parallel group; 0: one a GPU, or one on CPU. With accumulation they
    fix the batch of a run; where the cluster carries fewer, these accumulate more."""
    cpus_per_worker: Annotated[float, Ge(0)] = 0
    """CPU cores reserved by a worker, also its number of threads; 0: one, or up to eight beside each GPU."""
    gpus_per_worker: Annotated[float, Ge(0)] = 0
    """GPUs reserved by a worker; 0: one where the cluster has any."""
    tasks: Annotated[int, Ge(0)] = 0
    """Labelling and evaluation tasks at a time; 0: one a GPU, or one a CPU core."""
    precision: Precision = "auto"
    """Arithmetic of forward and backward; auto: bf16 where the hardware multiplies it faster, else fp32."""
    accumulation: Annotated[int, Ge(1)] = 1
    """Micro-batches of a worker whose gradients make one optimiser step, when all workers are there."""
    loader_workers: Annotated[int, Ge(0)] = 0
    """Processes a training worker decodes images in; 0: in the worker itself."""
    max_failures: Annotated[int, Ge(0)] = 3
    """Times that a stage goes on after it lost a worker, before it gives up."""


@dataclass(frozen=True, kw_only=True)
class OptimiserSettings:
    """How the weights of a network follow their gradients."""

    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    """SGD with momentum, Adam, or AdamW."""
    lr: Annotated[float, Gt(0)] = 2.5e-4
    """Learning rate of the encoder at the first step."""
    head_multiplier: Annotated[float, Gt(0)] = 10.0
    """Learning rate of heads, and of networks without an encoder, as a multiple of the encoder's."""
    momentum: Annotated[float, Ge(0)] = 0.9
    """Momentum of SGD, first beta of Adam and AdamW."""
    beta2: Annotated[float, Ge(0)] = 0.999
    """Second beta of Adam and AdamW."""
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    """L2 penalty (SGD, Adam) or decoupled decay (AdamW)."""
    schedule: Literal["poly", "constant", "constant_linear"] = "poly"
    """poly: lr * (1 - step / steps) ** power; constant: lr; constant_linear: lr, then in a straight line to 0."""
    power: Annotated[float, Gt(0)] = 0.9
    """Exponent of the poly schedule."""
    constant_share: Annotated[float, Ge(0), Lt(1)] = 0.5
    """Share of the steps before the rate of constant_linear falls."""
    warmup_steps: Annotated[int, Ge(0)] = field(default=0, metadata=NEUTRAL)
    """First steps, in which the scheduled rate is multiplied by a factor that rises linearly to 1; 0: none."""
    warmup_ratio: Annotated[float, Gt(0), Le(1)] = field(default=1e-6, metadata=NEUTRAL)
    """That factor at the first step."""
    decay_norms: bool = field(default=True, metadata=NEUTRAL)
    """Whether weight decay also acts on normalisation layers and on embeddings of positions."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(OptimiserSettings):
    """One training stage: its length, batch and optimiser."""

    steps: Annotated[int, Ge(0)] = 0
    """Optimiser steps; 0: `epochs` passes over the stage's images."""
    schedule_steps: Annotated[int, Ge(0)] = 0
    """Steps that the schedules of all its networks run over; 0: the stage's own (AdaptSegNet stops at 150,000 of
    250,000)."""
    epochs: Annotated[int, Ge(0)] = 0
    """Passes over the images (target images in adaptation); counts only where steps is 0."""
    source_batch: Annotated[int, Ge(1)] = 2
    """Source images in a worker's micro-batch."""
    target_batch: Annotated[int, Ge(0)] = 2
    """Target images in a worker's micro-batch; only stages that use the target read them."""
    batchnorm: Literal["train", "eval"] = "train"
    """train: batch statistics, running averages follow; eval: the running averages stay as they are."""
    affine: Literal["trained", "frozen"] = "trained"
    """Scale and shift of batch normalisation; the public codes of AdaptSegNet and CRST leave them as they are."""
    clip: Annotated[float, Ge(0)] = 0.0
    """Largest gradient norm; 0 leaves gradients as they are."""
    log_every: Annotated[int, Ge(1)] = 10
    """Steps that one line of metrics.jsonl averages."""
    checkpoint_every: Annotated[int, Ge(1)] = 100
    """Steps between checkpoints: what a lost machine can cost at most."""


@dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """How a network is judged while it trains, without any label of the target; decides nothing about its weights."""

    times: Annotated[int, Ge(0)] = 0
    """Times a training stage, evenly spaced, the last after its last step; 0: never (a search needs one)."""
    images: Annotated[int, Ge(1)] = 64
    """Images of the target whose predictions are judged, and of the source whose labels they are judged by."""


MeanClasses = Literal["all", "16", "16_of_19", "13"]
"""Names of the class rules in `domains.metrics.class_rules`."""


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """Test-time augmentation: what a trained network is shown of an image; probabilities of these views are averaged.

    Raises:
        ValueError: if a value is out of its range.
    """

    scales: tuple[float, ...] = (1.0,)
    """Sizes at which the network sees the image, as multiples of its own; their probabilities are averaged."""
    flip: bool = False
    """Average each prediction with that of the mirrored image."""
    window: tuple[int, ...] = ()
    """Height and width in pixels of a window that slides over the image, at each scale; empty: the whole at once."""
    stride: tuple[int, ...] = ()
    """Pixels that the window moves down and to the right; empty: half of it. Logits are averaged where windows
    overlap."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if not self.scales or not all(math.isfinite(scale) and scale > 0 for scale in self.scales):
            raise ValueError(f"scales must be one or more numbers above 0, got {self.scales}")
        for name in ("window", "stride"):
            value = getattr(self, name)
            if len(value) not in (0, 2) or not all(length >= 1 for length in value):
                raise ValueError(f"{name} must be a height and a width of at least 1 pixel, got {value}")
        if self.stride and not self.window:
            raise ValueError(f"stride {self.stride} has no meaning without a window")
        if any(step > length for step, length in zip(self.stride, self.window, strict=False)):
            raise ValueError(f"stride {self.stride} must not exceed the window {self.window}: it would leave gaps")

    @property
    def views(self) -> ViewSettings:
        """These settings without those of a subclass, the stride filled in."""
        stride = self.stride or tuple(max(1, length // 2) for length in self.window)
        return ViewSettings(scales=self.scales, flip=self.flip, window=self.window, stride=stride)

    @property
    def kind(self) -> str:
        """What distinguishes these views, as a part of a name: "single-scale", "scales-0.9-1.0-flip"."""
        views = self.views
        parts = ["scales", *map(str, views.scales)] if views.scales != (1.0,) else []
        parts += ["flip"] if views.flip else []
        for name, size in (("window", views.window), ("stride", views.stride)):
            parts += [name, "x".join(map(str, size))] if size else []
        return "-".join(parts) or "single-scale"


@dataclass(frozen=True, kw_only=True)
class ProtocolSettings(ViewSettings):
    """How a network is measured; every number carries it."""

    classes: MeanClasses = "all"
    """Classes of the mean: all of the label space; of cityscapes19 and cityscapes16 also 16 (pixels of terrain, truck
    and train are ignored) or 13 (as 16, without wall, fence and pole), of cityscapes19 16_of_19 (pixels of the three
    count against the others, as in DAFormer)."""
