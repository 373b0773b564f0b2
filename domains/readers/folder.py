"""Any folder of images, with or without a folder of labels of the same relative names.

Shapes: H, W pixels. Images are uint8 RGB 3xHxW; labels uint8 HxW class ids, 255 = no supervision.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path, PurePosixPath

from torch import Tensor

from domains.base.errors import DataError, nearest
from domains.base.labels import LabelSpace
from domains.base.samples import Reader
from domains.readers.encodings import Decoder, IdLabels
from domains.readers.images import check_same_frame, read_image, resize_label

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class FolderReader:
    """Images found recursively in a folder; the id of an image is its relative path without ending and suffix.

    Args:
        images: folder of jpg, jpeg or png files.
        labels: folder of PNGs at the same relative paths, or None for a domain without labels.
        space: label space of the labels.
        ids: ids to use, in this order; None = all, sorted.
        parts: folders below `images` that are searched.
        image_end: how names of images end before their suffix; others are no part of the domain.
        label_end: what follows the id in the name of its label.
        decode: what turns a label file into ids of `space`; None = its pixels are these ids, 255 = void.
        height: height in pixels to resize to, or 0.
        width: width in pixels to resize to, or 0.
        problems: where a list is given, every image or label that lacks its other half, and every second file of an
            id, is told there and left out, instead of raised.

    Raises:
        DataError: if the folder holds no image, an id has no image or two, or an image has no label.
    """

    has_labels: bool

    def __init__(
        self,
        images: Path,
        labels: Path | None,
        space: LabelSpace,
        *,
        ids: Sequence[str] | None = None,
        parts: Sequence[str] = ("",),
        image_end: str = "",
        label_end: str = ".png",
        decode: Decoder | None = None,
        height: int = 0,
        width: int = 0,
        problems: list[str] | None = None,
    ) -> None:
        found = find_images(images, parts, image_end, problems)
        wanted = tuple(sorted(found)) if ids is None else tuple(ids)
        self.ids = require(wanted, found, f"no image in {images}", problems)
        self.space = space
        self.has_labels = labels is not None
        self._size = (height, width) if height else None
        self._decode = decode or IdLabels(space)
        if labels is not None:
            present = find_labels(labels, label_end)
            if problems is not None and ids is None:
                below = tuple(part and f"{part}/" for part in parts)
                strays = sorted(name for name in present - found.keys() if name.startswith(below))
                problems += [_without_image(labels / f"{name}{label_end}", images) for name in strays]
            self.ids = require(self.ids, present, f"no label in {labels} (expected <id>{label_end})", problems)
        self._folders = images, labels or images
        self._ends = image_end, label_end
        self._suffixes = [found[name].suffix for name in self.ids]

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Tensor:
        """Return the uint8 RGB image of shape (3, H, W)."""
        return read_image(self._image_path(index), self._size)

    def label(self, index: int) -> Tensor:
        """Return the uint8 label of shape (H, W) in the ids of `space`.

        Raises:
            DataError: if the domain has no labels, the label is not of the image's size, or it holds an id
                that is neither a class nor void.
        """
        image_path = self._image_path(index)
        if not self.has_labels:
            raise DataError(f"{image_path} has no label: this domain was opened without labels")
        path = self._folders[1] / f"{self.ids[index]}{self._ends[1]}"
        check_same_frame(image_path, path)
        label_HW = self._decode(path)
        return label_HW if self._size is None else resize_label(label_HW, *self._size)

    def _image_path(self, index: int) -> Path:
        return self._folders[0] / f"{self.ids[index]}{self._ends[0]}{self._suffixes[index]}"


class Translated:
    """A labelled reader whose images come from a folder of translations with the same ids (ISA, DRSL).

    Args:
        reader: source domain; its labels stay valid since a translation keeps the geometry.
        folder: folder of the translated images, any size of the same aspect.
        height: height in pixels to resize to, or 0.
        width: width in pixels to resize to, or 0.

    Raises:
        DataError: if an image of the source has no translation.
    """

    def __init__(self, reader: Reader, folder: Path, height: int = 0, width: int = 0) -> None:
        self.ids = reader.ids
        self.space = reader.space
        self.has_labels = reader.has_labels
        self._reader = reader
        self._images = FolderReader(folder, None, reader.space, ids=reader.ids, height=height, width=width)

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Tensor:
        """Return the translated image, uint8 RGB of shape (3, H, W)."""
        return self._images.image(index)

    def label(self, index: int) -> Tensor:
        """Return the label of the original image."""
        return self._reader.label(index)


def find_images(
    folder: Path, parts: Sequence[str] = ("",), end: str = "", problems: list[str] | None = None
) -> dict[str, Path]:
    """Return the path of every image below a folder by its id, the relative path without ending and suffix.

    Args:
        folder: where ids start from.
        parts: folders below it that are searched.
        end: how the names of images end before their suffix; others are passed over.
        problems: where two files of one id are told, if not to be raised.

    Raises:
        DataError: if a folder is missing or none holds an image, or two files share an id.
    """
    found: dict[str, Path] = {}
    for part in parts:
        require_folder(folder / part)
        for path in sorted((folder / part).rglob(f"*{end}.*")):
            if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith(".") or not path.stem.endswith(end):
                continue
            name = path.relative_to(folder).with_suffix("").as_posix().removesuffix(end)
            if name in found:
                told = f"{found[name]} and {path} share the id {name!r}: remove or rename one of them"
                if problems is None:
                    raise DataError(told)
                problems.append(told)
                continue
            found[name] = path
    if not found:
        places = " or ".join(str(folder / part) for part in parts)
        names = ", ".join(f"{end}{suffix}" for suffix in IMAGE_SUFFIXES)
        raise DataError(f"no images in {places}: expected files that end in {names}")
    return found


def find_labels(folder: Path, end: str = ".png") -> set[str]:
    """Return the ids that have a label file, `<folder>/<id><end>`.

    Raises:
        DataError: if the folder is missing.
    """
    require_folder(folder)
    return {path.relative_to(folder).as_posix().removesuffix(end) for path in folder.rglob(f"*{end}")}


def require(
    ids: Sequence[str], present: Container[str], what: str, problems: list[str] | None = None
) -> tuple[str, ...]:
    """Return the ids that are among those present, which must be all of them unless problems can be told.

    Raises:
        DataError: with the number of missing ids and the first five.
    """
    missing = [name for name in ids if name not in present]
    if missing and problems is None:
        first = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(f"{len(missing)} of {len(ids)} ids have {what}: {first}")
    if problems is not None:
        problems += [f"{name} has {what}" for name in missing]
    return tuple(name for name in ids if name in present) if missing else tuple(ids)


def require_folder(folder: Path) -> None:
    """Check that a folder exists.

    Raises:
        DataError: with the folder beside it whose name is nearest.
    """
    if not folder.is_dir():
        raise DataError(f"folder {folder} does not exist{nearest(folder)}")


def read_list(path: Path) -> list[str]:
    """Read ids from a text file, one a line; an image suffix is dropped and empty lines are skipped.

    Raises:
        DataError: if the file is missing, empty or names an id twice.
    """
    if not path.is_file():
        raise DataError(f"list of ids {path} does not exist{nearest(path)}")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    ids = [without_suffix(line) for line in lines if line]
    if not ids:
        raise DataError(f"list of ids {path} is empty")
    require_once(ids, path)
    return ids


def require_once(ids: Sequence[str], path: Path) -> None:
    """Check that a list of ids names none twice.

    Raises:
        DataError: with the first that occurs again.
    """
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"list of ids {path} names {twice!r} twice")


def without_suffix(line: str) -> str:
    """Return a relative path without the suffix of an image, if it has one."""
    path = PurePosixPath(line)
    return path.with_suffix("").as_posix() if path.suffix.lower() in IMAGE_SUFFIXES else line


def _without_image(label: Path, images: Path) -> str:
    return f"{label} has no image in {images}: fetch it, remove the label, or choose the images with a list"
