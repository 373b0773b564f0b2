"""The command line's own flags, beside the settings of a method; each field's docstring is its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from orchestrator.settings import Precision, ProtocolSettings, ViewSettings


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """Where a run lies and how it starts; not part of its configuration."""

    preset: str = ""
    """Named settings to start from; the first of the list where neither this nor --config is given."""
    config: str = ""
    """YAML file of settings, such as runs/NAME/config.yaml, to start from instead of a preset."""
    runs: str = "runs"
    """Folder that run folders lie in."""
    name: str = ""
    """Name of the run folder; by default METHOD-PRESET-SEED. The same name continues the same run."""
    fresh: bool = False
    """Start a new run beside one of the same name, instead of continuing it."""
    reuse: tuple[str, ...] = ()
    """Folders of runs, or of sweeps, whose finished stages are taken over where everything that decides them is the
    same."""
    allow_change: tuple[str, ...] = ()
    """Settings, or groups of them, that may differ from those that the run in this folder began with; what they decide
    is done again."""
    verbose: bool = False
    """Show Ray's own messages and tracebacks."""


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """A trained model and the images that it is shown."""

    model: str
    """Model folder: runs/NAME/model."""
    images: str
    """Folder of images, searched recursively."""
    size: tuple[int, ...] = ()
    """Height and width that images are resized to before prediction; empty: as the model was evaluated."""
    precision: Precision = "auto"
    """Arithmetic of the network; auto: bf16 where the hardware multiplies it faster, else fp32."""


@dataclass(frozen=True, kw_only=True)
class EvaluateFlags(ProtocolSettings, ModelFlags):
    """Measure a trained model on a folder of labelled images; writes evaluation.json."""

    labels: str
    """Folder of index PNGs with the same relative names."""
    label_space: str
    """Label space of those PNGs: cityscapes19, camvid11, toycity12 or a JSON file."""
    out: str = "evaluation.json"
    """File to write."""


@dataclass(frozen=True, kw_only=True)
class LabelFlags(ViewSettings, ModelFlags):
    """Label a folder of images with a trained model; writes Arrow shards, and pictures on request."""

    out: str
    """Folder to write."""
    pictures: bool = False
    """Also write a colour PNG of each label."""


@dataclass(frozen=True, kw_only=True)
class ReportFlags:
    """Write report.html of a finished run again."""

    run: str
    """Run folder."""


@dataclass(frozen=True, kw_only=True)
class ConvertFlags:
    """Bring public weights (.pth) into a folder that --model.weights reads; runs nothing that the file holds."""

    weights: str
    """File of torch.save; tensors named as by torchvision, timm, transformers, AdaptSegNet's or SegFormer's code."""
    out: str
    """Folder to write."""
    normalisation: Literal["auto", "imagenet", "caffe"] = "auto"
    """What it was trained on: ImageNet's RGB mean and deviation, Caffe's BGR mean; auto: as is usual for its names."""


@dataclass(frozen=True, kw_only=True)
class SweepFlags(RunFlags):
    """Where the runs of a sweep lie; not part of their configuration."""

    seeds: Annotated[int, Ge(1)] = 3
    """How many seeds every arm is run with: --seed and those that follow it."""
