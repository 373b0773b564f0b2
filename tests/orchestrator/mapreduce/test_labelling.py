"""The tasks of a pseudo-label round and of an evaluation on several views, against slow versions; no Ray needed."""

from __future__ import annotations

import dataclasses
import io
import random
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from domains.base.files import write_noted
from domains.base.samples import Labelled, Unlabelled
from domains.pseudo.scores import score_strips
from domains.pseudo.selection import ConfidenceHistogram, SelfEntropy, confidence_log_odds, thresholds
from domains.pseudo.spatial_prior import CELLS, log_spatial_prior
from domains.readers.wrappers import Resized, ResizedImages
from domains.stores.arrow import open_table
from domains.stores.pseudo_labels import read_plane, read_scores
from domains.toycity.reader import ToyCity
from models.build import build_segmenter
from models.settings import SegmenterSettings
from models.weights import save_model
from orchestrator.base.errors import StageFailed
from orchestrator.base.progress import Progress
from orchestrator.contract.settings import ComputeSettings, ViewSettings
from orchestrator.contract.stages import Label
from orchestrator.mapreduce import evaluation, labelling
from orchestrator.mapreduce.inference import Predictor
from orchestrator.mapreduce.labelling import Counts, Cut, Part, score_part, select_part
from orchestrator.run.context import Context

SIZE = (64, 128)
K = 12
CLOSE = 3e-3
"""A bin of the histogram of confidences, in log-probability: what the choice of thresholds rounds."""
VIEWS = [
    ViewSettings(),
    ViewSettings(flip=True),
    ViewSettings(scales=(0.75, 1.25), flip=True),
    ViewSettings(scales=(1.0, 1.5), window=(48, 64)),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder, settings = tmp_path_factory.mktemp("model"), SegmenterSettings(backbone="resnet10", width=4)
    network = build_segmenter(settings, K, 0)
    with torch.no_grad():  # as drawn, the classes hardly differ
        for parameter in network.classifier.parameters():
            parameter.mul_(30)
    save_model(folder, network, settings, {"classes": [str(k) for k in range(K)]}, {})
    return folder


def part_of(folder: Path, model: Path, views: ViewSettings, prior: np.ndarray | None = None) -> Part:
    target = Unlabelled(ToyCity("street", "train", 3, *SIZE))
    return Part(0, folder, model, target, range(3), K, views, "fp32", "labeller", prior)


def slow_probabilities(part: Part, log_prior: Tensor | None) -> np.ndarray:
    """N x K x H x W: the mean over views of the softmax of their logits in half precision, at the image's size."""
    predictor, found = Predictor(part.model, part.precision, part.views), []
    for index in part.indices:
        views = predictor.views(part.target.sample(index).image)
        if log_prior is not None:
            views = [
                view + F.interpolate(log_prior[None], view.shape[1:], mode="bilinear", align_corners=False)[0]
                for view in views
            ]
        wide = [F.interpolate(v.half().double()[None], SIZE, mode="bilinear", align_corners=True)[0] for v in views]
        found.append(torch.stack([view.softmax(0) for view in wide]).mean(0).numpy())
    return np.stack(found)


@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize("views", VIEWS, ids=lambda views: views.kind)
def test_labels_are_those_of_slow_class_balanced_selection(views, with_prior, model, tmp_path):
    places = np.random.default_rng(0).integers(0, 50, (K, *CELLS)) if with_prior else None
    log_prior = None if places is None else log_spatial_prior(places)
    part, portion = part_of(tmp_path, model, views, places), 0.3
    score_part(part)
    counts = Counts.read(part.counts, part.origin)
    assert counts is not None
    threshold_K = thresholds(counts.histogram, portion)
    select_part(Cut(part, threshold_K, 0.0))

    probability_NKHW = slow_probabilities(part, log_prior)
    winner_NHW, confidence_NHW = probability_NKHW.argmax(1), probability_NKHW.max(1)
    assert counts.histogram.counts.sum() == winner_NHW.size
    excess_NKHW = np.empty_like(probability_NKHW)
    for k in range(K):
        ranked = np.sort(confidence_NHW[winner_NHW == k])[::-1]
        taken = int(portion * len(ranked) + 1e-6)
        threshold = ranked[taken - 1] if taken else 1.0
        assert np.log(threshold_K[k]) == pytest.approx(np.log(threshold), abs=CLOSE)
        excess_NKHW[:, k] = np.log(probability_NKHW[:, k]) - np.log(threshold)
    expected = np.where(excess_NKHW.max(1) >= 0, excess_NKHW.argmax(1), 255)
    table = open_table(part.labels)
    found = np.stack([read_plane(table, row).numpy() for row in range(3)])
    second, first = np.sort(excess_NKHW, axis=1)[:, -2:].swapaxes(0, 1)
    undecided = (abs(first) < CLOSE) | ((first > -CLOSE) & (first - second < CLOSE))
    assert (found == expected)[~undecided].all()
    assert undecided.mean() < 0.1
    assert 0.2 < (found != 255).mean() < 0.6


def test_scores_keep_each_view_on_its_own_grid(model, tmp_path):
    part = part_of(tmp_path, model, ViewSettings(scales=(0.5, 1.0), flip=True))
    score_part(part)
    predictor = Predictor(model, "fp32", part.views)
    for index, row in enumerate(read_scores(part.scores)):
        expected = predictor.views(part.target.sample(index).image)
        assert [view.shape[1:] for view in row.views] == [(5, 9), (5, 9), (9, 17), (9, 17)]
        assert all(torch.equal(*pair) for pair in zip(row.views, [view.half() for view in expected], strict=True))


@pytest.mark.parametrize("views", VIEWS, ids=lambda views: views.kind)
def test_what_was_counted_is_what_labels_are_cut_from(views, model, tmp_path):
    part = part_of(tmp_path, model, views)
    score_part(part)
    again = ConfidenceHistogram.empty(K)
    for row in read_scores(part.scores):
        for _, scores in score_strips(row.views, SIZE):
            again.add(*confidence_log_odds(scores))
    counts = Counts.read(part.counts, part.origin)
    assert counts is not None
    np.testing.assert_array_equal(again.counts, counts.histogram.counts)


@pytest.mark.parametrize("views", VIEWS, ids=lambda views: views.kind)
def test_evaluation_counts_what_the_slow_average_predicts_at_the_size_of_the_labels(views, model):
    city = ToyCity("street", "val", 2, *SIZE)
    domain = Labelled(ResizedImages(Resized(city, *SIZE), 48, 96))
    found = evaluation.measure_part(evaluation.Part(model, domain, range(2), "fp32", K, views))
    predictor, expected = Predictor(model, "fp32", views), np.zeros((K, K), dtype=np.int64)
    for index in range(2):
        sample = domain.sample(index)
        wide = [
            F.interpolate(view[None], SIZE, mode="bilinear", align_corners=True)[0].softmax(0)
            for view in predictor.views(sample.image)
        ]
        prediction = torch.stack(wide).mean(0).argmax(0).numpy()
        for truth in range(K):
            expected[truth] += np.bincount(prediction[sample.label.numpy() == truth], minlength=K)
    assert abs(found - expected).sum() <= 0.002 * expected.sum()  # near ties
    assert found.sum() == expected.sum() == sum((city.label(index) < K).sum() for index in range(2))


ORIGIN = {"labeller": "weights as-is fp32", "images": "0-2"}


@pytest.fixture
def counted(tmp_path) -> tuple[Path, Counts]:
    """A file of counts, and what it holds."""
    counts = Counts(ConfidenceHistogram.empty(K), SelfEntropy(3.5, 700))
    counts.histogram.counts[:] = np.random.default_rng(0).integers(0, 99, counts.histogram.counts.shape)
    counts.write(tmp_path / "counts.safetensors", ORIGIN)
    return tmp_path / "counts.safetensors", counts


def same(found: Counts | None, counts: Counts) -> bool:
    assert found is not None
    return np.array_equal(found.histogram.counts, counts.histogram.counts) and found.entropy == counts.entropy


def test_counts_come_back_as_they_were_written(counted):
    assert same(Counts.read(counted[0], ORIGIN), counted[1])


def test_any_flipped_bit_of_counts_is_noticed(counted):
    path, _ = counted
    good, draw = path.read_bytes(), random.Random(0)
    header = int.from_bytes(good[:8], "little") + 8
    places = [*range(header), *draw.sample(range(header, len(good)), 500), len(good) - 1]
    for place in places:
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([good[place] ^ 1 << draw.randrange(8)]))
        assert Counts.read(path, ORIGIN) is None, place
        with path.open("r+b") as file:
            file.seek(place)
            file.write(good[place : place + 1])
    assert Counts.read(path, ORIGIN)


def test_a_damaged_digest_of_counts_never_gives_others(counted):
    path, counts = counted
    noted = path.with_name(f"{path.name}.sha256")
    good, noticed = noted.read_bytes(), 0
    for place in range(len(good)):
        for bit in range(8):
            noted.write_bytes(good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :])
            found = Counts.read(path, ORIGIN)
            noticed += found is None
            assert found is None or same(found, counts)
    assert noticed >= 8 * 64
    noted.unlink()
    assert Counts.read(path, ORIGIN) is None


def test_counts_that_were_cut_off_or_are_missing_are_none(counted):
    path, _ = counted
    good = path.read_bytes()
    for length in (0, 1, 8, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        assert Counts.read(path, ORIGIN) is None
    path.unlink()
    assert Counts.read(path, ORIGIN) is None


@pytest.mark.parametrize("change", [{"labeller": "other weights"}, {"images": "0-1"}, {"more": "x"}])
def test_counts_of_another_origin_are_none(change, counted):
    assert Counts.read(counted[0], {**ORIGIN, **change}) is None


def test_what_is_no_counts_is_none_even_with_its_digest(tmp_path):
    write_noted(tmp_path / "counts.safetensors", b"no tensors")
    assert Counts.read(tmp_path / "counts.safetensors", ORIGIN) is None


def test_a_part_whose_counts_cannot_be_read_back_is_never_left_out(model, tmp_path, monkeypatch):
    parts = [part_of(tmp_path, model, ViewSettings())]
    parts.append(dataclasses.replace(parts[0], number=1))
    stage = Label(name="label-0", by="source", portion=0.5, round=0)
    context = SimpleNamespace(
        progress=Progress(Console(file=io.StringIO())), method=SimpleNamespace(compute=ComputeSettings())
    )

    def score(damaged):
        def run_tasks(function, items, _compute, _name, _on_result):
            for part in items:
                function(part)
            for part in damaged:
                part.counts.write_bytes(b"damaged")

        monkeypatch.setattr(labelling, "run_tasks", run_tasks)
        return labelling._score(parts, stage, cast(Context, context))

    with pytest.raises(StageFailed, match=r"label-0: .* damaged as soon as it is written: scores-001\.safetensors$"):
        score(damaged=parts[1:])
    assert [counts.histogram.counts.sum() for counts in score(damaged=[])] == [3 * SIZE[0] * SIZE[1]] * 2


def test_equal_counts_are_equal_files(counted):
    path, counts = counted
    before = path.read_bytes()
    for _ in range(10):
        counts.write(path, dict(reversed(ORIGIN.items())))
        assert path.read_bytes() == before
