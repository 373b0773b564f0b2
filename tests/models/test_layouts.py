"""Names of tensors in public weights."""

from __future__ import annotations

import pytest

from models.layouts import recognise


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1.weight", "embedder.embedder.convolution.weight"),
        ("bn1.running_var", "embedder.embedder.normalization.running_var"),
        ("layer3.22.conv3.weight", "encoder.stages.2.layers.22.layer.2.convolution.weight"),
        ("layer1.0.bn2.num_batches_tracked", "encoder.stages.0.layers.0.layer.1.normalization.num_batches_tracked"),
        ("layer2.0.downsample.0.weight", "encoder.stages.1.layers.0.shortcut.convolution.weight"),
        ("layer2.0.downsample.1.bias", "encoder.stages.1.layers.0.shortcut.normalization.bias"),
        ("fc.weight", None),
        ("layer5.conv2d_list.3.bias", None),
        ("conv2.weight", "conv2.weight"),
        ("layer1.0.se.fc1.weight", "layer1.0.se.fc1.weight"),
    ],
)
def test_torchvision_names_become_ours_and_unknown_ones_stay(name: str, expected: str | None):
    assert recognise(["conv1.weight"]).rename(name) == expected
    assert recognise(["Scale.conv1.weight"]).rename(f"Scale.{name}") == expected


@pytest.mark.parametrize("names", [[], ["conv1.0.weight"], ["patch_embed.proj.weight"]])
def test_other_networks_are_refused_with_their_names(names: list[str]):
    with pytest.raises(ValueError, match=f"its tensors \\({names[0] if names else 'none'}.*another kind of network"):
        recognise(names)
