"""SYNTHIA-RAND-CITYSCAPES (Ros et al. 2016), as downloaded.

Labels are PNGs of 16 bits a channel: the class in the first channel, the number of the object in the second.
"""

from __future__ import annotations

from pathlib import Path

from domains.base.labels import label_space
from domains.base.settings import DomainSettings
from domains.readers.encodings import IdLabels, first_channel
from domains.readers.layout import Layout

LABEL_IDS = {
    "road": (3,),
    "sidewalk": (4,),
    "building": (2,),
    "wall": (21,),
    "fence": (5,),
    "pole": (7,),
    "traffic light": (15,),
    "traffic sign": (9,),
    "vegetation": (6,),
    "terrain": (16,),
    "sky": (1,),
    "person": (10,),
    "rider": (17,),
    "car": (8,),
    "truck": (18,),
    "bus": (19,),
    "train": (20,),
    "motorcycle": (12,),
    "bicycle": (11,),
}
"""Ids of the Cityscapes classes; terrain, truck and train have ids but no pixel."""

VOID_IDS = (0, 13, 14)
"""Void, parking slot, road work."""

LANE_MARKING = 22


def synthia(settings: DomainSettings, _root: Path) -> Layout:
    """The folders `RGB` and `GT/LABELS`; lane markings are void or road, as papers differ in it."""
    as_road = settings.lane_marking == "road"
    ids = {**LABEL_IDS, "road": (*LABEL_IDS["road"], LANE_MARKING)} if as_road else LABEL_IDS
    void = VOID_IDS if as_road else (*VOID_IDS, LANE_MARKING)
    space = label_space("cityscapes19")
    decode = IdLabels(space, ids, void=void, numbering="the SYNTHIA class ids", read=first_channel)
    return Layout(name="SYNTHIA", images="RGB", labels="GT/LABELS", decode=decode, id="<number>")
