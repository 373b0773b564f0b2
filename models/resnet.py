"""Dilated ResNet encoder (He et al. 2016, sec. 3.3 and 4.1; dilated as in DeepLab-v2, Chen et al. 2017).

Shapes: B batch, H W pixels, D feature channels, h w feature grid.

Bottlenecks stride in their 3x3 convolution ("version 1.5"), as in the network of the public ImageNet weights.
At output stride 8 only one block, the first of stage 2, thereby differs from the Caffe network of the papers.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from models.settings import Backbone, SegmenterSettings

DEPTHS: dict[Backbone, tuple[int, int, int, int]] = {
    "resnet10": (1, 1, 1, 1),
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
"""Blocks in each of the four stages."""

BOTTLENECKS: tuple[Backbone, ...] = ("resnet50", "resnet101")
"""Networks of three-convolution blocks, whose stages have four times the channels."""


def stage_channels(backbone: Backbone, width: int) -> list[int]:
    """Channels that leave each of the four stages, e.g. 256, 512, 1024, 2048 for the standard resnet101."""
    expansion = 4 if backbone in BOTTLENECKS else 1
    return [width * expansion * 2**stage for stage in range(4)]


class Encoder(nn.Module):
    """ResNet without its image-level end, dilated to the output stride of `settings`.

    Tensors are named as in transformers (`embedder...`, `encoder.stages...`) and dilation changes no shape:
    the weights of a `ResNetModel` of the same backbone and width load as they are.

    Attributes:
        channels: D, the number of feature channels.
    """

    def __init__(self, settings: SegmenterSettings) -> None:
        super().__init__()
        widths = stage_channels(settings.backbone, settings.width)
        bottleneck = settings.backbone in BOTTLENECKS
        stages, before = nn.Sequential(), settings.width
        for index, (after, depth) in enumerate(zip(widths, DEPTHS[settings.backbone], strict=True)):
            # A plain ResNet ends its stages at strides 4, 8, 16 and 32: what exceeds the wanted one dilates.
            dilation = max(1, 4 * 2**index // settings.output_stride)
            stride = 2 if index > 0 and dilation == 1 else 1
            first = Block(before, after, stride, dilation, bottleneck)
            rest = [Block(after, after, 1, dilation, bottleneck) for _ in range(depth - 1)]
            stages.append(_named(layers=nn.Sequential(first, *rest)))
            before = after
        pooler = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=settings.ceil_pool)
        self.embedder = _named(embedder=_convolve(3, settings.width, kernel=7, stride=2), pooler=pooler)
        self.encoder = _named(stages=stages)
        self.channels = widths[-1]

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Features of a normalised image, shape (B, D, h, w)."""
        return self.levels(image_B3HW)[-1]

    def levels(self, image_B3HW: Tensor) -> list[Tensor]:
        """Output of each of the four stages."""
        stages = self.encoder.get_submodule("stages")
        assert isinstance(stages, nn.Sequential)
        found = [self.embedder(image_B3HW)]
        for stage in stages:
            found.append(stage(found[-1]))
        return found[1:]


class Block(nn.Module):
    """Residual block (He et al. 2016, Eq. 1 and 2, figure 5); the shortcut projects where shapes differ.

    Args:
        before: channels that come in.
        after: channels that go out.
        stride: step of the block's first 3x3 convolution.
        dilation: of all its 3x3 convolutions.
        bottleneck: 1x1, 3x3, 1x1 over a quarter of the channels, in place of 3x3, 3x3.
    """

    def __init__(self, before: int, after: int, stride: int, dilation: int, bottleneck: bool) -> None:
        super().__init__()
        self.shortcut = nn.Identity()
        if before != after or stride != 1:
            self.shortcut = _convolve(before, after, kernel=1, stride=stride, relu=False)
        if bottleneck:
            inner = after // 4
            self.layer = nn.Sequential(
                _convolve(before, inner, kernel=1),
                _convolve(inner, inner, kernel=3, stride=stride, dilation=dilation),
                _convolve(inner, after, kernel=1, relu=False),
            )
        else:
            self.layer = nn.Sequential(
                _convolve(before, after, kernel=3, stride=stride, dilation=dilation),
                _convolve(after, after, kernel=3, dilation=dilation, relu=False),
            )

    def forward(self, input_BDhw: Tensor) -> Tensor:
        """Output of the block, never negative, shape (B, after, h / stride, w / stride)."""
        return functional.relu(self.layer(input_BDhw) + self.shortcut(input_BDhw))


def _convolve(
    before: int, after: int, kernel: int, stride: int = 1, dilation: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, batch normalisation and, if asked, ReLU."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(before, after, kernel, stride, padding, dilation, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    unit = _named(convolution=convolution, normalization=nn.BatchNorm2d(after))
    if relu:
        unit.append(nn.ReLU())
    return unit


def _named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))
