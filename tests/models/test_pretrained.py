"""Weights from outside: every public layout, exact features, normalisation that comes along, and refusals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import Tensor
from transformers import ConvNextImageProcessor
from transformers.models.resnet.modeling_resnet import ResNetForImageClassification

import models.pretrained
from models.build import build_segmenter, check_weights
from models.pretrained import PREPROCESSOR, load_encoder, pretrained_record, read_pretrained
from models.resnet import Encoder
from models.segmenter import IMAGENET_MEAN, Segmenter
from models.settings import SegmenterSettings
from models.weights import CONFIG, WEIGHTS, load_model, save_model

BACKBONES = ["resnet18", "resnet50"]
WIDTH = 4
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def settings(weights: Path | str, backbone: Any = "resnet18", **fields: Any) -> SegmenterSettings:
    plain = {"width": WIDTH, "output_stride": 32, "ceil_pool": False, "dilations": (1, 2)}
    return SegmenterSettings(backbone=backbone, weights=str(weights), **{**plain, **fields})


def write(folder: Path, tensors: dict[str, Tensor], **files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def folder(public: Any, tmp_path: Path) -> Path:
    """A ResNet-18 as torchvision names it."""
    return write(tmp_path / "weights", public.torchvision("resnet18").state_dict())


def features(network: Segmenter, image: Tensor) -> Tensor:
    return network.eval()(image).features_BDhw


@pytest.mark.parametrize("backbone", BACKBONES)
def test_features_equal_those_of_the_network_that_transformers_saved(public: Any, backbone: str, tmp_path: Path):
    theirs = public.transformers(backbone)
    theirs.save_pretrained(tmp_path)
    ours = Encoder(settings("none", backbone)).eval()
    load_encoder(ours, str(tmp_path))
    image = torch.randn(2, 3, 64, 96)
    assert torch.equal(ours(image), theirs(image).last_hidden_state)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_classifier_of_transformers_is_left_out(public: Any, backbone: str, tmp_path: Path):
    theirs = public.transformers(backbone, ResNetForImageClassification)
    theirs.save_pretrained(tmp_path)
    ours = Encoder(settings("none", backbone)).eval()
    load_encoder(ours, str(tmp_path))
    image = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(image), theirs.resnet(image).last_hidden_state)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_features_equal_those_of_the_network_that_torchvision_names(public: Any, backbone: str, tmp_path: Path):
    theirs = public.torchvision(backbone)
    ours = Encoder(settings("none", backbone)).eval()
    load_encoder(ours, str(write(tmp_path / "w", theirs.state_dict())))
    image = torch.randn(2, 3, 64, 96)
    assert torch.equal(ours(image), theirs(image))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_rgb_in_our_network_gives_what_bgr_bytes_gave_in_that_of_caffe(public: Any, backbone: str, tmp_path: Path):
    theirs = public.torchvision(backbone).double()
    weights = write(tmp_path / "w", public.caffe(public.torchvision(backbone).state_dict()))
    ours = build_segmenter(settings(weights, backbone), 5, seed=0).double()
    theirs.load_state_dict({k.removeprefix("Scale."): v for k, v in caffe_tensors(weights).items()}, strict=False)
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    blue_first = 255 * image.flip(1) - torch.tensor([104.007, 116.669, 122.679]).double().view(3, 1, 1)
    # The buffers are float32: their rounding is all that differs.
    torch.testing.assert_close(features(ours, image), theirs(blue_first), rtol=1e-6, atol=1e-6)


def caffe_tensors(weights: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return {k: v for k, v in load_file(weights / WEIGHTS).items() if "layer5" not in k}


def test_own_model_folders_begin_a_training_too(tmp_path: Path):
    first = build_segmenter(settings("none"), 5, seed=0)
    first.normalise_with((0.1, 0.2, 0.3), (1, 2, 3))
    save_model(tmp_path, first, settings("none"), {"classes": list("abcde")}, {})
    second = build_segmenter(settings(tmp_path), 7, seed=1)
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(features(first.eval(), image), features(second, image))
    assert second.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_dilated_network_reads_the_same_weights(folder: Path):
    network = build_segmenter(settings(folder, output_stride=8), 5, seed=0)
    assert features(network, torch.rand(1, 3, 64, 64)).shape == (1, 8 * WIDTH, 8, 8)


def test_classifier_and_random_numbers_are_those_of_the_seed(folder: Path):
    with_weights, without = (build_segmenter(settings(w), 5, seed=3) for w in (folder, "none"))
    for name, tensor in without.classifier.state_dict().items():
        assert torch.equal(with_weights.classifier.state_dict()[name], tensor)
    assert not torch.equal(
        with_weights.encoder.state_dict()["embedder.embedder.convolution.weight"],
        without.encoder.state_dict()["embedder.embedder.convolution.weight"],
    )


def test_loaded_weights_can_be_trained(folder: Path):
    network = build_segmenter(settings(folder), 5, seed=0)
    network(torch.rand(2, 3, 64, 64)).logits_BKhw.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_file_may_be_named_and_half_precision_becomes_full(public: Any, tmp_path: Path):
    theirs = public.torchvision("resnet18").half()
    weights = write(tmp_path / "w", theirs.state_dict()) / WEIGHTS
    network = build_segmenter(settings(weights), 5, seed=0)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


# Normalisation.


def test_without_a_word_on_it_normalisation_is_that_of_imagenet(folder: Path):
    network = build_segmenter(settings(folder), 5, seed=0)
    assert network.mean.flatten().tolist() == pytest.approx(IMAGENET_MEAN)


def test_preprocessor_beside_the_weights_is_followed(folder: Path):
    ConvNextImageProcessor(image_mean=[0.5, 0.4, 0.3], image_std=[0.1, 0.2, 0.3]).save_pretrained(folder)
    network = build_segmenter(settings(folder), 5, seed=0)
    assert network.mean.flatten().tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert network.std.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_normalisation_outlives_saving_and_loading(public: Any, tmp_path: Path):
    weights = write(tmp_path / "w", public.caffe(public.torchvision("resnet18").state_dict()))
    chosen = settings(weights)
    network = build_segmenter(chosen, 2, seed=0)
    record = pretrained_record(chosen)
    save_model(tmp_path / "model", network, chosen, {"classes": ["a", "b"]}, {}, record)
    loaded, config = load_model(tmp_path / "model")
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(features(loaded, image), features(network, image))
    assert config["pretrained"] == json.loads(json.dumps(record))
    assert record["normalisation"]["channel_order"] == "BGR"
    assert record["weights"] == str(weights)


@pytest.mark.parametrize(
    ("name", "content"), [(PREPROCESSOR, "{"), (PREPROCESSOR, "[]"), (PREPROCESSOR, '{"size": 1}')]
)
def test_unusable_preprocessor_is_named(folder: Path, name: str, content: str):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}|unusable normalisation"):
        read_pretrained(str(folder))


# What enters the outcome.


def test_record_changes_with_the_content_of_the_file(public: Any, folder: Path):
    before = pretrained_record(settings(folder))
    tensors = public.torchvision("resnet18").state_dict()
    write(folder, {**tensors, "conv1.weight": tensors["conv1.weight"] + 1})
    after = pretrained_record(settings(folder))
    assert before["weights"] == after["weights"]
    assert before["sha256"] != after["sha256"]
    assert pretrained_record(settings("none")) == {}


# Refusals.


def refusal(weights: Path | str, **fields: Any) -> str:
    """What is said of weights that do not fit; nothing else may come of them."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        build_segmenter(settings(weights, **fields), 5, seed=0)
    (complaint,) = check_weights(settings(weights, **fields))
    assert complaint == f"model.weights: {caught.value}"
    assert "\n" not in complaint
    return complaint


def test_missing_left_over_and_misshapen_tensors_are_all_named(public: Any, tmp_path: Path):
    tensors = public.torchvision("resnet18").state_dict()
    del tensors["layer4.1.conv2.weight"]
    tensors["layer4.2.conv1.weight"] = torch.zeros(1)
    tensors["bn1.bias"] = torch.zeros(WIDTH + 1)
    complaint = refusal(write(tmp_path / "w", tensors))
    assert "missing: encoder.stages.3.layers.1.layer.1.convolution.weight" in complaint
    assert "unexpected: encoder.stages.3.layers.2.layer.0.convolution.weight" in complaint
    assert "embedder.embedder.normalization.bias (float32 [5], the network has float32 [4])" in complaint
    assert "no tensor may stay random" in complaint


@pytest.mark.parametrize("change", [{"backbone": "resnet34"}, {"backbone": "resnet50"}, {"width": 8}])
def test_weights_of_another_network_are_refused(folder: Path, change: dict[str, Any]):
    assert "not those of this network" in refusal(folder, **change)


def test_random_is_never_silent(tmp_path: Path):
    assert "holds another kind of network" in refusal(write(tmp_path / "w", {"head.weight": torch.zeros(1)}))


def test_what_does_not_exist_is_refused_with_what_could_be_named(tmp_path: Path):
    for name in (str(tmp_path / "absent"), "microsoft/resnet-18"):
        complaint = refusal(name)
        assert "does not exist" in complaint
        assert "owner/name@COMMIT" in complaint


def test_pickles_are_refused_unread(tmp_path: Path):
    (tmp_path / "resnet.pth").write_bytes(b"never read")
    assert "`convert`" in refusal(tmp_path / "resnet.pth")


def test_broken_files_are_named(folder: Path):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-5])
    assert WEIGHTS in refusal(folder)


def test_hash_beside_the_weights_is_checked(folder: Path):
    (folder / CONFIG).write_text(json.dumps({"sha256": "0" * 64}))
    assert "damaged" in refusal(folder)


# The hub.


@pytest.mark.parametrize("weights", ["microsoft/resnet-50@main", "owner/name@0123abc", "owner/name@"])
def test_hub_model_without_its_commit_is_refused(weights: str):
    with pytest.raises(ValueError, match="name the commit's 40 digits"):
        settings(weights)


def test_weights_must_say_none_in_words():
    with pytest.raises(ValueError, match="weights must say none"):
        settings("")


def test_hub_is_asked_for_that_commit_and_for_no_pickle(folder: Path, monkeypatch: pytest.MonkeyPatch):
    asked: dict[str, Any] = {}

    def download(name: str, **how: Any) -> str:
        asked.update(how, name=name)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    build_segmenter(settings(f"owner/resnet-18@{COMMIT}"), 5, seed=0)
    assert (asked["name"], asked["revision"]) == ("owner/resnet-18", COMMIT)
    assert all(name.endswith((".safetensors", ".json")) for name in asked["allow_patterns"])


def test_hub_that_cannot_be_reached_or_holds_no_weights_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("no connection\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    assert "cannot be had from the hub (LocalEntryNotFoundError: no connection)" in refusal(f"owner/name@{COMMIT}")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    assert "holds no model.safetensors" in refusal(f"owner/name@{COMMIT}")


def test_what_was_fetched_before_is_found_again_offline(public: Any, folder: Path, tmp_path: Path):
    snapshot = tmp_path / "cache" / "models--owner--name" / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    code = (
        "from models.pretrained import read_pretrained; "
        f"print(read_pretrained('owner/name@{COMMIT}').sha256); read_pretrained('owner/name@{COMMIT[::-1]}')"
    )
    root = Path(models.pretrained.__file__).parents[1]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == read_pretrained(str(folder)).sha256
    assert f"ValueError: owner/name@{COMMIT[::-1]} cannot be had from the hub" in done.stderr
