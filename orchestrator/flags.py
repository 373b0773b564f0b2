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
    """Run folders whose finished stages are taken over where everything that decides them is the same."""
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

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds that every arm is run with."""


@dataclass(frozen=True, kw_only=True)
class SearchFlags(RunFlags):
    """A search over settings by Ray Tune: each trial is a run of its own, in a folder of the search's."""

    search: tuple[str, ...] = ()
    """What varies: SETTING=KIND(VALUES), once a setting, quoted for the shell: 'adapt.lr=loguniform(1e-5,1e-3)',
    'mmdl.modes=choice(1,3,5)'. Kinds: uniform, loguniform, randint (upper bound excluded), choice, grid."""
    trials: Annotated[int, Ge(1)] = 16
    """Trials drawn; where all settings are of kind grid, each of their combinations is one."""
    objective: Literal["validation", "miou"] = "validation"
    """validation: a score without labels of the target; miou: mIoU on the evaluation domain, which is an oracle and is
    marked as one."""
    scheduler: Literal["asha", "none"] = "asha"
    """asha: trials that are poor when they report are stopped; none: all come to their end."""
    reduction: Annotated[int, Ge(2)] = 3
    """ASHA: one trial in this many goes on from reports 1, R, R*R, ... (R this number)."""
    algorithm: Literal["random", "optuna"] = "random"
    """How values are drawn: at random, or by Optuna's TPE (needs segadapt[optuna])."""
    concurrent: Annotated[int, Ge(0)] = 0
    """Trials at a time; 0: as many as the cluster carries."""
