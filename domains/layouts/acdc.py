"""ACDC (Sakaridis et al. 2021) and Dark Zurich (Sakaridis et al. 2019), as downloaded: nested, labels in trainIds."""

from __future__ import annotations

from pathlib import Path

from domains.base.labels import label_space
from domains.base.settings import DomainSettings
from domains.readers.encodings import IdLabels
from domains.readers.layout import Layout, one_of

SPLITS = ("train", "val", "test")
ACDC_CONDITIONS = ("fog", "night", "rain", "snow")
ZURICH_CONDITIONS = ("night", "twilight", "day")


def acdc(settings: DomainSettings, _root: Path) -> Layout:
    """One condition of ACDC, or all four.

    Raises:
        DataError: if the split or the condition is unknown.
    """
    split = one_of("ACDC has the splits", settings.split, SPLITS)
    usual = settings.condition == "usual"
    chosen = ACDC_CONDITIONS if usual else (one_of("ACDC has the conditions", settings.condition, ACDC_CONDITIONS),)
    parts = tuple(f"{condition}/{split}" for condition in chosen)
    return _layout("ACDC", parts, labelled=split != "test")


def dark_zurich(settings: DomainSettings, _root: Path) -> Layout:
    """Dark Zurich by night, or the twilight or day images that only its training split has.

    Raises:
        DataError: if the split or the condition is unknown.
    """
    split = one_of("Dark Zurich has the splits", settings.split, SPLITS)
    chosen = "night" if settings.condition == "usual" else settings.condition
    condition = one_of("Dark Zurich has the conditions", chosen, ZURICH_CONDITIONS)
    return _layout("Dark Zurich", (f"{split}/{condition}",), labelled=split == "val")


def _layout(name: str, parts: tuple[str, ...], *, labelled: bool) -> Layout:
    return Layout(
        name=name,
        images="rgb_anon",
        labels="gt" if labelled else "",
        parts=parts,
        image_end="_rgb_anon",
        label_end="_gt_labelTrainIds.png",
        decode=IdLabels(label_space("cityscapes19")),
        id="<sequence>/<sequence>_frame_<frame>",
    )
