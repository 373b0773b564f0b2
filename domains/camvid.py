"""CamVid in the folder layout of its widely used SegNet export.

Brostow et al. 2009, classes grouped as in Badrinarayanan et al. 2017: index PNGs of 11 classes,
11 = void; images in jpg or png.
"""

from __future__ import annotations

from pathlib import Path

from domains.errors import DataError
from domains.folder import FolderReader, nearest, read_list
from domains.labels import label_space

SPLITS = ("train", "val", "test")
VOID = 11
"""Id on disk of pixels without a class; read as 255."""


def open_camvid(root: Path, split: str, list_file: str = "", height: int = 0, width: int = 0) -> FolderReader:
    """Open a split of CamVid.

    Args:
        root: folder that holds `train/`, `trainannot/`, `val/`, `valannot/` and so on.
        split: train, val or test.
        list_file: text file of ids relative to root, one a line; empty = every image of the split. The
            export's own lists (image path, label path) are understood too.
        height: height in pixels to resize to, or 0.
        width: width in pixels to resize to, or 0.

    Returns:
        A reader of uint8 images and labels in `camvid11` ids, 255 = void.

    Raises:
        DataError: if the split is unknown, a folder is missing (the message shows the expected tree), or
            an id has no image or label.
    """
    if split not in SPLITS:
        raise DataError(f"CamVid has the splits {', '.join(SPLITS)}, not {split!r}")
    images, labels = root / split, root / f"{split}annot"
    for folder in (images, labels):
        if not folder.is_dir():
            raise DataError(f"{folder} does not exist{nearest(folder)}\n{_expected_tree(root, split)}")
    ids = [_stem(line) for line in read_list(root / list_file)] if list_file else None
    space = label_space("camvid11")
    return FolderReader(images, labels, space, ids=ids, void=(VOID,), height=height, width=width)


def _stem(line: str) -> str:
    return Path(line.split()[0]).stem


def _expected_tree(root: Path, split: str) -> str:
    return f"expected:\n  {root}/\n    {split}/<id>.jpg or <id>.png\n    {split}annot/<id>.png"
