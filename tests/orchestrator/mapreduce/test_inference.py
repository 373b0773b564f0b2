"""Views of an image: scales, mirror image and sliding window, against the network called by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from domains.readers.images import resize_image
from models.build import build_segmenter
from models.segmenter import Segmenter
from models.settings import SegmenterSettings
from models.weights import save_model
from orchestrator.contract.settings import ViewSettings
from orchestrator.mapreduce.inference import Predictor

SETTINGS = SegmenterSettings(backbone="resnet10", width=4, dilations=(1, 2))
K = 5
SIZE = (49, 81)


def saved(network: Segmenter, folder: Path) -> Path:
    save_model(folder, network, SETTINGS, {"classes": [f"class {k}" for k in range(K)]}, {})
    return folder


@pytest.fixture(scope="module")
def network() -> Segmenter:
    network = build_segmenter(SETTINGS, K, 0)
    with torch.no_grad():  # as drawn, the classes hardly differ
        for parameter in network.classifier.parameters():
            parameter.mul_(30)
    return network.eval()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory) -> Path:
    return saved(network, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def by_hand(network: Segmenter, image: Tensor) -> Tensor:
    with torch.no_grad():
        return network(image[None].float() / 255).logits_BKhw[0]


def test_one_view_of_the_whole_image_is_what_the_network_says(folder, network, image):
    (found,) = Predictor(folder).views(image)
    torch.testing.assert_close(found, by_hand(network, image))


def test_views_are_the_scales_and_after_each_its_mirror_image(folder, network, image):
    found = Predictor(folder, settings=ViewSettings(scales=(0.5, 1.25), flip=True)).views(image)
    small, large = resize_image(image, 24, 40), resize_image(image, 61, 101)
    expected = [by_hand(network, small), by_hand(network, small.flip(-1)).flip(-1)]
    expected += [by_hand(network, large), by_hand(network, large.flip(-1)).flip(-1)]
    for ours, slow in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, slow)


def test_labels_of_several_views_follow_from_the_slow_average_of_their_probabilities(folder, network, image):
    settings, size = ViewSettings(scales=(0.75, 1.0, 1.5), flip=True), (90, 130)
    total = torch.zeros(K, *size)
    for scale in settings.scales:
        seen = resize_image(image, *(round(length * scale) for length in SIZE))
        for mirror in (False, True):
            logits = by_hand(network, seen.flip(-1)).flip(-1) if mirror else by_hand(network, seen)
            total += F.interpolate(logits[None], size, mode="bilinear", align_corners=True)[0].softmax(0)
    found = Predictor(folder, settings=settings).labels(image, size)
    first, second = total.topk(2, dim=0).values
    decided = first - second > 1e-4
    assert decided.float().mean() > 0.99
    assert torch.equal(found[decided], total.argmax(0).to(torch.uint8)[decided])
    assert (found != Predictor(folder).labels(image, size)).any()


@pytest.mark.parametrize("window", [SIZE, (200, 300)])
def test_window_that_covers_the_image_changes_no_bit(folder, image, window):
    for flip in (False, True):
        whole = Predictor(folder, settings=ViewSettings(flip=flip)).views(image)
        slid = Predictor(folder, settings=ViewSettings(flip=flip, window=window, stride=(8, 8))).views(image)
        assert all(torch.equal(*pair) for pair in zip(whole, slid, strict=True))


def test_sliding_window_shows_the_network_each_window_alone(folder, network, image):
    """Two windows that share no cell: each half of the grid is what the network says of its half of the image."""
    (found,) = Predictor(folder, settings=ViewSettings(window=(49, 41), stride=(49, 40))).views(image)
    left, right = by_hand(network, image[:, :, :41]), by_hand(network, image[:, :, 40:])
    assert found.shape == (K, *left.shape[1:2], 2 * left.shape[2] - 1)
    torch.testing.assert_close(found[:, :, : left.shape[2] - 1], left[:, :, :-1])
    torch.testing.assert_close(found[:, :, left.shape[2] :], right[:, :, 1:])
    torch.testing.assert_close(found[:, :, left.shape[2] - 1], (left[:, :, -1] + right[:, :, 0]) / 2)


@pytest.mark.parametrize("stride", [(), (5, 7), (24, 24)])
def test_network_that_says_the_same_everywhere_is_heard_so_through_any_window(stride, image, tmp_path):
    constant = build_segmenter(SETTINGS, K, 0)
    with torch.no_grad():
        for branch in constant.classifier.branches:
            branch.weight.zero_()
            branch.bias.copy_(torch.arange(K) / 2)
    settings = ViewSettings(scales=(0.5, 1.0), flip=True, window=(24, 24), stride=stride)
    views = Predictor(saved(constant, tmp_path), settings=settings).views(image)
    assert len(views) == 4
    for view in views:
        torch.testing.assert_close(view, torch.arange(float(K))[:, None, None].expand(view.shape))
