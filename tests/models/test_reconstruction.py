"""The decoder: an image of the asked size in [-1, 1], from features of any stride."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.build import build_decoder, build_segmenter
from models.settings import SegmenterSettings

TINY = SegmenterSettings(backbone="resnet10", width=4, dilations=(1, 2))


@pytest.mark.parametrize("size", [(64, 96), (60, 90)])
def test_image_has_the_size_and_range_asked_for(size):
    prediction = build_segmenter(TINY, 5, 0)(torch.rand(2, 3, *size))
    image = build_decoder(TINY, 16, 0)(prediction.features_BDhw, size)
    assert image.shape == (2, 3, *size)
    assert image.abs().max() <= 1


@pytest.mark.parametrize(("stride", "steps"), [(8, 3), (16, 4)])
def test_it_upsamples_as_often_as_the_stride_needs(stride, steps):
    settings = SegmenterSettings(backbone="resnet10", width=4, output_stride=stride)
    decoder = build_decoder(settings, 16, 0)
    strided = [m for m in decoder.modules() if isinstance(m, nn.ConvTranspose2d) and m.stride == (2, 2)]
    assert len(strided) == steps
    assert strided[0].in_channels == 16
    assert [m.out_channels for m in strided] == [16 // 2 ** (n + 1) for n in range(steps)]


def test_it_can_learn_an_image():
    torch.manual_seed(0)
    decoder = build_decoder(TINY, 16, 0)
    features, image = torch.randn(1, 32, 4, 6), torch.rand(1, 3, 32, 48) * 2 - 1
    optimiser = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    course = []
    for _ in range(30):
        loss = (decoder(features, (32, 48)) - image).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        course.append(loss.item())
    assert course[-1] < 0.95 * course[0]
