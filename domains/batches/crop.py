"""Random scale, position and mirror of an image and its label, cut before anything is resized.

Shapes: H, W pixels. Images are uint8 tensors 3xHxW, labels uint8 HxW with 255 = no supervision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from domains.base.settings import AugmentSettings
from domains.readers.images import resize_image, resize_label
from losses.ignore import IGNORE

if TYPE_CHECKING:
    from domains.pseudo.selection import SoftLabel


@dataclass(frozen=True)
class CropBox:
    """Where a crop comes from and where it lands, in whole pixels."""

    source: tuple[slice, slice]
    """Box of the image that is used."""
    size: tuple[int, int]
    """Height and width that the box is resized to."""
    target: tuple[slice, slice]
    """Place of the resized box in the crop; the rest is padding."""
    crop: tuple[int, int]
    """Height and width of the crop."""
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
        if min(settings.crop_height, settings.crop_width) < 0:
            size = f"{settings.crop_height}x{settings.crop_width}"
            raise ValueError(f"the crop must be at least 1x1 pixels, or 0 for the image's own size, got {size}")
        if not 0 < settings.scale_min <= settings.scale_max:
            scales = f"{settings.scale_min} and {settings.scale_max}"
            raise ValueError(f"scales must satisfy 0 < scale_min <= scale_max, got {scales}")
        if not settings.scale_step >= 0:
            raise ValueError(f"scale_step must be 0 or more, got {settings.scale_step}")
        self.settings = settings

    def __call__(self, image_3HW: Tensor, label_HW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a crop and cut image and label."""
        cut = self.draw((image_3HW.shape[1], image_3HW.shape[2]), generator)
        return self.image(image_3HW, cut), self.label(label_HW, cut)

    def draw(self, size: tuple[int, int], generator: torch.Generator, centre: tuple[int, int] | None = None) -> CropBox:
        """Draw a crop of an image; what is drawn does not depend on what is then cut.

        Args:
            size: height and width of the image.
            generator: CPU generator of this sample.
            centre: row and column that the crop should have in its middle, as far as the image's borders let it.
        """
        settings, (height, width) = self.settings, size
        scale, top, left, mirror = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        scale = settings.scale_min + _stepped(scale, settings.scale_max - settings.scale_min, settings.scale_step)
        crop = (settings.crop_height or height, settings.crop_width or width)
        rows = _span(height, crop[0], scale, top, centre and centre[0])
        columns = _span(width, crop[1], scale, left, centre and centre[1])
        return CropBox(
            source=(rows[0], columns[0]),
            size=(rows[1], columns[1]),
            target=(rows[2], columns[2]),
            crop=crop,
            mirrored=settings.flip and mirror < 0.5,
        )

    def image(self, image_3HW: Tensor, cut: CropBox) -> Tensor:
        """The crop of a uint8 image, of shape (3, crop_height, crop_width)."""
        return self._place(resize_image(image_3HW[:, *cut.source], *cut.size), cut, fill=0)

    def label(self, label_HW: Tensor, cut: CropBox) -> Tensor:
        """The same crop of a uint8 label."""
        return self._place(resize_label(label_HW[cut.source], *cut.size), cut, fill=IGNORE)

    def soft_label(self, soft_label: SoftLabel, cut: CropBox) -> Tensor:
        """The same crop of a soft label: K x crop_height x crop_width, read where `label` reads its pixels."""
        rows, columns = map(torch.arange, soft_label.size)
        chosen = [
            resize_label(places[box][None].float(), 1, length)[0].long()
            for places, box, length in zip((rows, columns), cut.source, cut.size, strict=True)
        ]
        return self._place(soft_label.at(*chosen), cut, fill=0)

    def _place(self, piece: Tensor, cut: CropBox, fill: int) -> Tensor:
        if cut.mirrored:
            piece = piece.flip(-1)
        if piece.shape[-2:] == cut.crop:
            return piece
        crop = piece.new_full((*piece.shape[:-2], *cut.crop), fill)
        crop[..., *cut.target] = piece
        return crop


def _stepped(draw: float, span: float, step: float) -> float:
    """A value in [0, span], of `draw` in [0, 1): any, or a multiple of the step, all of which are equally likely."""
    if not step:
        return draw * span
    # Steps are given in decimals: without the slack, 1 / 0.1 could be nine whole steps.
    return int(draw * (int(span / step + 1e-9) + 1)) * step


def _span(length: int, crop: int, scale: float, draw: float, centre: int | None) -> tuple[slice, int, slice]:
    """Return the source range, its length after scaling, and its range in the crop, along one axis.

    The place is drawn uniformly over all that fit: `draw` in [0, 1) chooses among the free whole pixels. With a centre
    it is the nearest to that.
    """
    taken = min(length, max(1, round(crop / scale)))
    scaled = crop if taken < length else min(crop, max(1, round(length * scale)))
    start = int(draw * (length - taken + 1)) if centre is None else min(max(0, centre - taken // 2), length - taken)
    offset = int(draw * (crop - scaled + 1))
    return slice(start, start + taken), scaled, slice(offset, offset + scaled)
