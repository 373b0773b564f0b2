"""From a pickle to safetensors, without running what it holds."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.convert import convert
from models.normalisation import KNOWN
from models.pretrained import load_encoder, read_pretrained
from models.resnet import Encoder
from models.settings import SegmenterSettings
from models.weights import CONFIG, WEIGHTS


@pytest.fixture
def tensors(public: Any) -> dict[str, torch.Tensor]:
    return public.torchvision("resnet18").state_dict()


def saved(content: object, tmp_path: Path, **how: Any) -> Path:
    path = tmp_path / "public.pth"
    torch.save(content, path, **how)
    return path


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
def test_tensors_keep_names_and_values_and_load(
    tensors: dict[str, torch.Tensor], tmp_path: Path, nest: str | None, how: dict[str, Any]
):
    source = saved({nest: tensors, "epoch": 3} if nest else tensors, tmp_path, **how)
    config = convert(source, tmp_path / "out")
    found = load_file(tmp_path / "out" / WEIGHTS)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert config["layout"] == "torchvision"
    load_encoder(Encoder(SegmenterSettings(backbone="resnet18", width=4)), str(tmp_path / "out"))


def test_record_holds_both_hashes(tensors: dict[str, torch.Tensor], tmp_path: Path):
    source = saved(tensors, tmp_path)
    config = convert(source, tmp_path / "out")
    assert config == json.loads((tmp_path / "out" / CONFIG).read_text())
    assert config["source"] == {"file": "public.pth", "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    assert config["sha256"] == hashlib.sha256((tmp_path / "out" / WEIGHTS).read_bytes()).hexdigest()


def test_normalisation_is_that_of_the_layout_or_as_said(public: Any, tensors: dict[str, torch.Tensor], tmp_path: Path):
    for content, said, expected in (
        (tensors, "auto", "imagenet"),
        (public.caffe(tensors), "auto", "caffe"),
        (tensors, "caffe", "caffe"),
        (public.caffe(tensors), "imagenet", "imagenet"),
    ):
        convert(saved(content, tmp_path), tmp_path / "out", said)
        assert read_pretrained(str(tmp_path / "out")).normalisation == KNOWN[expected]


def test_tensors_that_share_memory_or_are_turned_are_written_whole(tensors: dict[str, torch.Tensor], tmp_path: Path):
    shared = {**tensors, "layer1.0.bn1.bias": tensors["layer1.0.bn1.weight"], "fc.weight": tensors["fc.weight"].T}
    convert(saved(shared, tmp_path), tmp_path / "out")
    found = load_file(tmp_path / "out" / WEIGHTS)
    assert all(torch.equal(found[name], tensor) for name, tensor in shared.items())


class Trap:
    """What it touches when it is unpickled in full."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_pickle_is_not_run(tensors: dict[str, torch.Tensor], tmp_path: Path, write: Any):
    write({**tensors, "trap": Trap(tmp_path / "sprung")}, tmp_path / "public.pth")
    with pytest.raises(ValueError, match="cannot be read as tensors alone") as caught:
        convert(tmp_path / "public.pth", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02.", b"nonsense", bytes(range(256))])
def test_broken_files_are_one_sentence(tmp_path: Path, content: bytes):
    (tmp_path / "public.pth").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as tensors alone") as caught:
        convert(tmp_path / "public.pth", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_cut_file_is_one_sentence(tensors: dict[str, torch.Tensor], tmp_path: Path):
    source = saved(tensors, tmp_path)
    source.write_bytes(source.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="cannot be read as tensors alone"):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize("content", [{}, {"head.weight": torch.zeros(1)}, [torch.zeros(1)], torch.zeros(1), {"a": 1}])
def test_pickle_of_something_else_is_refused(tmp_path: Path, content: object):
    with pytest.raises(ValueError, match="holds another kind of network"):
        convert(saved(content, tmp_path), tmp_path / "out")


def test_missing_file_and_unknown_normalisation_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        convert(tmp_path / "absent.pth", tmp_path / "out")
    with pytest.raises(ValueError, match="must be auto, imagenet or caffe"):
        convert(tmp_path / "absent.pth", tmp_path / "out", "bgr")
