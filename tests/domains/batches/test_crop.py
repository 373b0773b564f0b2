"""Random crops: size, geometry, padding and repeatability."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from domains.base.settings import AugmentSettings
from domains.batches.crop import RandomCrop
from domains.batches.order import generator
from domains.pseudo.selection import SoftLabel


def settings(height: int = 16, width: int = 24, **changes) -> AugmentSettings:
    return AugmentSettings(crop_height=height, crop_width=width, **changes)


def encoded(height: int, width: int, block: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """An image that is constant on blocks, and the label from which each pixel can be foretold."""
    rows = torch.arange(height) // block
    columns = torch.arange(width) // block
    label = ((rows[:, None] * 7 + columns) % 12).to(torch.uint8)
    image = torch.stack([label * 20, 250 - label * 20, label * 10 + 50])
    return image, label


def interior(label: torch.Tensor) -> torch.Tensor:
    """Pixels whose neighbours within three pixels carry the same label, padding aside."""
    top = torch.nn.functional.max_pool2d(label[None].float(), 7, 1, 3)[0]
    low = -torch.nn.functional.max_pool2d(-label[None].float(), 7, 1, 3)[0]
    return (top == low) & (label != 255)


@pytest.mark.parametrize("size", [(40, 60), (16, 24), (9, 100), (5, 5), (64, 12)])
def test_a_crop_has_exactly_the_size_asked_for(size):
    image, label = encoded(*size)
    crop = RandomCrop(settings(scale_min=0.3, scale_max=2.5))
    for draw in range(40):
        cut_image, cut_label = crop(image, label, generator("size", draw))
        assert cut_image.shape == (3, 16, 24)
        assert cut_label.shape == (16, 24)
        assert cut_image.dtype == cut_label.dtype == torch.uint8


def test_image_and_label_agree_exactly_at_every_scale_place_and_mirror():
    image, label = encoded(48, 64)
    crop = RandomCrop(settings(24, 32))
    seen = 0
    for draw in range(200):
        cut_image, cut_label = crop(image, label, generator("agree", draw))
        inside = interior(cut_label)
        expected = torch.stack([cut_label * 20, 250 - cut_label * 20, cut_label * 10 + 50])
        assert torch.equal(cut_image[:, inside], expected[:, inside])
        seen += int(inside.sum())
    assert seen > 5_000


def test_block_edges_of_image_and_label_lie_on_the_same_pixel():
    # A vertical edge: wherever the image is on the one side by more than half, so must the label be.
    label = torch.zeros((32, 64), dtype=torch.uint8)
    label[:, 29:] = 1
    image = (label * 200).expand(3, -1, -1)
    crop = RandomCrop(settings(32, 48, scale_min=1.0, scale_max=1.5))
    for draw in range(60):
        cut_image, cut_label = crop(image, label, generator("edge", draw))
        decided = (cut_label != 255) & ((cut_image[0].int() - 100).abs() > 4)  # 100: centre on the edge itself
        assert torch.equal((cut_image[0] > 100)[decided], (cut_label == 1)[decided])


def test_without_scale_and_flip_a_crop_is_a_window_of_the_image():
    image = torch.arange(40 * 60, dtype=torch.int64).view(40, 60) % 251
    image = image.to(torch.uint8).expand(3, -1, -1)
    crop = RandomCrop(settings(scale_min=1.0, scale_max=1.0, flip=False))
    windows = image.unfold(1, 16, 1).unfold(2, 24, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, 16, 24)
    tops = set()
    for draw in range(30):
        cut = crop.image(image, crop.draw((40, 60), generator("window", draw)))
        hits = (windows == cut).flatten(1).all(1).nonzero().flatten().tolist()
        assert hits
        tops.add(hits[0])
    assert len(tops) > 20


def test_every_position_is_reached_and_none_beyond():
    image = torch.arange(5, dtype=torch.uint8).expand(3, 1, 5)
    crop = RandomCrop(settings(1, 3, scale_min=1.0, scale_max=1.0, flip=False))
    starts = [int(crop.image(image, crop.draw((1, 5), generator("place", draw)))[0, 0, 0]) for draw in range(300)]
    assert set(starts) == {0, 1, 2}
    assert min(starts.count(k) for k in range(3)) > 60


def test_half_of_the_crops_are_mirrored_and_none_without_flip():
    image = torch.arange(24, dtype=torch.uint8).expand(3, 16, 24)
    crop, upright = RandomCrop(settings(scale_min=1.0, scale_max=1.0)), RandomCrop(settings(flip=False))
    mirrored = 0
    for draw in range(300):
        cut = crop.image(image, crop.draw((16, 24), generator("flip", draw)))
        mirrored += int(cut[0, 0, 0] > cut[0, 0, -1])
        kept = upright.image(image, upright.draw((16, 24), generator("flip", draw)))
        assert kept[0, 0, 0] <= kept[0, 0, 12]
    assert 105 < mirrored < 195  # five standard deviations


def test_a_small_image_is_padded_with_black_and_ignore_and_shown_whole():
    image = torch.full((3, 8, 10), 200, dtype=torch.uint8)
    label = torch.full((8, 10), 4, dtype=torch.uint8)
    crop = RandomCrop(settings(16, 24, scale_min=1.0, scale_max=1.0))
    places = set()
    for draw in range(40):
        cut_image, cut_label = crop(image, label, generator("pad", draw))
        inside = cut_label == 4
        assert int(inside.sum()) == 80
        assert (cut_label[~inside] == 255).all()
        assert (cut_image[:, inside] == 200).all()
        assert (cut_image[:, ~inside] == 0).all()
        places.add(int(inside.flatten().nonzero()[0]))
    assert len(places) > 10


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.5])
def test_the_scale_of_the_crop_is_the_scale_asked_for(scale):
    # A square of 16 pixels covers (16 * scale)^2 pixels of a crop that contains all of it.
    label = torch.zeros((64, 64), dtype=torch.uint8)
    label[24:40, 24:40] = 1
    crop = RandomCrop(settings(96, 96, scale_min=scale, scale_max=scale))
    _, cut = crop(label.expand(3, -1, -1), label, generator("scale"))
    assert int((cut == 1).sum()) == (16 * scale) ** 2


def test_the_generator_alone_decides_the_crop():
    image, label = encoded(48, 64)
    crop = RandomCrop(settings())
    cut = crop.draw((48, 64), generator("same"))
    whole = crop(image, label, generator("same"))
    assert torch.equal(whole[0], crop.image(image, cut))
    assert torch.equal(whole[1], crop.label(label, cut))
    assert cut != crop.draw((48, 64), generator("other"))


def test_a_centre_lies_in_the_middle_as_far_as_the_borders_let_it():
    label = torch.arange(40 * 60, dtype=torch.int64).view(40, 60)
    crop = RandomCrop(settings(11, 21, scale_min=1.0, scale_max=1.0, flip=False))
    for centre, middle in [((20, 30), (20, 30)), ((0, 30), (5, 30)), ((39, 59), (34, 49)), ((20, 3), (20, 10))]:
        cut = crop.draw((40, 60), generator("centre"), centre)
        assert label[cut.source][5, 10] == label[middle]


def test_a_crop_of_no_size_is_the_whole_image_whatever_its_size():
    crop = RandomCrop(settings(0, 0, scale_min=1.0, scale_max=1.0, flip=False))
    for size in ((40, 60), (16, 24)):
        image, label = encoded(*size)
        cut_image, cut_label = crop(image, label, generator("whole"))
        assert torch.equal(cut_image, image)
        assert torch.equal(cut_label, label)


def test_a_soft_label_is_read_where_the_label_reads_its_pixels():
    # Logits that say the label of every pixel with near certainty, at the label's own resolution.
    _, label = encoded(40, 60)
    logits = 50 * torch.nn.functional.one_hot(label.long(), 12).permute(2, 0, 1).float()
    soft = SoftLabel([logits], (40, 60), np.ones(12), 1.0)
    for size in ((16, 24), (64, 64), (0, 0)):
        crop = RandomCrop(settings(*size, scale_min=0.6, scale_max=1.9))
        for draw in range(20):
            cut = crop.draw((40, 60), generator("soft", draw))
            hard, found = crop.label(label, cut), crop.soft_label(soft, cut)
            assert found.shape == (12, *hard.shape)
            inside = hard != 255
            assert torch.equal(found.argmax(0)[inside], hard[inside].long())
            assert (found.sum(0)[inside] - 1).abs().max() < 1e-5
            assert (found[:, ~inside] == 0).all()


def test_the_memory_layout_of_the_image_does_not_matter():
    image, label = encoded(48, 64)
    permuted = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    crop = RandomCrop(settings())
    for draw in range(10):
        a, _ = crop(image, label, generator("layout", draw))
        b, _ = crop(permuted, label, generator("layout", draw))
        assert (a.int() - b.int()).abs().max() <= 1


def test_the_input_is_left_alone():
    image, label = encoded(48, 64)
    before = image.clone(), label.clone()
    RandomCrop(settings())(image, label, generator("alone"))
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])


@pytest.mark.parametrize("changes", [{"height": -1}, {"scale_min": 0.0}, {"scale_min": 2.0}, {"scale_max": -1.0}])
def test_impossible_settings_are_refused(changes):
    with pytest.raises(ValueError, match="must"):
        RandomCrop(settings(**changes))


def test_stepped_scales_are_all_there_and_equally_often():
    crop = RandomCrop(settings(100, 100, scale_min=0.5, scale_max=1.5, scale_step=0.1))
    # A crop of 100 pixels at scale s uses 100 / s of them.
    used = [crop.draw((1000, 1000), generator("steps", number)).source[0] for number in range(2200)]
    scales = [round(100 / (rows.stop - rows.start), 2) for rows in used]
    expected = {round(100 / round(1000 / (5 + step)), 2) for step in range(11)}
    assert set(scales) == expected
    assert all(130 < scales.count(scale) < 270 for scale in expected)


def test_a_negative_step_of_scales_is_refused():
    with pytest.raises(ValueError, match="scale_step must be 0 or more, got -1"):
        RandomCrop(settings(scale_step=-1))
