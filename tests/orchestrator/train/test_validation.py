"""When a training stage is validated, on which images, and by whom."""

from __future__ import annotations

import pytest
import torch

from domains.base.labels import label_space
from domains.base.samples import Labelled, Unlabelled
from domains.base.settings import DomainSettings
from domains.metrics.transfer_score import prediction_sums
from domains.registry import open_reader
from models.build import build_segmenter
from models.settings import SegmenterSettings
from orchestrator.train.validation import Validation

SPACE = label_space("toycity12")


@pytest.fixture
def validation() -> Validation:
    def reader(style: str):
        return open_reader(DomainSettings(style=style, count=6), SPACE, "", 32, 64)

    return Validation(Labelled(reader("game")), Unlabelled(reader("street")), len(SPACE), images=5, times=3)


@pytest.mark.parametrize(("steps", "due"), [(12, [4, 8, 12]), (10, [4, 7, 10]), (2, [1, 2])])
def test_it_is_due_evenly_spaced_and_after_the_last_step(validation, steps, due):
    assert [step for step in range(1, steps + 1) if validation.due(step, steps)] == due


def test_workers_share_the_images_between_them(validation):
    network = build_segmenter(SegmenterSettings(backbone="resnet10", width=8), len(SPACE), 0).eval()
    device = torch.device("cpu")
    alone = validation.prediction_sums(network, 0, 1, device)
    parts = [validation.prediction_sums(network, rank, 2, device) for rank in range(2)]
    torch.testing.assert_close(parts[0] + parts[1], alone)
    torch.testing.assert_close(
        validation.source_counts(0, 2) + validation.source_counts(1, 2), validation.source_counts(0, 1)
    )


def test_it_sees_evenly_spaced_images_of_the_target_and_labels_of_the_source(validation):
    seen = [0, 1, 2, 3, 4]  # of 6, 5 wanted: n * 6 // 5
    network = build_segmenter(SegmenterSettings(backbone="resnet10", width=8), len(SPACE), 0).eval()
    with torch.no_grad():
        images = [validation.target.sample(index).image[None].float() / 255 for index in seen]
        slow = sum(prediction_sums(network(image).logits_BKhw[0]) for image in images)
    torch.testing.assert_close(validation.prediction_sums(network, 0, 1, torch.device("cpu")), slow)
    labels = torch.cat([validation.source.label(index).flatten() for index in seen])
    assert validation.source_counts(0, 1).tolist() == [int((labels == c).sum()) for c in range(len(SPACE))]
