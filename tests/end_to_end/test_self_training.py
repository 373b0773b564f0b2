"""With every weight of its own at 0, DRSL is class-balanced self-training: against slow versions written here."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from domains.batches.crop import RandomCrop
from domains.batches.microbatches import MicroBatches
from domains.batches.order import seed_of
from domains.batches.photometric import photometric
from domains.batches.style_transfer import mix_translated
from domains.stores.pseudo_labels import PseudoLabelled, PseudoLabels
from domains.toycity.reader import ToyCity
from models.weights import load_model
from orchestrator.contract.config import read_file, read_settings
from orchestrator.mapreduce.inference import Predictor
from orchestrator.run.context import open_domains
from pipelines.cbst import Cbst
from pipelines.drsl import Drsl
from tests.conftest import digests

CLOSE = 3e-3
"""A bin of the histogram of confidences, in log-probability: what the choice of thresholds rounds."""


@pytest.fixture(scope="module")
def run(desk, tiny, finished):
    """Two rounds of self-training on the finished run's source network."""
    changes = {f"loss__{name}": 0 for name in ("triplet", "mixture", "consistency")}
    words = tiny(**changes, pseudo__rounds=2, adapt__steps=4)
    printed = desk.carry_out("drsl", *words, "--name", "cbst", "--reuse", str(finished.folder))
    for stage in ("source", "source-only", "label-0"):
        assert f"{stage}: taken over from" in printed
    return desk.runs / "cbst"


@pytest.fixture(scope="module")
def settings(run):
    flags = read_file(run / "config.yaml")
    flags.pop("method")
    return read_settings(Drsl, flags)


def test_it_calls_itself_self_training_and_trains_no_other_network(run):
    assert json.loads((run / "summary.json").read_text())["title"] == "self-training (CBST)"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    terms = {name for line in lines if line["stage"].startswith("adapt") for name in line}
    assert terms == {"stage", "step", "lr", "seg_source", "seg_target"}
    assert list(run.rglob("mmdl.safetensors")) == []


@pytest.mark.parametrize(
    ("labels", "labeller", "portion"), [("label-0", "00-source", 0.2), ("label-1", "03-adapt-0", 0.25)]
)
def test_pseudo_labels_are_those_of_slow_class_balanced_selection(labels, labeller, portion, run, upsample):
    city = ToyCity("street", "train", 8, 64, 128)
    predictor = Predictor(run / "stages" / labeller / "model")
    probability = []
    for index in range(len(city)):
        logits = predictor.views(city.image(index))[0].half().numpy()
        exponential = np.exp(upsample(logits, (64, 128)))
        probability.append(exponential / exponential.sum(0))
    probability_NKHW = np.stack(probability)
    winner_NHW, confidence_NHW = probability_NKHW.argmax(1), probability_NKHW.max(1)
    excess_NKHW = np.full_like(probability_NKHW, -np.inf)
    for k in range(12):
        ranked = np.sort(confidence_NHW[winner_NHW == k])[::-1]
        taken = int(portion * len(ranked) + 1e-6)
        threshold = ranked[taken - 1] if taken else 1.0
        excess_NKHW[:, k] = np.log(probability_NKHW[:, k]) - np.log(threshold)
    expected = np.where(excess_NKHW.max(1) >= 0, excess_NKHW.argmax(1), 255)
    (folder,) = run.glob(f"stages/*-{labels}")
    store = PseudoLabels(folder)
    found = np.stack([store.label(name).numpy() for name in city.ids])
    second, first = np.sort(excess_NKHW, axis=1)[:, -2:].swapaxes(0, 1)
    undecided = (abs(first) < CLOSE) | ((first > -CLOSE) & (first - second < CLOSE))
    assert (found == expected)[~undecided].all()
    assert (found != expected).mean() < 0.01
    assert 0.1 < (expected != 255).mean() < 0.5


def test_adaptation_is_plain_training_on_both_domains(run, settings):
    network, _ = load_model(run / "stages" / "00-source" / "model")
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=5e-3, momentum=0.9, weight_decay=settings.adapt.weight_decay)
    domains = open_domains(settings)
    (labels,) = run.glob("stages/*-label-0")
    target = PseudoLabelled(domains.target, PseudoLabels(labels))
    feed = MicroBatches(domains.source, target, RandomCrop(settings.augment), (2, 2), (0, "adapt-0"))
    for step in range(4):
        batch = feed[step].to(torch.device("cpu"))
        draw = torch.Generator().manual_seed(seed_of(0, "adapt-0", "step", step))
        source = mix_translated(batch.source.image, batch.target.image, settings.isa, draw)
        image = photometric(torch.cat([source, batch.target.image]), settings.augment, draw)
        logits = F.interpolate(network(image).logits_BKhw, (48, 96), mode="bilinear", align_corners=True)
        loss = sum(
            F.cross_entropy(part, label, ignore_index=255)
            for part, label in zip(logits.split(2), (batch.source.label, batch.target.pseudo_label), strict=True)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    (folder,) = run.glob("stages/*-adapt-0")
    trained, start = (load_model(path / "model")[0].state_dict() for path in (folder, run / "stages" / "00-source"))
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=1e-3, atol=1e-4)
    moved = max(float((trained[name] - start[name]).abs().max()) for name in trained)
    assert moved > 1e-2


def test_the_pipeline_of_that_name_comes_out_the_same_bit_for_bit(desk, tiny, finished, run):
    words = tiny(Cbst, pseudo__rounds=2, adapt__steps=4)
    printed = desk.carry_out("cbst", *words, "--name", "by-its-name", "--reuse", str(finished.folder))
    assert "source: taken over from" in printed
    own = desk.runs / "by-its-name"
    assert json.loads((own / "summary.json").read_text())["title"] == "CBST"
    assert digests(own) == digests(run)
