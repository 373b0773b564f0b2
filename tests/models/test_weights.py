"""A network on disk: nothing is lost, and nothing wrong is taken for it."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from models.build import build_segmenter
from models.segmenter import Segmenter
from models.settings import SegmenterSettings
from models.weights import CONFIG, WEIGHTS, load_model, load_tensors, save_model

TINY = SegmenterSettings(backbone="resnet10", width=2, dilations=(1, 2))
SPACE = {"name": "three", "classes": ["road", "sky", "car"]}
PROTOCOL = {"flip": False, "resolution": [1024, 512]}


@pytest.fixture
def network() -> Segmenter:
    network = build_segmenter(TINY, 3, seed=0)
    network(torch.rand(2, 3, 32, 32))  # moves the batch statistics off their first values
    return network.eval()


@pytest.fixture
def folder(network: Segmenter, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", network, TINY, SPACE, PROTOCOL)
    return tmp_path / "model"


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))


def replace_weights(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Exchange the weights together with their hash, as someone who converts a foreign file would."""
    data = safetensors.torch.save(tensors)
    (folder / WEIGHTS).write_bytes(data)
    edit_config(folder, sha256=hashlib.sha256(data).hexdigest())


def test_every_bit_comes_back(network: Segmenter, folder: Path):
    loaded, _ = load_model(folder)
    expected, actual = network.state_dict(), loaded.state_dict()
    assert list(expected) == list(actual)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    assert all(expected[name].dtype == actual[name].dtype for name in expected)
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(network(image).logits_BKhw, loaded(image).logits_BKhw)


def test_configuration_says_how_to_use_the_network(folder: Path):
    _, config = load_model(folder)
    assert config["settings"] == {
        "backbone": "resnet10",
        "width": 2,
        "output_stride": 8,
        "dilations": [1, 2],
        "ceil_pool": True,
        "weights": "none",
    }
    assert config["normalisation"] == {
        "channel_order": "RGB",
        "scale": 1.0,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert (config["schema"], config["label_space"], config["protocol"]) == (1, SPACE, PROTOCOL)


def test_own_normalisation_comes_back(tmp_path: Path):
    save_model(tmp_path, Segmenter(TINY, 3, mean=(0.1, 0.2, 0.3), std=(1, 2, 3)), TINY, SPACE, PROTOCOL)
    loaded, config = load_model(tmp_path)
    assert torch.equal(loaded.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    assert config["normalisation"]["std"] == [1, 2, 3]


def test_channels_last_network_is_saved(network: Segmenter, tmp_path: Path):
    save_model(tmp_path, network.to(memory_format=torch.channels_last), TINY, SPACE, PROTOCOL)
    loaded, _ = load_model(tmp_path)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in network.state_dict().items())


def test_loaded_network_trains(folder: Path):
    loaded, _ = load_model(folder)
    assert not loaded.training
    optimiser = torch.optim.SGD(loaded.train().parameters(), lr=0.1)
    before = {name: weight.clone() for name, weight in loaded.named_parameters()}
    loaded(torch.rand(2, 3, 32, 32)).logits_BKhw.square().sum().backward()
    optimiser.step()
    assert any(not torch.equal(weight, before[name]) for name, weight in loaded.named_parameters())


def test_equal_networks_give_equal_files(network: Segmenter, folder: Path, tmp_path: Path):
    save_model(tmp_path / "again", network, TINY, SPACE, PROTOCOL)
    for name in (WEIGHTS, CONFIG):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_only_the_two_files_remain_and_an_older_model_is_replaced(folder: Path):
    other = build_segmenter(TINY, 3, seed=1)
    save_model(folder, other, TINY, SPACE, PROTOCOL)
    assert sorted(file.name for file in folder.iterdir()) == [CONFIG, WEIGHTS]
    loaded, _ = load_model(folder)
    assert torch.equal(loaded.classifier.branches[0].weight, other.classifier.branches[0].weight)


def test_save_that_dies_while_writing_leaves_the_older_model(folder: Path, monkeypatch: pytest.MonkeyPatch):
    before = (folder / WEIGHTS).read_bytes()

    def die(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", die)
    with pytest.raises(OSError, match="no space"):
        save_model(folder, build_segmenter(TINY, 3, seed=1), TINY, SPACE, PROTOCOL)
    assert (folder / WEIGHTS).read_bytes() == before
    load_model(folder)


def test_save_that_dies_between_the_files_is_told_from_a_good_one(folder: Path, tmp_path: Path):
    save_model(tmp_path / "new", build_segmenter(TINY, 3, seed=1), TINY, SPACE, PROTOCOL)
    (tmp_path / "new" / WEIGHTS).replace(folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"damaged or not the one of its config\.json"):
        load_model(folder)


def test_label_space_of_another_size_is_refused(network: Segmenter, tmp_path: Path):
    with pytest.raises(ValueError, match="2 classes, but the network has 3 outputs"):
        save_model(tmp_path, network, TINY, {"classes": ["road", "sky"]}, PROTOCOL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", [0, 100, -1])
def test_one_flipped_bit_is_noticed(folder: Path, place: int):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[place] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        load_model(folder)


def test_missing_and_unexpected_tensors_are_named(network: Segmenter, folder: Path):
    tensors = dict(network.state_dict())
    tensors["extra.weight"] = tensors.pop("classifier.branches.1.bias")
    replace_weights(folder, tensors)
    expected = r"missing: classifier\.branches\.1\.bias; unexpected: extra\.weight"
    with pytest.raises(ValueError, match=expected):
        load_model(folder)


def test_tensors_of_another_shape_or_type_are_named(network: Segmenter, folder: Path):
    tensors = dict(network.state_dict())
    tensors["classifier.branches.0.bias"] = torch.zeros(4)
    tensors["classifier.branches.1.bias"] = torch.zeros(3).half()
    replace_weights(folder, tensors)
    expected = r"0.bias \(float32 \[4\], the network has float32 \[3\]\), .*1.bias \(float16 \[3\]"
    with pytest.raises(ValueError, match=expected):
        load_model(folder)


def test_long_list_of_names_is_cut(folder: Path):
    edit_config(folder, settings=json.loads((folder / CONFIG).read_text())["settings"] | {"backbone": "resnet18"})
    with pytest.raises(ValueError, match=r"missing: (encoder\S+, ){7}encoder\S+ and \d+ more$"):
        load_model(folder)


def test_module_that_refuses_tensors_keeps_its_own(network: Segmenter):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match="missing"):
        load_tensors(network, {"mean": torch.zeros(1, 3, 1, 1)})
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_pickle_is_refused_unread_with_advice(tmp_path: Path):
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "deeplab.pth"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"refused: bring it in with `convert`"):
        load_model(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2, this version reads 1"),
        ({"settings": {"width": 2}}, "unusable network settings"),
        ({"settings": {"dilations": [6], "depth": 3}}, "unusable network settings: .*depth"),
        ({"settings": {"dilations": [6], "width": 0}}, "width must be at least 1"),
        ({"normalisation": {"channel_order": "BGR"}}, "asks for normalisation .*BGR"),
    ],
)
def test_configuration_that_cannot_be_followed_is_refused(folder: Path, change: dict[str, Any], message: str):
    edit_config(folder, **change)
    with pytest.raises(ValueError, match=message):
        load_model(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": 1}', b"\xff\xfe"])
def test_broken_configuration_is_refused(folder: Path, content: str | bytes):
    (folder / CONFIG).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=CONFIG):
        load_model(folder)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_absent_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(ValueError, match=name):
        load_model(folder)
