"""Soft labels under a spatial prior: against slow versions written here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from domains.pseudo.spatial_prior import log_spatial_prior
from domains.stores.pseudo_labels import PseudoLabels, read_manifest
from domains.toycity.reader import ToyCity
from orchestrator.mapreduce.inference import Predictor
from orchestrator.mapreduce.labelling import COUNTS
from pipelines.crst import Crst

SIZE = (64, 128)
CITY_IDS = (0, 1, 2, 4, 5, 7, 8, 10, 11, 12, 13, 18)
"""Ids in Cityscapes of the toy city's classes."""
ALPHA = 0.25


@pytest.fixture(scope="module")
def run(desk, tiny, finished) -> Path:
    words = tiny(
        Crst,
        regulariser="lrent",
        adapt__steps=4,
        pseudo__spatial_prior=True,
        pseudo__mining=0.8,
        pseudo__rare=0.05,
        pseudo__source_portion=0.5,
    )
    printed = desk.carry_out("crst", *words, "--name", "soft", "--reuse", str(finished.folder))
    assert "source: taken over from" in printed
    return desk.runs / "soft"


@pytest.fixture(scope="module")
def store(run) -> Path:
    (folder,) = run.glob("stages/*-label-0")
    return folder


@pytest.fixture(scope="module")
def probability_NKHW(run, upsample) -> np.ndarray:
    """Of the target images, weighted by where the source's labels lie."""
    game = ToyCity("game", "train", 8, *SIZE)
    counts = np.zeros((12, 32, 64), dtype=np.int64)
    for index in range(len(game)):
        label = game.label(index).numpy()
        for k, city_id in enumerate(CITY_IDS):
            counts[k] += (label == city_id).reshape(32, 2, 64, 2).sum((1, 3))
    prior = log_spatial_prior(counts)
    street, predictor = ToyCity("street", "train", 8, *SIZE), Predictor(run / "stages" / "00-source" / "model")
    found = []
    for index in range(len(street)):
        (logits,) = predictor.views(street.image(index))
        grid = torch.nn.functional.interpolate(prior[None], logits.shape[1:], mode="bilinear")[0]
        scores = np.exp(upsample((logits + grid).half().numpy(), SIZE))
        found.append(scores / scores.sum(0))
    return np.stack(found)


def test_labels_are_those_of_the_published_rule(store, probability_NKHW):
    manifest = read_manifest(store)
    threshold_K = np.array(list(manifest.thresholds.values()))
    ratio = probability_NKHW / threshold_K[:, None, None]
    soft = ratio ** (1 / ALPHA)
    soft /= soft.sum(1, keepdims=True)
    cost = -(soft * np.log(probability_NKHW)).sum(1) + ALPHA * (soft * np.log(soft + 1e-300)).sum(1)
    nothing = -(soft * np.log(threshold_K)[:, None, None]).sum(1)
    labels = PseudoLabels(store)
    found = np.stack([labels.label(name).numpy() for name in ToyCity("street", "train", 8, *SIZE).ids])
    second, first = np.sort(ratio, axis=1)[:, -2:].swapaxes(0, 1)
    decided = (abs(cost - nothing) > 1e-3) & ((cost > nothing) | (first / second > 1.001))
    assert decided.mean() > 0.98
    assert (found == np.where(cost < nothing, ratio.argmax(1), 255))[decided].all()
    assert 0.1 < (found != 255).mean() < 0.6


def test_soft_labels_come_back_from_the_kept_scores(store, probability_NKHW):
    labels = PseudoLabels(store)
    threshold_K = np.array(list(labels.manifest.thresholds.values()))
    rows, columns = torch.arange(0, 64, 3), torch.arange(1, 128, 5)
    for index, name in enumerate(ToyCity("street", "train", 8, *SIZE).ids):
        soft = (probability_NKHW[index][:, 0::3, 1::5] / threshold_K[:, None, None]) ** (1 / ALPHA)
        found = labels.soft_label(name)
        assert found is not None
        assert np.abs(found.at(rows, columns).numpy() - soft / soft.sum(0)).max() < 2e-3


def test_kept_scores_open_as_a_data_set_and_the_manifest_names_them(store):
    manifest = read_manifest(store)
    assert manifest.softness == ALPHA
    assert set(manifest.scores) == {path.name for path in store.glob("scores-*.arrow")}
    assert sum(len(Dataset.from_file(str(store / name))) for name in manifest.scores) == 8
    assert (store / COUNTS).exists()


def test_manifest_tells_how_much_is_predicted_as_each_class(store, probability_NKHW):
    predicted = np.bincount(probability_NKHW.argmax(1).ravel(), minlength=12)
    found = np.array(list(read_manifest(store).predicted_counts.values()))
    assert found.sum() == predicted.sum()
    assert np.abs(found - predicted).max() <= 0.001 * predicted.sum()


def test_the_run_says_what_it_is(run):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["title"] == "CRST (LRENT)"
    assert len(summary["rounds"]) == 1
    assert summary["adapted"]["miou"] > 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    terms = {name for line in lines if line["stage"] == "adapt-0" for name in line}
    assert terms == {"stage", "step", "lr", "seg_source", "seg_target"}
