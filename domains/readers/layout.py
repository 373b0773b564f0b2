"""What differs between data sets on disk: where images and labels lie, how they are named and what labels mean."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from domains.base.errors import DataError, nearest
from domains.readers.encodings import Decoder
from domains.readers.folder import FolderReader, find_images, read_list, require_once, without_suffix


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A part of a data set on disk. All folders are relative to its root.

    The id of an image is its path below `images` without `image_end` and suffix; the label has the same id below
    `labels`.
    """

    name: str
    """Name of the data set, for messages."""
    images: str
    """Folder of the images."""
    labels: str
    """Folder of the labels; empty = none are public."""
    decode: Decoder
    """What turns a label file into class ids."""
    parts: tuple[str, ...] = ("",)
    """Folders below both that are used."""
    image_end: str = ""
    """How names of images end before their suffix."""
    label_end: str = ".png"
    """What follows the id in the name of a label."""
    id: str = "<id>"
    """Form of an id below its part, for messages."""

    def open(
        self,
        root: Path,
        list_file: str = "",
        height: int = 0,
        width: int = 0,
        problems: list[str] | None = None,
    ) -> FolderReader:
        """Open the images, and the labels where their folder is there: a target needs none.

        Args:
            root: folder of the data set.
            list_file: text file relative to root, one image a line: its id, its path, or its path and that of its
                label; empty = every image.
            height: height in pixels to resize to, or 0.
            width: width in pixels to resize to, or 0.
            problems: where files without their other half are told, if not to be raised (`FolderReader`).

        Returns:
            A reader of uint8 images and labels in the ids of `decode.space`, 255 = void.

        Raises:
            DataError: if a folder of images is missing or empty (the message shows the expected tree), a line of the
                list is no image, or labels are there but not for every image.
        """
        for part in self.parts:
            self._require(root / self.images / part, root)
        return FolderReader(
            root / self.images,
            root / self.labels if self.labels and (root / self.labels).is_dir() else None,
            self.decode.space,
            ids=self._listed(root, list_file, problems) if list_file else None,
            parts=self.parts,
            image_end=self.image_end,
            label_end=self.label_end,
            decode=self.decode,
            height=height,
            width=width,
            problems=problems,
        )

    def without_labels(self, root: Path) -> str:
        """Why there are no labels, and what to do, as one sentence."""
        if not self.labels:
            return f"{self.name} has no public labels here: choose another split"
        return _missing(root / self.labels, self._tree(root))

    def _require(self, folder: Path, root: Path) -> None:
        if not folder.is_dir():
            raise DataError(_missing(folder, self._tree(root), self._elsewhere(root)))
        if not any(folder.rglob(f"*{self.image_end}.*")):
            raise DataError(f"no images in {folder}\n{self._tree(root)}")

    def _elsewhere(self, root: Path) -> str:
        """A hint at the folder below the root, or the one above, that the data set lies in."""
        below = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        for place in (*below, root.parent):
            if all((place / self.images / part).is_dir() for part in self.parts):
                return f"; it lies in {place}: make that the root"
        return ""

    def _listed(self, root: Path, list_file: str, problems: list[str] | None) -> list[str]:
        told_later = None if problems is None else []
        found = find_images(root / self.images, self.parts, self.image_end, told_later)
        ids = [self._id(line, found) for line in read_list(root / list_file)]
        require_once(ids, root / list_file)
        return ids

    def _id(self, line: str, found: Container[str]) -> str:
        """The id that a line means: published lists put folders in front of it and the label behind."""
        name = without_suffix(line.split()[0]).removesuffix(self.image_end)
        parts = PurePosixPath(name).parts
        tails = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((tail for tail in tails if tail in found), name)

    def _tree(self, root: Path) -> str:
        lines = [f"{root}/"]
        for part in self.parts:
            place = "/".join(filter(None, [part, self.id]))
            lines.append(f"  {self.images}/{place}{self.image_end}.jpg or .png")
            lines += [f"  {self.labels}/{place}{self.label_end}"] if self.labels else []
        return "\n  ".join(["expected:", *lines])


def one_of(what: str, value: str, choices: Sequence[str]) -> str:
    """Return a value that is among the choices.

    Raises:
        DataError: if it is not; `what` begins the message ("CamVid has the splits").
    """
    if value not in choices:
        raise DataError(f"{what} {', '.join(choices)}, not {value!r}")
    return value


def _missing(folder: Path, tree: str, hint: str = "") -> str:
    return f"{folder} does not exist{hint or nearest(folder)}\n{tree}"
