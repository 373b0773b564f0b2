"""The command line's own flags, beside the settings of a method; each field's docstring is its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from domains.base.settings import DomainKind, DomainSettings
from orchestrator.base.signals import GRACE_S
from orchestrator.contract.settings import BackendSettings, Precision, ProtocolSettings, ViewSettings


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
    grace: Annotated[float, Gt(0)] = GRACE_S
    """Seconds in which a run that is told to end (SIGTERM, SIGHUP) saves a checkpoint, before it leaves without one;
    less than what the machine or its scheduler allows, which is often 30."""
    track: tuple[str, ...] = ()
    """Tools that show the run's curves beside TensorBoard (RUN/tensorboard): mlflow, wandb, each with the extra of its
    name and set up by its own environment variables; none: TensorBoard neither."""
    dry_run: bool = False
    """Try the run out in minutes and keep nothing: check all settings, show the stages with what they take, and carry
    out two steps of each kind of training and one image of labelling and evaluation; drawn images of the real sizes
    stand in for data that are not here."""
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
    compute: BackendSettings = field(default_factory=BackendSettings)


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
    """How many seeds every variant is run with: --seed and those that follow it."""


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


@dataclass(frozen=True, kw_only=True)
class PrepareFlags(DomainSettings):
    """Check every image and label of a data set before anyone trains on it; on request unpack it, and write shards.

    Writes prepared.json: sizes, and the pixels of each class in each image. Settings of a domain are those of a run.
    """

    kind: DomainKind = field()
    """Reader of the domain: a data set as it is downloaded, any folder of images, shards (arrow), or the toy city."""
    root: str = ""
    """Folder of the data set."""
    height: int = 0
    """Height in pixels that shards are written and classes counted at; 0 = as the images are."""
    width: int = 0
    """Width in pixels that shards are written and classes counted at; 0 = as the images are."""
    label_space: str = ""
    """Label space that classes are counted in (a name or a JSON file), for a folder that of its PNGs; empty: that of
    the data set (a folder with labels needs one)."""
    unlabelled: bool = False
    """No labels are needed, as of a target domain: where their folder is missing, images alone are checked."""
    archive: tuple[str, ...] = ()
    """Archives (zip, tar, tar.gz, tar.bz2, tar.xz) to unpack into --root first: all of them, or nothing."""
    sha256: tuple[str, ...] = ()
    """The sha256 of each archive, in the same order, compared before any is opened."""
    shards: str = ""
    """Folder to write the images and labels to as Arrow shards, which a domain of kind arrow reads fast."""
    encoding: Literal["jpeg", "raw"] = "jpeg"
    """How shards hold images: JPEG, or raw pixels, which read several times faster and take several times the space."""
    quality: int = 95
    """Quality of the JPEGs, 1 to 100."""
    out: str = ""
    """File to write; empty: prepared.json in the folder of --shards, or else in the working folder."""
    compute: BackendSettings = field(default_factory=BackendSettings)
