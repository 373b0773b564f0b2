"""Mapillary Vistas v1.2 (Neuhold et al. 2017), as downloaded, its 66 classes reduced to the 19 of Cityscapes."""

from __future__ import annotations

from pathlib import Path

from domains.base.labels import label_space
from domains.base.settings import DomainSettings
from domains.readers.encodings import IdLabels
from domains.readers.layout import Layout, one_of

FOLDERS = {"train": "training", "val": "validation", "test": "testing"}

LABEL_IDS = {
    "road": (13, 24, 41),  # road, general lane marking, manhole
    "sidewalk": (2, 15),  # curb, sidewalk
    "building": (17,),
    "wall": (6,),
    "fence": (3,),
    "pole": (45, 47),  # pole, utility pole
    "traffic light": (48,),
    "traffic sign": (50,),  # its front
    "vegetation": (30,),
    "terrain": (29,),
    "sky": (27,),
    "person": (19,),
    "rider": (20, 21, 22),  # bicyclist, motorcyclist, other rider
    "car": (55,),
    "truck": (61,),
    "bus": (54,),
    "train": (58,),  # on rails
    "motorcycle": (57,),
    "bicycle": (52,),
}
"""Ids of the Cityscapes classes among the 66; all others are void."""

VOID_IDS = tuple(sorted(set(range(66)) - {value for ids in LABEL_IDS.values() for value in ids}))


def mapillary(settings: DomainSettings, _root: Path) -> Layout:
    """The folders `training`, `validation` and `testing`, each with `images` and, but for the last, `labels`.

    Raises:
        DataError: if the split is unknown.
    """
    folder = FOLDERS[one_of("Mapillary Vistas has the splits", settings.split, tuple(FOLDERS))]
    numbering = "the 66 ids of Mapillary Vistas v1.2"
    return Layout(
        name="Mapillary Vistas",
        images=f"{folder}/images",
        labels="" if settings.split == "test" else f"{folder}/labels",
        decode=IdLabels(label_space("cityscapes19"), LABEL_IDS, void=VOID_IDS, numbering=numbering),
    )
