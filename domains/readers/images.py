"""Decoding: image files to RGB tensors, label files to class ids, and one clear error for whatever is wrong.

Shapes: H, W pixels. Images are uint8 tensors 3xHxW (channels last in memory); labels uint8 HxW.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kornia_rs
import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from torch import Tensor
from torch.nn.functional import interpolate

from domains.base.errors import DataError

MAX_PIXELS = 200_000_000
"""Larger files are refused before a pixel is decoded: they are mistakes or decompression bombs."""

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Formats that are decoded, whatever the name of the file; Pillow would start other programs for some others."""

LOSSY = ("JPEG", "MPO", "WEBP")
"""Formats that cannot hold class ids or colours that stand for them."""

_ORIENTATION = 0x0112
_DEEP_MODES = ("I", "F")


def read_image(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Decode an image file of any colour mode and orientation to RGB.

    Grey, palette, CMYK and transparent images become RGB, and an EXIF orientation is carried out.

    Args:
        path: file to read.
        size: height and width wanted; a JPEG is decoded at a half, quarter or eighth where that is enough.

    Returns:
        uint8 tensor of shape (3, H, W).

    Raises:
        DataError: if the file is missing, broken, no image, deeper than 8 bits or larger than 200 megapixels.
    """
    with _opened(path) as image:
        if image.mode.startswith(_DEEP_MODES):
            raise DataError(f"{path}: more than 8 bits a channel ({image.mode}): convert the image to 8 bits")
        turn = orientation(image)
        if size is not None:
            height, width = size if turn < 5 else size[::-1]
            image.draft(None, (width, height))
        upright = image if turn == 1 else ImageOps.exif_transpose(image)
        image_3HW = torch.from_numpy(np.array(upright.convert("RGB"))).permute(2, 0, 1)
    return image_3HW if size is None else resize_image(image_3HW, *size)


def read_label(path: Path) -> Tensor:
    """Decode a file whose pixel values are class ids: 8-bit grey or palette, never converted to colours.

    An EXIF orientation is carried out, as for images.

    Returns:
        uint8 tensor of shape (H, W).

    Raises:
        DataError: if the file is missing, broken, too large, or does not hold one 8-bit id a pixel.
    """
    with _opened(path) as label:
        problem = _label_problem(label)
        if problem:
            raise DataError(f"{path}: {problem}")
        upright = label if orientation(label) == 1 else ImageOps.exif_transpose(label)
        return torch.from_numpy(np.array(upright))


def read_colours(path: Path) -> np.ndarray:
    """Decode a label that paints classes in colours: 8-bit RGB, or RGBA whose transparency is dropped.

    Returns:
        uint8 array of shape (H, W, 3).

    Raises:
        DataError: if the file is missing, broken, too large, lossy, or no image of that kind.
    """
    with _opened(path) as label:
        advice = "a label of this kind must be a PNG whose 8-bit RGB colours stand for classes"
        if label.format in LOSSY:
            raise DataError(f"{path}: {label.format} changes pixel values, so it cannot hold classes: {advice}")
        if label.mode not in ("RGB", "RGBA") or _is_deep(label):
            raise DataError(f"{path}: pixels are {label.mode}{', 16 bits' if _is_deep(label) else ''}: {advice}")
        return np.array(ImageOps.exif_transpose(label).convert("RGB"))


def read_deep(path: Path) -> np.ndarray:
    """Decode a label PNG of 16 bits a channel, which Pillow would silently reduce to the high byte of each value.

    Returns:
        uint16 array of shape (H, W, C), C = 3 (RGB) or 4 (RGBA).

    Raises:
        DataError: if the file is missing, broken, too large, or has 8 bits a channel: what was lost on the way from
            16 bits cannot be told.
    """
    with _opened(path) as label:
        if not _is_deep(label):
            raise DataError(
                f"{path} has 8 bits a channel ({label.mode}) where this data set has 16: a program that keeps the high "
                "byte alone has rewritten it, which turns every class below 256 into 0, so take the original file"
            )
        if orientation(label) != 1:
            raise DataError(f"{path} has EXIF orientation {orientation(label)}: take the original file")
        mode = label.mode.lower()
    try:
        return kornia_rs.io.read_image_png_u16(str(path), mode)
    except Exception as error:  # the decoder has no narrower one
        raise DataError(f"{path} is not a readable image: {error}") from error


def check_same_frame(image_path: Path, label_path: Path) -> None:
    """Compare size and orientation of an image and its label by their headers alone.

    Raises:
        DataError: if they differ in size, or the EXIF data turns the one and not the other, in which case
            nothing says which way round the label was drawn.
    """
    with _opened(image_path) as image, _opened(label_path) as label:
        turns = orientation(image), orientation(label)
        sizes = image.size, label.size
    if sizes[0] != sizes[1]:
        (width, height), (label_width, label_height) = sizes
        raise DataError(
            f"image and label differ in size: {image_path} is {width}x{height} pixels, "
            f"{label_path} is {label_width}x{label_height}"
        )
    if turns[0] != turns[1]:
        raise DataError(
            f"{image_path} has EXIF orientation {turns[0]} but its label {label_path} has {turns[1]}: "
            "turn the pixels themselves (exiftran -ai) so that both agree"
        )


def resize_image(image_3HW: Tensor, height: int, width: int) -> Tensor:
    """Resize a uint8 image bilinearly with antialiasing; at its own size it is returned as it is."""
    if image_3HW.shape[1:] == (height, width):
        return image_3HW
    return interpolate(image_3HW[None], (height, width), mode="bilinear", antialias=True)[0]


def resize_label(label_HW: Tensor, height: int, width: int) -> Tensor:
    """Resize class ids by the nearest pixel centre, on the same grid as `resize_image`."""
    if label_HW.shape == (height, width):
        return label_HW
    return interpolate(label_HW[None, None], (height, width), mode="nearest-exact")[0, 0]


def orientation(image: ImageFile) -> int:
    """Return the EXIF orientation (1 = upright, 2 to 8) from the header of an opened image."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # getexif would decode the whole PNG to look behind its pixels
    turn = image.getexif().get(_ORIENTATION, 1)
    return turn if turn in range(1, 9) else 1


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile]:
    """Open an image and turn whatever a broken file makes Pillow raise into one sentence."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path}: {image.width}x{image.height} pixels is over the limit of 200 megapixels")
            yield image
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error}") from error
    except (OSError, SyntaxError, ValueError, TypeError) as error:
        # Pillow answers damaged files with any of these, depending on the format and the place of the damage.
        raise DataError(f"{path} is not a readable image: {error or type(error).__name__}") from error


def _is_deep(label: ImageFile) -> bool:
    """Whether an RGB or RGBA PNG has 16 bits a channel; Pillow tells it nowhere but in how it would unpack them."""
    return label.format == "PNG" and label.mode in ("RGB", "RGBA") and all("16B" in str(t[3]) for t in label.tile)


def _label_problem(label: ImageFile) -> str:
    advice = "a label must be a PNG with one 8-bit class id a pixel (grey or palette)"
    if label.format in LOSSY:
        return f"{label.format} changes pixel values, so it cannot hold class ids: {advice}"
    if label.mode.startswith(_DEEP_MODES):
        return f"more than 8 bits a pixel ({label.mode}): {advice}"
    if label.mode not in ("L", "P"):
        return f"pixels are {label.mode}, not class ids: {advice}; turn every colour into its id first"
    if label.mode == "L" and any(tile[3] in ("L;2", "L;4") for tile in label.tile):
        # Pillow stretches such grey values to 0..255, which would silently change the ids.
        return f"grey with fewer than 8 bits a pixel: {advice}"
    return ""
