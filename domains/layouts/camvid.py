"""CamVid (Brostow et al. 2009) in its two forms, with the 11 classes of SegNet (Badrinarayanan et al. 2017).

The widely used SegNet export holds index PNGs of these classes, 11 = void; the original paints 32 finer classes in
colours, one colour each.
"""

from __future__ import annotations

from pathlib import Path

from domains.base.labels import Colour, label_space
from domains.base.settings import DomainSettings
from domains.readers.encodings import ColourLabels, IdLabels
from domains.readers.layout import Layout, one_of

SPLITS = ("train", "val", "test")
VOID = 11
"""Id of pixels without a class in the export."""

COLOURS: dict[str, tuple[Colour, ...]] = {
    "sky": ((128, 128, 128),),
    "building": ((0, 128, 64), (128, 0, 0), (64, 192, 0), (64, 0, 64), (192, 0, 128)),
    "pole": ((192, 192, 128), (0, 0, 64)),
    "road": ((128, 64, 128), (128, 0, 192), (192, 0, 64)),
    "pavement": ((0, 0, 192), (64, 192, 128), (128, 128, 192)),
    "tree": ((128, 128, 0), (192, 192, 0)),
    "sign": ((192, 128, 128), (128, 128, 64), (0, 64, 64)),
    "fence": ((64, 64, 128),),
    "car": ((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
    "pedestrian": ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
    "bicyclist": ((0, 128, 192), (192, 0, 192)),
}
"""RGB colours of the original labels in each of the 11 classes; black is void."""


def camvid(settings: DomainSettings, _root: Path) -> Layout:
    """The SegNet export: folders `train` and `trainannot` and so on.

    Raises:
        DataError: if the split is unknown.
    """
    split = one_of("CamVid has the splits", settings.split, SPLITS)
    decode = IdLabels(label_space("camvid11"), void=(VOID,))
    return Layout(name="CamVid", images=split, labels=f"{split}annot", decode=decode)


def camvid_original(_settings: DomainSettings, _root: Path) -> Layout:
    """The 701 original frames of 960x720 pixels with labels in colours; it has no splits, lists choose from it."""
    return Layout(
        name="CamVid",
        images="701_StillsRaw_full",
        labels="LabeledApproved_full",
        label_end="_L.png",
        decode=ColourLabels(label_space("camvid11"), COLOURS, void=((0, 0, 0),)),
    )
