"""Cityscapes (Cordts et al. 2016), and its images with simulated fog (Sakaridis et al. 2018), as downloaded.

Labels hold labelIds, which become trainIds when read: no `_labelTrainIds.png` has to be made first.
"""

from __future__ import annotations

from pathlib import Path

from domains.base.labels import label_space
from domains.base.settings import DomainSettings
from domains.readers.encodings import IdLabels
from domains.readers.layout import Layout, one_of

SPLITS = ("train", "val", "test")
FOG_BETAS = ("0.005", "0.01", "0.02")
"""Attenuations that fog was simulated with, in 1/m."""

LABEL_IDS = {
    "road": (7,),
    "sidewalk": (8,),
    "building": (11,),
    "wall": (12,),
    "fence": (13,),
    "pole": (17,),
    "traffic light": (19,),
    "traffic sign": (20,),
    "vegetation": (21,),
    "terrain": (22,),
    "sky": (23,),
    "person": (24,),
    "rider": (25,),
    "car": (26,),
    "truck": (27,),
    "bus": (28,),
    "train": (31,),
    "motorcycle": (32,),
    "bicycle": (33,),
}
"""labelIds of the 19 training classes."""

VOID_IDS = (*range(7), 9, 10, 14, 15, 16, 18, 29, 30, 255)
"""labelIds without a training class; 255 is -1, the number plate, in 8 bits."""


def cityscapes(settings: DomainSettings, _root: Path) -> Layout:
    """The folders `leftImg8bit` and `gtFine`.

    Raises:
        DataError: if the split is unknown.
    """
    return _layout("Cityscapes", "leftImg8bit", "_leftImg8bit", settings)


def foggy_cityscapes(settings: DomainSettings, _root: Path) -> Layout:
    """The folder `leftImg8bit_foggy` at one attenuation, with the `gtFine` of Cityscapes.

    Raises:
        DataError: if the split or the attenuation is unknown.
    """
    beta = one_of("fog_beta of Foggy Cityscapes must be one of", str(settings.fog_beta), FOG_BETAS)
    return _layout("Foggy Cityscapes", "leftImg8bit_foggy", f"_leftImg8bit_foggy_beta_{beta}", settings)


def _layout(name: str, images: str, image_end: str, settings: DomainSettings) -> Layout:
    split = one_of(f"{name} has the splits", settings.split, SPLITS)
    return Layout(
        name=name,
        images=f"{images}/{split}",
        # Labels of the test split are withheld: the files of that name in the download hold no class.
        labels="" if split == "test" else f"gtFine/{split}",
        image_end=image_end,
        label_end="_gtFine_labelIds.png",
        decode=IdLabels(label_space("cityscapes19"), LABEL_IDS, void=VOID_IDS, numbering="the Cityscapes labelIds"),
        id="<city>/<city>_<sequence>_<frame>",
    )
