"""Networks that learn in turn, each with its own optimiser: killed and continued as if nothing had happened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models.weights import load_model
from pipelines.adaptsegnet import AdaptSegNet
from tests.conftest import digests, end


@pytest.fixture(scope="module")
def words(tiny) -> list[str]:
    # In half precision, whatever the machine would choose; with the averages of batch normalisation kept.
    return tiny(AdaptSegNet, adapt__steps=6, discriminator__width=4, adapt__batchnorm="eval", compute__precision="bf16")


@pytest.fixture(scope="module")
def undisturbed(desk, words) -> Path:
    desk.carry_out("adaptsegnet", *words, "--name", "in-turn")
    return desk.runs / "in-turn"


def test_both_sides_learn_and_the_run_says_what_it_found(undisturbed):
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert summary["title"] == "AdaptSegNet"
    assert summary["rounds"] == []
    assert {"source_only", "adapted"} <= set(summary)
    lines = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    terms = {name for line in lines if line["stage"] == "adapt" for name in line}
    turns = ("adversarial", "adversarial_auxiliary", "discriminator", "discriminator_auxiliary")
    assert terms == {"stage", "step", "lr", "seg_source", "seg_auxiliary", *turns}
    kept = {path.stem for path in undisturbed.glob("stages/*-adapt/networks/*.safetensors")}
    assert kept == {"auxiliary", "discriminator", "discriminator_auxiliary"}
    assert (undisturbed / "report.html").exists()


def test_averages_of_batch_normalisation_that_are_kept_are_those_of_the_source_network(undisturbed):
    before, after = (load_model(next(undisturbed.glob(f"stages/*-{s}")) / "model")[0] for s in ("source", "adapt"))
    kept = {name for name, _ in before.named_buffers() if "running" in name}
    assert kept
    old, new = before.state_dict(), after.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in kept)
    assert not any(torch.equal(old[name], new[name]) for name, _ in before.named_parameters())


def test_a_run_that_was_killed_ends_as_one_that_was_not(desk, words, undisturbed):
    run = desk.runs / "in-turn-killed"
    again = [*words, "--name", run.name]
    command = desk.start("adaptsegnet", *again)
    command.until(lambda: list(run.glob("stages/*-adapt/checkpoints/step-*/COMPLETE")))
    end(command.kill())
    assert not (run / "summary.json").exists()
    printed = desk.start("adaptsegnet", *again).ends()
    assert "adapt: continuing from step" in printed
    assert digests(run) == digests(undisturbed)
