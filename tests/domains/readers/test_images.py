"""Decoding of images and labels, good and bad."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from domains.base.errors import DataError
from domains.readers.images import (
    check_same_frame,
    read_colours,
    read_deep,
    read_image,
    read_label,
    resize_image,
    resize_label,
)


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def exif(turn: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = turn
    return tags


def png_bytes(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_a_png_is_read_exactly(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.uint8
    assert torch.equal(image, torch.from_numpy(rgb).permute(2, 0, 1))


def test_grey_becomes_three_equal_channels(tmp_path, rgb):
    Image.fromarray(rgb[..., 0]).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert torch.equal(image, torch.from_numpy(rgb[..., 0]).expand(3, -1, -1))


def test_palette_transparent_and_cmyk_images_become_rgb(tmp_path):
    red = Image.new("RGB", (5, 4), (255, 0, 0))
    red.quantize(4).save(tmp_path / "palette.png")
    red.convert("RGBA").save(tmp_path / "alpha.png")
    red.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    for name in ("palette.png", "alpha.png", "cmyk.jpg"):
        image = read_image(tmp_path / name)
        assert image.shape == (3, 4, 5)
        assert (image.float() - torch.tensor([255.0, 0.0, 0.0]).view(3, 1, 1)).abs().max() <= 3, name


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_carried_out(tmp_path, rgb, turn):
    turned = {
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: np.rot90(rgb, -1),
        7: rgb[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(rgb, 1),
    }[turn]
    Image.fromarray(rgb).save(tmp_path / "a.png", exif=exif(turn))
    expected = torch.from_numpy(turned.copy()).permute(2, 0, 1)
    assert torch.equal(read_image(tmp_path / "a.png"), expected)
    Image.fromarray(rgb[..., 0]).save(tmp_path / "label.png", exif=exif(turn))
    assert torch.equal(read_label(tmp_path / "label.png"), expected[0])


def test_a_rotated_jpeg_is_reduced_to_the_size_asked_for(tmp_path):
    Image.new("RGB", (64, 32)).save(tmp_path / "a.jpg", exif=exif(6))
    assert read_image(tmp_path / "a.jpg").shape == (3, 64, 32)
    assert read_image(tmp_path / "a.jpg", (16, 8)).shape == (3, 16, 8)


def test_reduced_decoding_of_a_rotated_jpeg_keeps_the_detail_asked_for(tmp_path):
    stripes = (np.arange(32)[:, None] % 2 * 200).repeat(64, 1).astype(np.uint8)
    Image.fromarray(stripes).save(tmp_path / "a.jpg", quality=100, exif=exif(6))
    image = read_image(tmp_path / "a.jpg", (16, 32))
    assert (image[0].float().diff(dim=1).abs() > 150).all()


def test_labels_are_resized_by_the_nearest_pixel_centre():
    label = torch.arange(9, dtype=torch.uint8).expand(3, 9)
    assert resize_label(label, 1, 3).tolist() == [[1, 4, 7]]


@pytest.mark.parametrize("size", [(24, 32), (23, 31), (12, 17), (96, 128), (100, 130)])
def test_reduced_decoding_of_a_jpeg_stays_close_to_the_full_one(tmp_path, size):
    waves = np.sin(np.arange(96)[:, None] / 9) + np.cos(np.arange(128) / 11)
    smooth = np.stack([waves, -waves, waves * 0.5], -1) * 60 + 128
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    reduced = read_image(tmp_path / "a.jpg", size)
    full = resize_image(read_image(tmp_path / "a.jpg"), *size)
    assert reduced.shape == (3, *size)
    assert (reduced.float() - full.float()).abs().mean() < 1.5


def test_resizing_agrees_between_image_and_label():
    blocks = torch.arange(6, dtype=torch.uint8).view(2, 3)
    label = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1)
    small_label = resize_label(label, 2, 3)
    small_image = resize_image((label * 40).expand(3, -1, -1), 2, 3)
    assert torch.equal(small_label, blocks)
    # Antialiasing lets the neighbours in, but half the weight and more stays with the block itself.
    assert (small_image[0].float() / 40 - blocks.float()).abs().max() < 0.75


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_label_keeps_its_indices_whatever_its_palette(tmp_path, mode):
    ids = np.array([[0, 3, 18], [255, 11, 7]], dtype=np.uint8)
    label = Image.fromarray(ids)
    if mode == "P":
        label.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
        assert label.mode == "P"
    label.save(tmp_path / "a.png")
    assert torch.equal(read_label(tmp_path / "a.png"), torch.from_numpy(ids))


def test_a_palette_label_of_four_bits_keeps_its_indices(tmp_path):
    rows = b"\x00\x01\x23"
    plte = struct.pack(">I", 12) + b"PLTE" + bytes(range(100, 112))
    plte += struct.pack(">I", zlib.crc32(plte[4:]))
    data = png_bytes(4, 1, 4, 3, rows)
    (tmp_path / "a.png").write_bytes(data[:33] + plte + data[33:])
    assert read_label(tmp_path / "a.png").tolist() == [[0, 1, 2, 3]]


def test_labels_that_hold_no_plain_indices_are_refused_with_advice(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(rgb).convert("RGBA").save(tmp_path / "rgba.png")
    Image.fromarray(rgb[..., 0].astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "lossy.jpg")
    (tmp_path / "four.png").write_bytes(png_bytes(4, 1, 4, 0, b"\x00\x01\x23"))
    (tmp_path / "one.png").write_bytes(png_bytes(4, 1, 1, 0, b"\x00\x50"))
    for name in ("rgb.png", "rgba.png", "deep.png", "lossy.jpg", "four.png", "one.png"):
        with pytest.raises(DataError, match=f"{name}: .*one 8-bit class id a pixel"):
            read_label(tmp_path / name)


def test_a_16_bit_image_is_refused_rather_than_clipped(tmp_path, rgb):
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 100).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep.png: more than 8 bits"):
        read_image(tmp_path / "deep.png")


@pytest.mark.parametrize("read", [read_image, read_label])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("kept", [0, 4, 40, 0.5])
def test_a_truncated_file_is_named(tmp_path, read, suffix, kept):
    path = tmp_path / f"cut ü.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match=r"cut ü"):
        read(path)


@pytest.mark.parametrize("read", [read_image, read_label])
def test_a_file_that_is_no_image_or_is_not_there_is_named(tmp_path, read):
    (tmp_path / "text.png").write_text("not an image at all, but long enough to look like one")
    with pytest.raises(DataError, match=r"text.png is not a readable image"):
        read(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"gone.png does not exist"):
        read(tmp_path / "gone.png")


def test_a_postscript_file_in_disguise_is_not_opened(tmp_path):
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n%%EOF\n")
    with pytest.raises(DataError, match=r"a.png is not a readable image"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("pillow_limit", [None, 10**8])
@pytest.mark.parametrize("read", [read_image, read_label])
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path, read, pillow_limit, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    (tmp_path / "bomb.png").write_bytes(png_bytes(20_001, 10_000, 8, 0, b""))
    with pytest.raises(DataError, match=r"bomb.png.*(megapixels|exceeds limit)"):
        read(tmp_path / "bomb.png")


def test_image_and_label_of_one_frame_pass_the_check(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.jpg", exif=exif(6))
    Image.fromarray(rgb[..., 0]).save(tmp_path / "a.png", exif=exif(6))
    check_same_frame(tmp_path / "a.jpg", tmp_path / "a.png")


def test_a_size_mismatch_names_both_sizes_and_paths(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.jpg")
    Image.fromarray(rgb[:5, :, 0]).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.jpg is 9x6 pixels, .*a.png is 9x5"):
        check_same_frame(tmp_path / "a.jpg", tmp_path / "a.png")


def test_an_orientation_of_the_image_alone_is_refused(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.jpg", exif=exif(3))
    Image.fromarray(rgb[..., 0]).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"orientation 3 .* has 1"):
        check_same_frame(tmp_path / "a.jpg", tmp_path / "a.png")


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("filters", [(0,), (1,), (2,), (3,), (4,), (0, 4, 1, 3, 2)])
def test_16_bits_are_read_exactly_whatever_predicts_the_rows(tmp_path, write_deep, channels, filters):
    pixels = np.random.default_rng(2).integers(0, 65536, (11, 7, channels), dtype=np.uint16)
    write_deep(tmp_path / "a.png", pixels, filters)
    read = read_deep(tmp_path / "a.png")
    assert read.dtype == np.uint16
    assert (read == pixels).all()


def test_8_bits_where_16_are_expected_are_refused_with_the_reason(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(rgb).convert("RGBA").save(tmp_path / "rgba.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(rgb).save(tmp_path / "lossy.jpg")
    for name in ("rgb.png", "rgba.png", "grey.png", "lossy.jpg"):
        with pytest.raises(DataError, match=rf"{name} has 8 bits .*high byte alone .*original file"):
            read_deep(tmp_path / name)


@pytest.mark.parametrize("kept", [0, 4, 40, 200, 0.5, 0.9])
def test_a_16_bit_file_that_is_cut_off_or_damaged_is_named(tmp_path, write_deep, kept):
    path = tmp_path / "cut ü.png"
    write_deep(path, np.random.default_rng(3).integers(0, 65536, (20, 20, 3), dtype=np.uint16))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match=r"cut ü"):
        read_deep(path)
    path.write_bytes(data[:300] + bytes(40) + data[340:])
    with pytest.raises(DataError, match=r"cut ü"):
        read_deep(path)
    with pytest.raises(DataError, match=r"gone.png does not exist"):
        read_deep(tmp_path / "gone.png")


def test_a_turned_16_bit_label_is_refused(tmp_path, write_deep):
    path = tmp_path / "a.png"
    write_deep(path, np.zeros((4, 6, 3), dtype=np.uint16))
    turned = exif(6).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(turned)) + b"eXIf" + turned + struct.pack(">I", zlib.crc32(b"eXIf" + turned))
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk + data[33:])
    with pytest.raises(DataError, match=r"EXIF orientation 6"):
        read_deep(path)


def test_colours_of_a_label_are_read_exactly_and_turned_like_its_image(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.png")
    assert (read_colours(tmp_path / "a.png") == rgb).all()
    Image.fromarray(rgb).convert("RGBA").save(tmp_path / "a.png", exif=exif(6))
    assert (read_colours(tmp_path / "a.png") == np.rot90(rgb, -1)).all()


def test_colours_that_may_have_changed_are_refused(tmp_path, rgb, write_deep):
    Image.fromarray(rgb).save(tmp_path / "lossy.jpg")
    Image.fromarray(rgb).quantize(8).save(tmp_path / "palette.png")
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    write_deep(tmp_path / "deep.png", np.zeros((4, 6, 3), dtype=np.uint16))
    for name in ("lossy.jpg", "palette.png", "grey.png", "deep.png"):
        with pytest.raises(DataError, match=rf"{name}: .*8-bit RGB colours"):
            read_colours(tmp_path / name)
