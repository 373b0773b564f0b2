"""Encoders of transformers: levels, strides, weights in their public names, and what attaches to them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.models.segformer.modeling_segformer import SegformerForImageClassification, SegformerModel

from models.adapter import CONVNEXT, DINOV2, DINOV3, DINOV3_CONVNEXT, MIT, SWIN, Adapted, level_channels
from models.backbones import build_encoder, stage_channels
from models.build import build_auxiliary, build_decoder, build_mmdl_head, build_segmenter, check_weights
from models.pretrained import load_encoder
from models.segmenter import set_train_mode
from models.settings import STRIDES, Backbone, MmdlSettings, SegmenterSettings, family_of
from models.weights import WEIGHTS, load_model, save_model

SMALL = ["mit_b0", "swin_tiny", "convnext_tiny", "dinov2_small", "dinov3_small", "dinov3convnext_tiny"]
ALL = [*MIT, *SWIN, *CONVNEXT, *DINOV2, *DINOV3, *DINOV3_CONVNEXT]


def settings(backbone: Any, weights: Path | str = "none", width: int = 4) -> SegmenterSettings:
    stride: Any = STRIDES[family_of(backbone)][-1]
    return SegmenterSettings(
        backbone=backbone, width=width, output_stride=stride, dilations=(1, 2), weights=str(weights)
    )


def adapted(backbone: str, **fields: Any) -> Adapted:
    encoder = build_encoder(settings(backbone, **fields))
    assert isinstance(encoder, Adapted)
    return encoder.eval()


def image(backbone: str, cells: tuple[int, int] = (2, 3)) -> Tensor:
    side = STRIDES[family_of(backbone)][-1]
    return torch.rand(2, 3, cells[0] * side, cells[1] * side)


def test_every_backbone_of_the_settings_belongs_to_a_family():
    assert {name for name in get_args(Backbone) if family_of(name) != "resnet"} == set(ALL)


@pytest.mark.parametrize("backbone", ALL)
def test_standard_networks_have_the_channels_of_their_papers(backbone: str):
    found = level_channels(backbone, 64)
    if backbone in MIT:
        assert found == ([32, 64, 160, 256] if backbone == "mit_b0" else [64, 128, 320, 512])
    elif backbone in {**SWIN, **CONVNEXT, **DINOV3_CONVNEXT}:
        assert found[0] in (96, 128, 192)
        assert found == [found[0] * 2**level for level in range(4)]
    else:
        assert found == [{"small": 384, "base": 768, "large": 1024}[backbone.split("_")[1]]] * 4


@pytest.mark.parametrize(
    ("backbone", "millions"),
    [("mit_b0", 3.3), ("mit_b5", 81.4), ("swin_tiny", 27.5), ("convnext_tiny", 27.8), ("dinov3_small", 21.6)],
)
def test_standard_networks_have_the_size_of_their_papers(backbone: str, millions: float):
    with torch.device("meta"):
        encoder = build_encoder(settings(backbone, width=64))
    assert sum(weight.numel() for weight in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.15)


@pytest.mark.parametrize("backbone", SMALL)
def test_levels_have_the_strides_and_widths_that_they_say(backbone: str):
    encoder, picture = adapted(backbone), image(backbone)
    levels = encoder.levels(picture)
    assert encoder.widths == stage_channels(settings(backbone))
    for level, width, stride in zip(levels, encoder.widths, encoder.strides, strict=True):
        assert level.shape == (2, width, picture.shape[2] // stride, picture.shape[3] // stride)
    assert torch.equal(encoder(picture), levels[-1])
    assert encoder.channels == levels[-1].shape[1]


@pytest.mark.parametrize("backbone", SMALL)
def test_classifier_and_side_heads_attach(backbone: str):
    chosen, picture = settings(backbone), image(backbone)
    prediction = build_segmenter(chosen, 5, seed=0)(picture)
    assert prediction.logits_BKhw.shape == (2, 5, 2, 3)
    assert build_auxiliary(chosen, 5, seed=0)(prediction.middle_BEhw).shape[:2] == (2, 5)
    head = build_mmdl_head(MmdlSettings(embed_dim=6), chosen, 5, seed=0)
    assert head(prediction.features_BDhw, torch.zeros(2, 2, 2)).distance_BPKM.shape == (2, 2, 5, 3)
    decoder = build_decoder(chosen, 4, seed=0)
    assert decoder(prediction.features_BDhw, picture.shape[2:]).shape == picture.shape


@pytest.mark.parametrize("backbone", SMALL)
def test_every_parameter_gets_a_gradient_from_the_last_level_alone(backbone: str):
    network = build_segmenter(settings(backbone), 5, seed=0)
    set_train_mode(network, batchnorm="eval")
    torch.manual_seed(0)
    network(image(backbone)).logits_BKhw.square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("backbone", SMALL)
def test_first_weights_are_a_function_of_the_seed(backbone: str):
    before = torch.get_rng_state()
    one, same, other = (build_segmenter(settings(backbone), 5, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], tensor) for name, tensor in same.items())
    assert any(not torch.equal(one[name], tensor) for name, tensor in other.items())


@pytest.mark.parametrize("backbone", SMALL)
def test_model_folder_gives_the_same_network_back(backbone: str, tmp_path: Path):
    chosen = settings(backbone)
    network = build_segmenter(chosen, 2, seed=0).eval()
    save_model(tmp_path, network, chosen, {"classes": ["a", "b"]}, {})
    loaded, _ = load_model(tmp_path)
    picture = image(backbone)
    assert torch.equal(loaded(picture).logits_BKhw, network(picture).logits_BKhw)


# Weights.


def public(backbone: str, folder: Path) -> Any:
    """A network of transformers with random weights, saved as transformers does it."""
    encoder = adapted(backbone)
    torch.manual_seed(1)
    network = encoder.kind(encoder.config).eval()
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize("backbone", SMALL)
def test_features_equal_those_of_the_network_that_was_saved(backbone: str, tmp_path: Path):
    theirs, picture = public(backbone, tmp_path), image(backbone)
    ours = adapted(backbone)
    load_encoder(ours, str(tmp_path))
    more = {"always_partition": True} if backbone == "swin_tiny" else {}
    found = theirs(picture, output_hidden_states=True, **more)
    if backbone == "dinov3_small":
        expected = found.last_hidden_state[:, 5:].transpose(1, 2).unflatten(2, (2, 3))
    elif backbone == "dinov2_small":
        expected = found.last_hidden_state[:, 1:].transpose(1, 2).unflatten(2, (2, 3))
    elif backbone == "swin_tiny":
        expected = found.last_hidden_state.transpose(1, 2).unflatten(2, (2, 3))
    else:
        expected = found.hidden_states[-1]
    assert torch.equal(ours(picture), expected)


@pytest.mark.parametrize("backbone", ["mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5"])
def test_deeper_mits_load_too(backbone: str, tmp_path: Path):
    public(backbone, tmp_path)
    assert check_weights(settings(backbone, tmp_path)) == []


def test_classifier_of_transformers_is_left_out(tmp_path: Path):
    theirs = SegformerForImageClassification(adapted("mit_b0").config).eval()
    theirs.save_pretrained(tmp_path)
    ours = adapted("mit_b0")
    load_encoder(ours, str(tmp_path))
    picture = image("mit_b0")
    assert torch.equal(ours(picture), theirs.segformer(picture).last_hidden_state)


def test_index_that_older_files_of_swin_hold_is_left_out(tmp_path: Path):
    public("swin_tiny", tmp_path)
    index = {"encoder.layers.0.blocks.0.attention.self.relative_position_index": torch.zeros(49, 49, dtype=torch.int64)}
    save_file({**load_file(tmp_path / WEIGHTS), **index}, tmp_path / WEIGHTS)
    assert check_weights(settings("swin_tiny", tmp_path)) == []


def segformer_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as SegFormer's code names them; transformers saves under the names on the left."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".key." in name:
            continue
        if ".value." in name:
            tensor = torch.cat([tensors[name.replace(".value.", ".key.")], tensor])
        for theirs, ours in (
            (r"encoder\.patch_embeddings\.(\d)\.proj", lambda m: f"patch_embed{int(m[1]) + 1}.proj"),
            (r"encoder\.patch_embeddings\.(\d)\.layer_norm", lambda m: f"patch_embed{int(m[1]) + 1}.norm"),
            (r"encoder\.layer_norm\.(\d)", lambda m: f"norm{int(m[1]) + 1}"),
            (r"encoder\.block\.(\d)\.", lambda m: f"block{int(m[1]) + 1}."),
            (r"attention\.self\.query", "attn.q"),
            (r"attention\.self\.value", "attn.kv"),
            (r"attention\.self\.sr", "attn.sr"),
            (r"attention\.self\.layer_norm", "attn.norm"),
            (r"attention\.output\.dense", "attn.proj"),
            (r"layer_norm_(\d)", r"norm\1"),
            (r"mlp\.dense(\d)", r"mlp.fc\1"),
        ):
            name = re.sub(theirs, ours, name)
        found[name] = tensor
    return {**found, "head.weight": torch.zeros(10, 16), "head.bias": torch.zeros(10)}


def test_mit_as_its_own_code_names_it(tmp_path: Path):
    theirs = public("mit_b0", tmp_path)
    assert isinstance(theirs, SegformerModel)
    named = segformer_names(load_file(tmp_path / WEIGHTS))
    assert {"patch_embed1.proj.weight", "block3.1.attn.kv.bias", "block1.0.mlp.dwconv.dwconv.weight"} <= named.keys()
    save_file(named, tmp_path / "original.safetensors")
    ours = adapted("mit_b0")
    load_encoder(ours, str(tmp_path / "original.safetensors"))
    picture = image("mit_b0")
    assert torch.equal(ours(picture), theirs(picture).last_hidden_state)


def test_blue_first_is_turned_round(tmp_path: Path):
    theirs = public("mit_b0", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_mean": [0, 0, 0], "image_std": [1, 1, 1], "do_flip_channel_order": true}'
    )
    ours = build_segmenter(settings("mit_b0", tmp_path), 2, seed=0).eval()
    picture = image("mit_b0")
    torch.testing.assert_close(ours(picture).features_BDhw, theirs(picture.flip(1)).last_hidden_state)


@pytest.mark.parametrize("backbone", SMALL)
def test_what_does_not_match_is_listed_and_nothing_stays_random(backbone: str, tmp_path: Path):
    public(backbone, tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    gone, other = [name for name in tensors if name.endswith("bias") and tensors[name].numel() > 8][3:5]
    del tensors[gone]
    save_file({**tensors, other: torch.zeros(3), "extra": torch.zeros(1)}, tmp_path / WEIGHTS)
    (complaint,) = check_weights(settings(backbone, tmp_path))
    assert re.search(r"missing: \S+; unexpected: extra; different: \S+ \(\[3\], the network has \[\d+\]\)", complaint)
    with pytest.raises(ValueError, match="no tensor may stay random"):
        build_segmenter(settings(backbone, tmp_path), 2, seed=0)


@pytest.mark.parametrize(("backbone", "other"), [("mit_b0", "mit_b1"), ("dinov2_small", "convnext_tiny")])
def test_weights_of_another_network_are_refused(backbone: str, other: str, tmp_path: Path):
    public(backbone, tmp_path)
    (complaint,) = check_weights(settings(other, tmp_path))
    assert "not those of this network" in complaint


# Settings.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"backbone": "mit_b0"}, "output_stride must be 32 with mit_b0, got 8"),
        ({"backbone": "dinov2_base", "output_stride": 16}, "output_stride must be 14 with dinov2_base"),
        ({"backbone": "resnet50", "output_stride": 14}, "output_stride must be 8 or 16 or 32 with resnet50"),
        ({"backbone": "mit_b0", "output_stride": 32, "width": 3}, "width must be even"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        SegmenterSettings(**fields)
