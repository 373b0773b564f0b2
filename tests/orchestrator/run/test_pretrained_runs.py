"""Pretrained weights in a run: checked before it starts, part of what decides a stage's outcome."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.build import build_segmenter
from models.settings import SegmenterSettings
from models.weights import WEIGHTS
from orchestrator import cli
from orchestrator.base.errors import UserError
from orchestrator.contract.flags import RunFlags
from orchestrator.contract.stages import Train
from orchestrator.run.fingerprint import fingerprints_of
from pipelines.drsl import PRESETS, Drsl

STANDARD = {"model.backbone": "resnet10", "model.width": "16"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    encoder = build_segmenter(SegmenterSettings(backbone="resnet10", width=16), 2, seed=7).encoder
    save_file(encoder.state_dict(), tmp_path / WEIGHTS)
    return tmp_path


def settings_of(**changes: str) -> Drsl:
    given = {**STANDARD, **{f"model.{name}": value for name, value in changes.items()}}
    method = cli._settings(Drsl, PRESETS, RunFlags(preset="toy"), given, [])
    assert isinstance(method, Drsl)
    return method


def fingerprints(method: Drsl) -> dict[str, str]:
    stages = [stage for stage in method.stages(sizes=None) if isinstance(stage, Train)]  # type: ignore[arg-type]
    return fingerprints_of(stages[:1], method)


def test_relative_path_is_made_absolute_and_the_network_begins_there(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent)
    method = settings_of(weights=folder.name)
    assert method.model.weights == str(folder)
    network = method.networks(3)["segmenter"].state_dict()
    assert all((network[f"encoder.{name}"] == tensor).all() for name, tensor in load_file(folder / WEIGHTS).items())


@pytest.mark.parametrize("change", [{"backbone": "resnet18"}, {"width": "8"}, {"weights": "absent"}])
def test_weights_that_do_not_fit_are_a_mistake_of_the_user(folder: Path, change: dict[str, str]):
    with pytest.raises(UserError, match="settings cannot be used") as caught:
        settings_of(**{"weights": str(folder), **change})
    (detail,) = caught.value.details
    assert detail.startswith("model.weights: ")


def test_content_of_the_weights_decides_the_outcome_of_training(folder: Path):
    random, before = fingerprints(settings_of()), fingerprints(settings_of(weights=str(folder)))
    tensors = load_file(folder / WEIGHTS)
    tensors["embedder.embedder.convolution.weight"] += 1
    save_file(tensors, folder / WEIGHTS)
    after = fingerprints(settings_of(weights=str(folder)))
    assert len({random["source"], before["source"], after["source"]}) == 3
    assert after == fingerprints(settings_of(weights=str(folder)))


def test_convert_brings_a_pickle_into_a_folder_that_a_run_begins_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    encoder = build_segmenter(SegmenterSettings(backbone="resnet10", width=16), 2, seed=7).encoder
    torch.save(encoder.state_dict(), tmp_path / "public.pth")
    words = ["convert", "--weights", str(tmp_path / "public.pth"), "--out", str(tmp_path / "weights")]
    with pytest.raises(SystemExit) as ended:
        cli.main(Drsl, PRESETS, words)
    assert ended.value.code == 0
    assert "transformers layout, RGB" in capsys.readouterr().out
    assert settings_of(weights=str(tmp_path / "weights")).model.pretrained


def test_convert_refuses_a_bad_pickle_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "public.pth").write_bytes(b"nonsense")
    with pytest.raises(SystemExit) as ended:
        cli.main(Drsl, PRESETS, ["convert", "--weights", str(tmp_path / "public.pth"), "--out", str(tmp_path / "out")])
    assert ended.value.code == cli.USER_ERROR
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
