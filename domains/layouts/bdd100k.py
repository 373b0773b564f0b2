"""The 10k images of BDD100K (Yu et al. 2020) that have semantic labels, in trainIds."""

from __future__ import annotations

from pathlib import Path

from domains.base.labels import label_space
from domains.base.settings import DomainSettings
from domains.readers.encodings import IdLabels
from domains.readers.layout import Layout, one_of

SPLITS = ("train", "val", "test")


def bdd100k(settings: DomainSettings, root: Path) -> Layout:
    """The folders `images/10k` and `labels/sem_seg/masks`, or `images` and `labels` of the first release.

    Raises:
        DataError: if the split is unknown.
    """
    split = one_of("BDD100K has the splits", settings.split, SPLITS)
    first = (root / "images" / split).is_dir() and not (root / "images" / "10k").is_dir()
    labels = "labels" if first else "labels/sem_seg/masks"
    return Layout(
        name="BDD100K",
        images=f"images/{split}" if first else f"images/10k/{split}",
        labels="" if split == "test" else f"{labels}/{split}",
        label_end="_train_id.png" if first else ".png",
        decode=IdLabels(label_space("cityscapes19")),
    )
