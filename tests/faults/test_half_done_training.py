"""A training that diverges, is stopped, or finds checkpoints of another: nothing wrong is kept or gone on with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.build import build_segmenter
from models.settings import SegmenterSettings
from models.weights import WEIGHTS
from orchestrator.train import agreement
from pipelines.source_only import SourceOnly
from tests.conftest import digests

pytestmark = pytest.mark.without_ray

STEPS = 9
SETTINGS = {"source.steps": STEPS, "source.checkpoint_every": 2, "source.log_every": 5, "panels": 0}


@pytest.fixture(scope="module")
def words(tiny) -> Callable[..., list[str]]:
    return lambda name, **changes: [*tiny(SourceOnly, **{**SETTINGS, **changes}), "--name", name]


@pytest.fixture(scope="module")
def undisturbed(desk, words) -> Path:
    desk.carry_out("source_only", *words("whole"))
    return desk.runs / "whole"


@pytest.fixture
def at_step(monkeypatch):
    """Do something in one step: it gets the loss and the segmenter, and returns the loss."""
    honest = SourceOnly.source_alone

    def arrange(number: int, act: Callable[[torch.Tensor, torch.nn.Module], torch.Tensor]) -> None:
        steps = iter(range(1, 100))

        def step(self, nets, batch, draw):
            for names, loss, terms in honest(self, nets, batch, draw):
                yield names, act(loss, nets["segmenter"]) if next(steps) == number else loss, terms

        monkeypatch.setattr(SourceOnly, "source_alone", step)

    return arrange


def bad_gradient(loss, segmenter):
    """A loss as it was, with a gradient that is NaN."""
    return loss + (next(segmenter.parameters()) * 0).sqrt().sum() * 0


def bad_loss(loss, segmenter):
    return loss / 0


def stage_of(run: Path) -> Path:
    return run / "stages" / "00-source"


def saved(run: Path) -> list[str]:
    return sorted(path.name for path in (stage_of(run) / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("act", [bad_gradient, bad_loss])
@pytest.mark.parametrize("number", [4, 7, STEPS])
def test_bad_number_stops_the_run_at_its_step_and_is_in_no_file(number, act, at_step, desk, words, undisturbed):
    name = f"diverged-{number}-{act.__name__}"
    run = desk.runs / name
    with pytest.MonkeyPatch.context():
        at_step(number, act)
        printed = desk.carry_out("source_only", *words(name), code=1)
    what = "gradient of segmenter" if act is bad_gradient else "loss"
    assert f"step {number}: {what}" in printed
    assert saved(run)[-1] == f"step-{(number - 1) // 2 * 2:08d}"
    for path in run.rglob("*.safetensors"):
        assert all(value.isfinite().all() for value in load_file(path).values())
    assert not (stage_of(run) / "model").exists()
    assert not (stage_of(run) / "done.json").exists()
    told = json.loads((stage_of(run) / "diverged-0.json").read_text(), parse_constant=pytest.fail)
    assert (told["step"], told["micro_batch"], told["rank"]) == (number, number - 1, 0)
    assert len(told["source"]) == 4
    assert all(identity.startswith("game") for identity in told["source"])
    assert told["target"] == []
    assert told["values"][what] in ("nan", "inf")
    assert told["values"]["seg_source"] > 0


def test_run_that_diverged_goes_on_from_before_it_once_the_cause_is_gone(at_step, desk, words, undisturbed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SourceOnly, "source_alone", SourceOnly.source_alone)
        at_step(7, bad_gradient)
        desk.carry_out("source_only", *words("mended"), code=1)
    printed = desk.carry_out("source_only", *words("mended"))
    assert "source: continuing from step 6" in printed
    assert digests(desk.runs / "mended") == digests(undisturbed)
    assert not list(desk.runs.glob("mended/stages/*/diverged*"))


@pytest.mark.parametrize("value", ["inf", "nan", "1e999"])
@pytest.mark.parametrize("setting", ["source.lr", "source.weight_decay", "source.power", "augment.scale_max"])
def test_setting_that_is_not_finite_is_refused(setting, value, desk, words):
    printed = desk.carry_out("source_only", *words("infinite"), f"--{setting}", value, code=2)
    assert f"{setting}: " in printed
    assert not (desk.runs / "infinite").exists()


@pytest.fixture
def stopped(desk, words, at_step, monkeypatch) -> Callable[..., Path]:
    """A run that a signal stopped in the training's seventh step, which is neither logged nor saved otherwise."""

    def make(name: str, number: signal.Signals = signal.SIGTERM, **changes: object) -> Path:
        def act(loss, segmenter):
            os.kill(os.getpid(), number)
            asked = stage_of(desk.runs / name) / "STOP"
            while not asked.exists():
                time.sleep(0.001)
            return loss

        with monkeypatch.context() as patch:
            patch.setattr(agreement, "ASK_S", 0.0)
            patch.setattr(SourceOnly, "source_alone", SourceOnly.source_alone)
            at_step(7, act)
            printed = desk.carry_out("source_only", *words(name, **changes), code=128 + number)
        assert "Stopped; what was done is kept. Continue with:\n  python" in printed
        return desk.runs / name

    return make


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_training_ends_in_the_step_of_the_signal_and_goes_on_bit_for_bit(number, stopped, desk, words, undisturbed):
    run = stopped(f"stopped-{number.name}", number)
    assert saved(run) == ["step-00000006", "step-00000007"]
    lines = (stage_of(run) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 5, 6]
    printed = desk.carry_out("source_only", *words(run.name))
    assert "source: continuing from step 7" in printed
    assert digests(run) == digests(undisturbed)


def test_line_of_the_log_that_was_begun_is_gone_on_with(stopped, desk, words):
    """With nothing due between the fifth step and the last: the line after the stop averages steps 6 to 9."""
    rarely = {"source.checkpoint_every": 100}
    desk.carry_out("source_only", *words("whole-rarely", **rarely))
    run = stopped("stopped-rarely", **rarely)
    assert saved(run) == ["step-00000007"]
    desk.carry_out("source_only", *words(run.name, **rarely))
    assert digests(run) == digests(desk.runs / "whole-rarely")


def test_checkpoint_of_other_settings_is_refused_where_the_configuration_is_lost(stopped, desk, words):
    run = stopped("lost-config")
    (run / "config.yaml").unlink()
    before = saved(run)
    printed = desk.carry_out("source_only", *words(run.name, **{"source.lr": 1e-2}), code=2)
    assert "belongs to another training than the one that is to be continued:" in printed
    assert "settings.lr: was 0.002, now 0.01" in printed
    assert saved(run) == before


def test_checkpoint_of_another_stage_is_refused(stopped, desk, tiny):
    run = stopped("other-stage")
    words = [*tiny(), "--name", "thief"]
    (desk.runs / "thief" / "stages" / "00-source").mkdir(parents=True)
    shutil.copytree(stage_of(run) / "checkpoints", desk.runs / "thief" / "stages" / "00-source" / "checkpoints")
    printed = desk.carry_out("drsl", *words, code=2)
    assert "belongs to another training" in printed


def test_emptied_checkpoints_are_no_fresh_start(stopped, desk, words, undisturbed):
    run = stopped("emptied")
    shutil.rmtree(stage_of(run) / "checkpoints")
    printed = desk.carry_out("source_only", *words(run.name), code=2)
    assert "shows step 6, but its checkpoints are gone" in printed
    shutil.rmtree(stage_of(run))
    desk.carry_out("source_only", *words(run.name))
    assert digests(run) == digests(undisturbed)


def test_finished_training_that_was_damaged_begins_again(desk, words, undisturbed):
    desk.carry_out("source_only", *words("damaged"))
    weights = stage_of(desk.runs / "damaged") / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    printed = desk.carry_out("source_only", *words("damaged"))
    assert "source: continuing from its beginning" in printed
    assert digests(desk.runs / "damaged") == digests(undisturbed)


def test_weights_replaced_under_the_same_path_are_not_gone_on_with(stopped, desk, words, undisturbed, tmp_path):
    encoder = build_segmenter(SegmenterSettings(backbone="resnet10", width=8), 2, seed=7).encoder
    save_file(encoder.state_dict(), tmp_path / WEIGHTS)
    weights = {"model.weights": str(tmp_path)}
    run = stopped("weights", **weights)
    before = saved(run)
    save_file({name: value * 2 for name, value in encoder.state_dict().items()}, tmp_path / WEIGHTS)
    printed = desk.carry_out("source_only", *words(run.name, **weights), code=2)
    assert "pretrained.sha256: was" in printed
    assert saved(run) == before
