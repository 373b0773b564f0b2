"""GTA5 (Richter et al. 2016), as downloaded.

Labels are palette PNGs whose index, not colour, is the Cityscapes labelId.
"""

from __future__ import annotations

from pathlib import Path

from domains.base.labels import label_space
from domains.base.settings import DomainSettings
from domains.layouts.cityscapes import LABEL_IDS, VOID_IDS
from domains.readers.encodings import IdLabels
from domains.readers.layout import Layout

NUMBER_PLATE = 34
"""Index of what is labelId -1 in Cityscapes."""


def gta5(_settings: DomainSettings, _root: Path) -> Layout:
    """The folders `images` and `labels`; it has no splits of its own, lists choose from it."""
    void = (*VOID_IDS, NUMBER_PLATE)
    decode = IdLabels(label_space("cityscapes19"), LABEL_IDS, void=void, numbering="the GTA5 label ids")
    return Layout(name="GTA5", images="images", labels="labels", decode=decode, id="<number>")
