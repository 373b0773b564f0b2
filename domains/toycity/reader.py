"""The toy city: an endless street with exact labels, seen as a game (source domain) or as a street (target domain).

Twelve Cityscapes classes, each made of several modes (materials, paints, kinds, clothings) that the two styles show
at different frequencies. Nothing is downloaded or read: a scene is a function of its style, split and index.

Shapes: H, W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from domains.base.labels import LabelSpace, label_space
from domains.toycity.scene import Split, render_scene
from domains.toycity.style import STYLES, StyleName

SMALLEST = 32
"""Below this many pixels per side the thin classes vanish."""


@dataclass(frozen=True)
class ToyCity:
    """Reader of one style and split of the toy city.

    Args:
        style: "game" (source) or "street" (target).
        split: "train" or "val"; the two never share a scene.
        count: number of images; a longer reader starts with the same images.
        height: image height in pixels; the scenes scale with it.
        width: image width in pixels.

    Raises:
        ValueError: if the style or split is unknown, or a number is too small.
    """

    style: StyleName
    split: Split
    count: int
    height: int = 128
    width: int = 256

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style of the toy city must be one of {', '.join(STYLES)}, got {self.style!r}")
        if self.split not in get_args(Split):
            raise ValueError(f"split of the toy city must be train or val, got {self.split!r}")
        if self.count < 1:
            raise ValueError(f"count of the toy city must be at least 1, got {self.count}")
        if min(self.height, self.width) < SMALLEST:
            size = f"{self.height}x{self.width}"
            raise ValueError(f"height and width of the toy city must be at least {SMALLEST} pixels, got {size}")

    def __len__(self) -> int:
        return self.count

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the five fields only."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def has_labels(self) -> bool:
        """Always True: every scene knows its labels."""
        return True

    @property
    def space(self) -> LabelSpace:
        """The 19 Cityscapes classes, of which twelve occur."""
        return label_space("cityscapes19")

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Names such as street-val-00017."""
        return tuple(f"{self.style}-{self.split}-{index:05d}" for index in range(self.count))

    def image(self, index: int) -> Tensor:
        """Return the uint8 RGB image of shape (3, H, W)."""
        return (
            torch.from_numpy(self._remembered(index)[0]).permute(2, 0, 1).clone(memory_format=torch.contiguous_format)
        )

    def label(self, index: int) -> Tensor:
        """Return the uint8 label of shape (H, W): Cityscapes trainIds, 255 = ignore."""
        return torch.from_numpy(self._remembered(index)[1].copy())

    def render(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Render one scene.

        Args:
            index: in [0, count).

        Returns:
            uint8 RGB image (H, W, 3) and uint8 Cityscapes trainIds (H, W).

        Raises:
            IndexError: if the index is out of range.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"the toy city has images 0 to {self.count - 1}, got {index}")
        return render_scene(self.style, self.split, index, (self.height, self.width))

    def _remembered(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Render unless this was the last scene asked for: image and label are asked for one after the other."""
        cache = self._last
        if cache.get("index") != index:
            cache.update(index=index, scene=self.render(index))
        return cache["scene"]

    @cached_property
    def _last(self) -> dict[str, Any]:
        return {}
