"""Looking at every image and label of a domain: what is wrong with each, and how often each class occurs in it.

Shapes: K classes, H, W pixels. Labels are uint8 class ids, 255 = no supervision.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from domains.base.errors import DataError
from domains.base.labels import LabelSpace
from domains.base.samples import Reader
from domains.readers.images import resize_label
from losses.ignore import IGNORE


@dataclass(frozen=True)
class Finding:
    """What one image and its label are."""

    id: str
    size: tuple[int, int] | None
    """Height and width of the image in pixels as it is on disk; None where it cannot be read."""
    pixels: tuple[int, ...] | None
    """Pixels of each class in the label at the working size; None without one."""
    void: int
    """Pixels of the label without a class."""
    content: str
    """Digest of the decoded pixels and classes: equal where nothing changed."""
    problems: tuple[str, ...]
    """What is wrong, one sentence each."""

    def lacks(self, space: LabelSpace) -> list[str]:
        """Classes that the label does not show."""
        return [name for name, count in zip(space.classes, self.pixels or (), strict=False) if not count]

    def record(self, space: LabelSpace) -> dict[str, Any]:
        """What a file says of this image."""
        facts: dict[str, Any] = {"id": self.id, "size": self.size, "content": self.content}
        return facts if self.pixels is None else {**facts, "pixels": self.pixels, "lacks": self.lacks(space)}


def examine(reader: Reader, index: int, height: int = 0, width: int = 0) -> Finding:
    """Decode one image and, where the domain has labels, its label; never fails on what a file holds.

    Args:
        reader: domain at its own size.
        index: which image.
        height: working height that classes are counted at, 0 = that of the label.
        width: working width, or 0.
    """
    problems: list[str] = []
    image = _attempt(reader.image, index, reader.ids[index], problems)
    label = _attempt(reader.label, index, reader.ids[index], problems) if reader.has_labels else None
    digest = hashlib.blake2b(digest_size=16)
    size, pixels, void = None, None, 0
    if image is not None:
        size = (image.shape[1], image.shape[2])
        digest.update(image.permute(1, 2, 0).contiguous().numpy().data)
    if label is not None:
        digest.update(label.contiguous().numpy().data)
        counts = np.bincount((resize_label(label, height, width) if height else label).numpy().ravel(), minlength=256)
        pixels, void = tuple(counts[: len(reader.space)].tolist()), int(counts[IGNORE])
    return Finding(reader.ids[index], size, pixels, void, digest.hexdigest(), tuple(dict.fromkeys(problems)))


def _attempt(read: Callable[[int], Tensor], index: int, id: str, problems: list[str]) -> Tensor | None:
    try:
        return read(index)
    except DataError as error:
        problems.append(str(error))
    except Exception as error:  # a decoder that fails as none did before must not hide the files that follow
        problems.append(f"{id} cannot be read: {type(error).__name__}: {error}")
    return None


def total(findings: Sequence[Finding], space: LabelSpace) -> dict[str, Any]:
    """Sums over a domain.

    Returns:
        `images`; `sizes`, how many have each (as HEIGHTxWIDTH); and where there are labels, by class, `pixels`,
        `share` of all pixels that have a class, `images_with` and `images_lacking` it, the `void` pixels, and the ids
        of images that show no class at all (`all_void`).
    """
    sizes = Counter(f"{found.size[0]}x{found.size[1]}" for found in findings if found.size)
    sums: dict[str, Any] = {"images": len(findings), "sizes": dict(sizes.most_common())}
    labelled = [found for found in findings if found.pixels is not None]
    if not labelled:
        return sums
    counts_NK = np.array([found.pixels for found in labelled], dtype=np.int64)
    pixels_K, images_K = counts_NK.sum(0), (counts_NK > 0).sum(0)

    def by_class(values: np.ndarray) -> dict[str, Any]:
        return dict(zip(space.classes, values.tolist(), strict=True))

    return {
        **sums,
        "pixels": by_class(pixels_K),
        "share": by_class(pixels_K / max(1, pixels_K.sum())),
        "images_with": by_class(images_K),
        "images_lacking": by_class(len(labelled) - images_K),
        "void": sum(found.void for found in labelled),
        "all_void": [found.id for found in labelled if not any(found.pixels or ())],
    }
