"""Random scale, position and mirror of an image and its label, cut before anything is resized.

Shapes: H, W pixels. Images are uint8 tensors 3xHxW, labels uint8 HxW with 255 = no supervision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from domains.images import resize_image, resize_label
from domains.settings import AugmentSettings
from losses.ignore import IGNORE


@dataclass(frozen=True)
class _Cut:
    """Where a crop comes from and where it lands, in whole pixels."""

    source: tuple[slice, slice]
    """Box of the image that is used."""
    size: tuple[int, int]
    """Height and width that the box is resized to."""
    target: tuple[slice, slice]
    """Place of the resized box in the crop; the rest is padding."""
    mirrored: bool


class RandomCrop:
    """Crops of exactly (crop_height, crop_width) at a random scale, position and mirror (DRSL, CRST).

    Only the box that ends up in the crop is resized, as uint8: seven times cheaper than scaling the whole
    image first. Image and label go through the same whole-pixel boxes, so they agree exactly. Where the scaled
    image is smaller than the crop, it is placed at random on black with label 255.

    Raises:
        ValueError: if the crop or the range of scales is empty.
    """

    def __init__(self, settings: AugmentSettings) -> None:
        if min(settings.crop_height, settings.crop_width) < 1:
            size = f"{settings.crop_height}x{settings.crop_width}"
            raise ValueError(f"the crop must be at least 1x1 pixels, got {size}")
        if not 0 < settings.scale_min <= settings.scale_max:
            scales = f"{settings.scale_min} and {settings.scale_max}"
            raise ValueError(f"scales must satisfy 0 < scale_min <= scale_max, got {scales}")
        self.settings = settings

    @overload
    def __call__(self, image_3HW: Tensor, label_HW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]: ...
    @overload
    def __call__(self, image_3HW: Tensor, label_HW: None, generator: torch.Generator) -> tuple[Tensor, None]: ...
    def __call__(
        self, image_3HW: Tensor, label_HW: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Cut one crop; the draws are the same with and without a label.

        Args:
            image_3HW: uint8 image.
            label_HW: uint8 label of the same height and width, or None.
            generator: CPU generator of this sample.

        Returns:
            uint8 image of shape (3, crop_height, crop_width), and the label of the same crop or None.
        """
        cut = self._draw(image_3HW.shape[1], image_3HW.shape[2], generator)
        image = resize_image(image_3HW[:, *cut.source], *cut.size)
        crop_3HW = self._place(image, cut, fill=0)
        if label_HW is None:
            return crop_3HW, None
        return crop_3HW, self._place(resize_label(label_HW[cut.source], *cut.size), cut, fill=IGNORE)

    def _draw(self, height: int, width: int, generator: torch.Generator) -> _Cut:
        settings = self.settings
        scale, top, left, mirror = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        scale = settings.scale_min + scale * (settings.scale_max - settings.scale_min)
        rows = _span(height, settings.crop_height, scale, top)
        columns = _span(width, settings.crop_width, scale, left)
        return _Cut(
            source=(rows[0], columns[0]),
            size=(rows[1], columns[1]),
            target=(rows[2], columns[2]),
            mirrored=settings.flip and mirror < 0.5,
        )

    def _place(self, piece: Tensor, cut: _Cut, fill: int) -> Tensor:
        if cut.mirrored:
            piece = piece.flip(-1)
        full = (self.settings.crop_height, self.settings.crop_width)
        if piece.shape[-2:] == full:
            return piece
        crop = piece.new_full((*piece.shape[:-2], *full), fill)
        crop[..., *cut.target] = piece
        return crop


def _span(length: int, crop: int, scale: float, draw: float) -> tuple[slice, int, slice]:
    """Return the source range, its length after scaling, and its range in the crop, along one axis.

    The place is drawn uniformly over all that fit: `draw` in [0, 1) chooses among the free whole pixels.
    """
    taken = min(length, max(1, round(crop / scale)))
    scaled = crop if taken < length else min(crop, max(1, round(length * scale)))
    start = int(draw * (length - taken + 1))
    offset = int(draw * (crop - scaled + 1))
    return slice(start, start + taken), scaled, slice(offset, offset + scaled)
