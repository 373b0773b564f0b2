"""Settings of the data: which domains, how crops are cut, how source images are moved towards the target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

DomainKind = Literal[
    "toycity",
    "camvid",
    "camvid_original",
    "cityscapes",
    "foggy_cityscapes",
    "gta5",
    "synthia",
    "acdc",
    "dark_zurich",
    "bdd100k",
    "mapillary",
    "folder",
    "arrow",
    "none",
]
Condition = Literal["usual", "fog", "night", "rain", "snow", "twilight", "day"]
Translator = Literal["none", "statistics", "fourier", "folder", "run"]


@dataclass(frozen=True, kw_only=True)
class DomainSettings:
    """One domain: a set of images, with or without labels."""

    kind: DomainKind = "toycity"
    """Reader of the domain: the built-in toy city, a data set as it is downloaded (camvid: its SegNet export), any
    folder of images, or shards that `prepare` wrote (arrow); none: no evaluation domain, nothing is measured."""
    root: str = ""
    """Folder of the domain, relative to the data root of the run; empty = the data root itself."""
    split: str = "train"
    """Part of the domain: train, val or test (GTA5, SYNTHIA, the original CamVid and plain folders have no parts)."""
    list: str = ""
    """Text file of the ids to use, one a line, relative to root; empty = all."""
    condition: Condition = "usual"
    """Weather or light of ACDC (fog, night, rain, snow) or Dark Zurich (night, twilight, day); usual = as in papers:
    all four of ACDC, the nights of Dark Zurich."""
    fog_beta: float = 0.02
    """Density of the fog of Foggy Cityscapes, its attenuation in 1/m: 0.005, 0.01 or 0.02."""
    lane_marking: Literal["ignore", "road"] = "ignore"
    """SYNTHIA: whether lane markings are without a class (as in DAFormer, ProDA and DiGA) or road (as in CRST)."""
    style: Literal["game", "street"] = "game"
    """Look of the toy city: the synthetic source (game) or the real-looking target (street)."""
    count: int = 0
    """Number of images to use, the first ones; 0 = all (toy city: 400 for train, 100 otherwise)."""
    height: int = 0
    """Height in pixels of this domain's images where it differs from the pair's; 0 = as the pair's."""
    width: int = 0
    """Width in pixels of this domain's images where it differs from the pair's; 0 = as the pair's."""
    images: str = ""
    """Folder kind: folder of the images, relative to root, searched recursively."""
    labels: str = ""
    """Folder kind: folder of index PNGs with the same relative names; empty = a domain without labels."""
    label_space: str = ""
    """Folder kind: name or JSON file of the label space of those PNGs; empty = that of the run."""


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """The domains of a run and the label space and image size that all are read in."""

    source: DomainSettings = field(default_factory=DomainSettings)
    """Labelled domain."""
    target: DomainSettings = field(default_factory=lambda: DomainSettings(style="street"))
    """Domain to adapt to; training sees its images alone."""
    evaluation: DomainSettings = field(default_factory=lambda: DomainSettings(style="street", split="val"))
    """Labelled images of the target domain that training never sees; of kind none where there are no labels."""
    label_space: str = "toycity12"
    """Classes of the run: cityscapes19, cityscapes16, cityscapes13, camvid11, toycity12, or a JSON file."""
    height: int = 0
    """Height in pixels that images and labels are resized to when read; 0 = as they are."""
    width: int = 0
    """Width in pixels that images and labels are resized to when read; 0 = as they are."""

    def size_of(self, domain: DomainSettings) -> tuple[int, int]:
        """Height and width that a domain is read at; 0 = as its images are."""
        return (domain.height, domain.width) if domain.height else (self.height, self.width)


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """Random crops, and random colour and blur on the device; a strength of 0 switches a change off."""

    crop_height: int
    """Height of a training crop in pixels; 0 = that of the image."""
    crop_width: int
    """Width of a training crop in pixels; 0 = that of the image."""
    scale_min: float = 0.5
    """Smallest random scale."""
    scale_max: float = 1.5
    """Largest random scale."""
    scale_step: float = 0.0
    """Scales are scale_min and whole steps above it, all equally often (CRST's code: 0.1); 0 = any in between."""
    flip: bool = True
    """Mirror half of the crops left to right."""
    photometric_probability: float = 0.8
    """Share of the images whose colours and sharpness are changed at all."""
    brightness: float = 0.0
    """Brightness is multiplied by a factor in 1 +- this value, in [0, 1]."""
    contrast: float = 0.0
    """Contrast is multiplied by a factor in 1 +- this value, in [0, 1]."""
    saturation: float = 0.0
    """Saturation is multiplied by a factor in 1 +- this value, in [0, 1]."""
    hue: float = 0.0
    """Hue is turned by up to this share of the colour circle either way, in [0, 0.5]."""
    gamma: float = 0.0
    """Pixel values are raised to exp(u), u within +- this value."""
    blur: float = 0.0
    """Largest standard deviation of the Gaussian blur in pixels."""


@dataclass(frozen=True, kw_only=True)
class IsaSettings:
    """Input space adaptation: source images that look like the target, with their labels unchanged."""

    ratio: float = 0.5
    """Share of the source images that are replaced by their translation; 0 = off."""
    translator: Translator = "statistics"
    """Colour moments (statistics), low frequencies (fourier), or images translated beforehand: those of a folder, or
    those that a finished run of pipelines/translate.py wrote (run)."""
    fourier_beta: float = 0.05
    """Half-side of the square of swapped frequencies as a share of the shorter image side, in [0, 0.5]."""
    folder: str = ""
    """Folder of translated source images with the ids of the source, relative to the data root."""
    run: str = ""
    """Folder of the run whose translations are used."""

    @property
    def beforehand(self) -> bool:
        """Whether the images are there before the run begins, and are read like its domains."""
        return self.translator in ("folder", "run")
