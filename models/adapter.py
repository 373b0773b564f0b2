"""Encoders of transformers behind the interface of our own: MiT (SegFormer), Swin, ConvNeXt, DINOv2 and DINOv3.

Shapes: B batch, H W pixels, D feature channels, h w feature grid.

transformers takes seconds to import, so it is imported when such an encoder is built and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from models.matching import refuse_unmatched
from models.settings import STRIDES, SegmenterSettings, family_of

MIT: dict[str, tuple[int, tuple[int, ...]]] = {
    "mit_b0": (32, (2, 2, 2, 2)),
    "mit_b1": (64, (2, 2, 2, 2)),
    "mit_b2": (64, (3, 4, 6, 3)),
    "mit_b3": (64, (3, 4, 18, 3)),
    "mit_b4": (64, (3, 8, 27, 3)),
    "mit_b5": (64, (3, 6, 40, 3)),
}
"""Channels of an attention head and blocks of each stage (SegFormer, Xie et al. 2021, Table 6)."""
MIT_HEADS = (1, 2, 5, 8)

SWIN: dict[str, tuple[int, tuple[int, ...], int]] = {
    "swin_tiny": (3, (2, 2, 6, 2), 7),
    "swin_small": (3, (2, 2, 18, 2), 7),
    "swin_base": (4, (2, 2, 18, 2), 7),
    "swin_base_window12": (4, (2, 2, 18, 2), 12),
    "swin_large": (6, (2, 2, 18, 2), 7),
    "swin_large_window12": (6, (2, 2, 18, 2), 12),
}
"""Heads of 32 channels in the first stage, blocks of each, side of a window (Liu et al. 2021, sec. 3.3)."""

CONVNEXT: dict[str, tuple[int, tuple[int, ...]]] = {
    "convnext_tiny": (96, (3, 3, 9, 3)),
    "convnext_small": (96, (3, 3, 27, 3)),
    "convnext_base": (128, (3, 3, 27, 3)),
    "convnext_large": (192, (3, 3, 27, 3)),
}
"""Channels of the first stage and blocks of each (Liu et al. 2022, sec. 3)."""

DINOV3_CONVNEXT = {name.replace("convnext", "dinov3convnext"): shape for name, shape in CONVNEXT.items()}
"""The same networks as DINOv3 distils them (Simeoni et al. 2025)."""

DINOV2: dict[str, tuple[int, int]] = {"dinov2_small": (6, 12), "dinov2_base": (12, 12), "dinov2_large": (16, 24)}
"""Attention heads of 64 channels, and blocks (Oquab et al. 2023)."""
DINOV2_IMAGE = 518
"""Side of the images whose grid the public position embeddings have; others are interpolated from it."""

DINOV3: dict[str, tuple[int, int]] = {"dinov3_small": (6, 12), "dinov3_base": (12, 12), "dinov3_large": (16, 24)}
"""The same of DINOv3, whose positions are rotations, known at any size (Simeoni et al. 2025)."""
DINOV3_REGISTERS = 4
"""Tokens beside the patches that belong to no place of the image."""


def level_channels(backbone: str, width: int) -> list[int]:
    """Channels of each of the four levels; `width` is in 64ths of the standard network's."""
    if backbone in MIT:
        return [heads * MIT[backbone][0] * width // 64 for heads in MIT_HEADS]
    if backbone in SWIN:
        return [SWIN[backbone][0] * 2**stage * 32 * width // 64 for stage in range(4)]
    if (convnext := {**CONVNEXT, **DINOV3_CONVNEXT}.get(backbone)) is not None:
        return [convnext[0] * width // 64 * 2**stage for stage in range(4)]
    return [{**DINOV2, **DINOV3}[backbone][0] * width] * 4


class Adapted(nn.Module):
    """A network of transformers as an encoder of four levels.

    Args:
        settings: `backbone` and `width`; the stride of such a network is its own.

    Attributes:
        widths: channels of each level.
        strides: pixels between two cells of each level.
        channels: D, those of the last level.
    """

    def __init__(self, settings: SegmenterSettings) -> None:
        super().__init__()
        self.kind, self.config = _blueprint(settings.backbone, settings.width)
        self.widths = level_channels(settings.backbone, settings.width)
        self.strides = STRIDES[family_of(settings.backbone)]
        self.channels = self.widths[-1]
        self.network: nn.Module = _pruned(self.kind(self.config))

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Features of a normalised image, shape (B, D, h, w)."""
        return self.levels(image_B3HW)[-1]

    def levels(self, image_B3HW: Tensor) -> list[Tensor]:
        """The four levels, each B x its channels x a grid at its stride.

        MiT gives its normalised stages, ConvNeXt its stages as they are, Swin too but for a normalised last, DINOv2 and
        DINOv3 the normalised patches after every quarter of their blocks.
        """
        if self.config.model_type == "swin":
            return self._swin_levels(image_B3HW)
        states = self.network(image_B3HW, output_hidden_states=True).hidden_states
        if image_B3HW.ndim == states[-1].ndim:
            return list(states[-4:])
        grid = [side // stride for side, stride in zip(image_B3HW.shape[2:], self.strides[-2:], strict=True)]
        quarter = (len(states) - 1) // 4
        final = self.network.get_submodule("layernorm" if self.config.model_type == "dinov2" else "norm")
        # The first token stands for the whole image, registers for nothing in it.
        first = 1 + getattr(self.config, "num_register_tokens", 0)
        patches = [final(states[quarter * level])[:, first:] for level in range(1, 5)]
        return [patches_BND.transpose(1, 2).unflatten(2, grid).contiguous() for patches_BND in patches]

    def _swin_levels(self, image_B3HW: Tensor) -> list[Tensor]:
        # Windows are kept also where a map is smaller than one: their position biases have no other size.
        found = self.network(
            image_B3HW, output_hidden_states=True, always_partition=True, output_hidden_states_before_downsampling=True
        )
        *levels, last = found.reshaped_hidden_states[1:]
        return [*levels, found.last_hidden_state.transpose(1, 2).unflatten(2, last.shape[2:]).contiguous()]

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Make `tensors` the network's, all of them or none; transformers knows the names that it has given them.

        Raises:
            ValueError: naming what is missing, unexpected, or of another shape.
        """
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()  # what does not match is said below
        network, info = self.kind.from_pretrained(
            None,
            config=self.config,
            # Older files hold an index that follows from the size of the window.
            state_dict={name: t for name, t in tensors.items() if not name.endswith("relative_position_index")},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        refuse_unmatched(
            sorted(info["missing_keys"]),
            sorted(info["unexpected_keys"]),
            [
                f"{name} ({list(found)}, the network has {list(own)})"
                for name, found, own in sorted(info["mismatched_keys"])
            ],
        )
        self.network = _pruned(network).train(self.training)


def _blueprint(backbone: str, width: int) -> tuple[Any, Any]:
    """The class of a backbone and its configuration."""
    channels = level_channels(backbone, width)
    build: Callable[[str, list[int]], tuple[Any, Any]]
    build = {
        "mit": _mit,
        "swin": _swin,
        "convnext": _convnext,
        "dinov2": _dinov2,
        "dinov3": _dinov3,
        "dinov3convnext": _dinov3_convnext,
    }[family_of(backbone)]
    return build(backbone, channels)


def _mit(backbone: str, channels: list[int]) -> tuple[Any, Any]:
    from transformers.models.segformer.configuration_segformer import SegformerConfig
    from transformers.models.segformer.modeling_segformer import SegformerModel

    depths = MIT[backbone][1]
    return SegformerModel, SegformerConfig(depths=depths, hidden_sizes=channels, num_attention_heads=MIT_HEADS)


def _swin(backbone: str, channels: list[int]) -> tuple[Any, Any]:
    from transformers.models.swin.configuration_swin import SwinConfig
    from transformers.models.swin.modeling_swin import SwinModel

    heads, depths, window = SWIN[backbone]
    stages: dict[str, Any] = {"depths": list(depths), "num_heads": [heads * 2**stage for stage in range(4)]}
    return SwinModel, SwinConfig(embed_dim=channels[0], window_size=window, **stages)


def _convnext(backbone: str, channels: list[int]) -> tuple[Any, Any]:
    from transformers.models.convnext.configuration_convnext import ConvNextConfig
    from transformers.models.convnext.modeling_convnext import ConvNextModel

    return ConvNextModel, ConvNextConfig(depths=list(CONVNEXT[backbone][1]), hidden_sizes=channels)


def _dinov2(backbone: str, channels: list[int]) -> tuple[Any, Any]:
    from transformers.models.dinov2.configuration_dinov2 import Dinov2Config
    from transformers.models.dinov2.modeling_dinov2 import Dinov2Model

    heads, blocks = DINOV2[backbone]
    sizes: dict[str, Any] = {"num_hidden_layers": blocks, "num_attention_heads": heads, "image_size": DINOV2_IMAGE}
    return Dinov2Model, Dinov2Config(hidden_size=channels[0], patch_size=14, **sizes)


def _dinov3(backbone: str, channels: list[int]) -> tuple[Any, Any]:
    from transformers.models.dinov3_vit.configuration_dinov3_vit import DINOv3ViTConfig
    from transformers.models.dinov3_vit.modeling_dinov3_vit import DINOv3ViTModel

    heads, blocks = DINOV3[backbone]
    sizes: dict[str, Any] = {"num_hidden_layers": blocks, "num_attention_heads": heads, "patch_size": 16}
    return DINOv3ViTModel, DINOv3ViTConfig(
        hidden_size=channels[0],
        intermediate_size=4 * channels[0],
        num_register_tokens=DINOV3_REGISTERS,
        pos_embed_rescale=None,  # an augmentation of its own training
        **sizes,
    )


def _dinov3_convnext(backbone: str, channels: list[int]) -> tuple[Any, Any]:
    from transformers.models.dinov3_convnext.configuration_dinov3_convnext import DINOv3ConvNextConfig
    from transformers.models.dinov3_convnext.modeling_dinov3_convnext import DINOv3ConvNextModel

    return DINOv3ConvNextModel, DINOv3ConvNextConfig(depths=list(DINOV3_CONVNEXT[backbone][1]), hidden_sizes=channels)


def _pruned(network: Any) -> nn.Module:
    """Without parameters that no feature depends on: data-parallel training waits for the gradient of every one."""
    family = network.config.model_type
    if family == "convnext":
        network.layernorm = nn.Identity()  # of the pooled features
    if family == "dinov3_convnext":
        network.layer_norm = nn.Identity()  # of the pooled features and the last stage as tokens
    if family in ("dinov2", "dinov3_vit"):
        network.embeddings.mask_token = None  # of masked training
    return network
