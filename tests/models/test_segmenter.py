"""The segmentation network, its optimiser groups and its modes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models.deeplab import upsample
from models.segmenter import IMAGENET_MEAN, IMAGENET_STD, Segmenter, set_train_mode
from models.settings import SegmenterSettings

TINY = SegmenterSettings(backbone="resnet10", width=4, dilations=(1, 2))


def test_prediction_is_on_the_feature_grid_and_upsamples_to_the_image():
    image = torch.rand(2, 3, 48, 64)
    logits, features, middle = Segmenter(TINY, 5)(image)
    assert logits.shape == (2, 5, 7, 9)
    assert features.shape == (2, 32, 7, 9)
    assert middle.shape == (2, 16, 7, 9)
    assert upsample(logits, (48, 64)).shape == (2, 5, 48, 64)


def test_images_are_normalised_inside():
    network = Segmenter(TINY, 5).eval()
    image = torch.rand(1, 3, 32, 32)
    by_hand = (image - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    assert torch.equal(network(image).features_BDhw, network.encoder(by_hand))
    assert torch.equal(network(image).logits_BKhw, network.classifier(network.encoder(by_hand)))


def test_own_normalisation_replaces_that_of_imagenet():
    network = Segmenter(TINY, 5, mean=(0, 0, 0), std=(1, 1, 1)).eval()
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(network(image).features_BDhw, network.encoder(image))


def test_normalisation_is_part_of_the_state():
    assert {"mean", "std"} <= Segmenter(TINY, 5).state_dict().keys()


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(1, 3, 16, 16, dtype=torch.uint8),
        torch.zeros(1, 1, 16, 16),
        torch.zeros(3, 16, 16),
    ],
    ids=["bytes", "grey", "no batch"],
)
def test_other_images_are_refused(image: torch.Tensor):
    with pytest.raises(ValueError, match="floating point of shape"):
        Segmenter(TINY, 5)(image)


def test_network_without_classes_is_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        Segmenter(TINY, 0)


def test_channels_last_changes_the_layout_and_not_the_result():
    network = Segmenter(TINY, 5).eval()
    image = torch.rand(1, 3, 32, 32)
    expected = network(image)
    network.to(memory_format=torch.channels_last)
    actual = network(image.contiguous(memory_format=torch.channels_last))
    assert actual.logits_BKhw.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(actual.logits_BKhw, expected.logits_BKhw, atol=1e-5)


def test_groups_hold_every_parameter_once_and_the_head_learns_faster():
    network = Segmenter(TINY, 5)
    groups = network.parameter_groups(lr=0.5, head_multiplier=10)
    assert [(group["name"], group["lr"]) for group in groups] == [("encoder", 0.5), ("classifier", 5.0)]
    grouped = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(grouped) == sorted(id(weight) for weight in network.parameters())
    assert {id(weight) for weight in network.classifier.parameters()} == {id(w) for w in groups[1]["params"]}
    torch.optim.SGD(groups, momentum=0.9)


def statistics(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers() if "running" in name}


def test_batchnorm_in_eval_mode_keeps_its_statistics_while_weights_learn():
    network = Segmenter(TINY, 5)
    set_train_mode(network, batchnorm="eval")
    before = statistics(network)
    network(torch.rand(2, 3, 32, 32)).logits_BKhw.square().sum().backward()
    after = statistics(network)
    assert before
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(weight.grad is not None for weight in network.parameters())
    assert network.training


def test_batchnorm_in_eval_mode_treats_images_apart():
    network = Segmenter(TINY, 5)
    images = torch.rand(2, 3, 32, 32)
    set_train_mode(network, batchnorm="eval")
    assert torch.allclose(network(images).logits_BKhw[:1], network(images[:1]).logits_BKhw, atol=1e-5)
    set_train_mode(network, batchnorm="train")
    assert not torch.allclose(network(images).logits_BKhw[:1], network(images[:1]).logits_BKhw, atol=1e-5)


def test_batchnorm_in_train_mode_moves_its_statistics():
    network = Segmenter(TINY, 5)
    set_train_mode(network, batchnorm="eval")
    set_train_mode(network, batchnorm="train")
    before = statistics(network)
    network(torch.rand(2, 3, 32, 32))
    after = statistics(network)
    assert not any(torch.equal(before[name], after[name]) for name in before)


def test_frozen_affine_parameters_get_no_gradient_and_the_rest_does():
    network = Segmenter(TINY, 5)
    set_train_mode(network, batchnorm="train", affine="frozen")
    network(torch.rand(2, 3, 32, 32)).logits_BKhw.square().sum().backward()
    affine = {
        id(weight)
        for layer in network.modules()
        if isinstance(layer, nn.BatchNorm2d)
        for weight in (layer.weight, layer.bias)
    }
    assert affine
    for weight in network.parameters():
        assert (weight.grad is None) == (id(weight) in affine)
    set_train_mode(network, batchnorm="train")
    assert all(weight.requires_grad for weight in network.parameters())


def test_network_is_copied_with_its_weights():
    network = Segmenter(TINY, 5).eval()
    twin = copy.deepcopy(network)
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(network(image).logits_BKhw, twin(image).logits_BKhw)
