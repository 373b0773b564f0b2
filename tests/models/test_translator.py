"""Networks that translate images: layers, geometry, what a score sees."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.build import build_generator, build_patchgan
from models.settings import TranslatorSettings
from models.translator import Generator, PatchGan, smallest_side


def convolutions(network: nn.Module) -> list[tuple[int, int, int]]:
    """Channels, kernel and stride of each convolution, in order."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    found = [module for module in network.modules() if isinstance(module, kinds)]
    return [(layer.out_channels, layer.kernel_size[0], layer.stride[0]) for layer in found]


def test_generator_of_the_paper_has_its_layers():
    with torch.device("meta"):
        network = Generator()
    down, up = [(128, 3, 2), (256, 3, 2)], [(128, 3, 2), (64, 3, 2)]
    assert convolutions(network) == [(64, 7, 1), *down, *[(256, 3, 1)] * 18, *up, (3, 7, 1)]
    # The authors' code has 11.378 million: 5,248 of them are biases that normalisation takes away again.
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_378_179 - 5_248


def test_judge_of_the_paper_has_its_layers():
    assert convolutions(PatchGan()) == [(64, 4, 2), (128, 4, 2), (256, 4, 2), (512, 4, 1), (1, 4, 1)]


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (30, 41), (8, 8), (9, 15)])
@pytest.mark.parametrize("halvings", [0, 1, 2])
def test_translation_has_the_size_of_its_image_and_lies_in_the_unit_interval(size, halvings):
    moved = Generator(4, 1, halvings)(torch.rand(2, 3, *size))
    assert moved.shape == (2, 3, *size)
    assert 0 <= moved.min() < moved.max() <= 1


@pytest.mark.parametrize("size", [(96, 96), (93, 99)])
def test_no_pixel_moves(size):
    network, image = additive(Generator(2, 1)), (0.6 + 0.1 * torch.rand(1, 3, *size, dtype=torch.float64))
    image.requires_grad_()
    for row, column in ((40, 50), (47, 41), (51, 54)):
        (gradient,) = torch.autograd.grad(network(image)[0, :, row, column].sum(), image)
        weight = gradient[0].sum(0)
        middle_row = (weight.sum(1) * torch.arange(size[0])).sum() / weight.sum()
        middle_column = (weight.sum(0) * torch.arange(size[1])).sum() / weight.sum()
        assert abs(middle_row - row) < 1
        assert abs(middle_column - column) < 1


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_score_sees_a_square_of_the_stated_size(layers, field):
    image = (0.6 + 0.1 * torch.rand(1, 3, 128, 128, dtype=torch.float64)).requires_grad_()
    score = additive(PatchGan(2, layers))(image)
    middle = score.shape[2] // 2
    (gradient,) = torch.autograd.grad(score[0, 0, middle, middle], image)
    rows, columns = gradient[0].abs().sum(0).nonzero().unbind(1)
    assert int(rows.max() - rows.min()) + 1 == field
    assert int(columns.max() - columns.min()) + 1 == field


def additive(network: nn.Module) -> nn.Module:
    """The network as a plain sum over what its convolutions see: normalisation would let a pixel see all others."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.InstanceNorm2d):
                setattr(parent, name, nn.Identity())
    for layer in network.modules():  # small and positive: nothing cancels, nothing saturates, no rectifier shuts
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.constant_(layer.weight, 0.5 / layer.weight[0].numel())
    return network.double()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_smallest_side_is_the_smallest_that_works(layers):
    least = smallest_side(0, layers)
    network = PatchGan(2, layers)
    assert network(torch.rand(1, 3, least, least)).shape[2:] == (1, 1)
    with pytest.raises((ValueError, RuntimeError)):
        network(torch.rand(1, 3, least - 1, least - 1))


def test_first_weights_are_normal_and_a_function_of_the_seed():
    settings = TranslatorSettings(width=16, blocks=2, judge_width=16)
    for build in (build_generator, build_patchgan):
        one, same, other = (build(settings, seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[name], same[name]) for name in one)
        weights = torch.cat([value.flatten() for name, value in one.items() if name.endswith("weight")])
        assert weights.std().item() == pytest.approx(0.02, rel=0.05)
        assert not any(torch.equal(one[name], other[name]) for name in one if name.endswith("weight"))


@pytest.mark.parametrize("name", ["width", "blocks", "judge_width", "judge_layers", "halvings", "pool"])
def test_settings_refuse_what_cannot_be(name):
    with pytest.raises(ValueError, match=name):
        TranslatorSettings(**{name: -1})
