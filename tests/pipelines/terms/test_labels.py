"""Cross-entropy against labels as an ingredient, on views made by hand.

Shapes: B images, K classes, H W pixels.
"""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from models.segmenter import Prediction
from pipelines.terms.base import Step, View
from pipelines.terms.labels import Labels, SourceLabels

K = 3
NOTHING: tuple = ({}, None, Generator())


def view(seed: int, ignored: int = 0, levels: int = 1) -> View:
    draw = Generator().manual_seed(seed)
    logits = tuple(torch.randn(2, K, 4, 6, generator=draw) for _ in range(levels))
    label = torch.randint(K, (2, 4, 6), generator=draw)
    label[:, :ignored] = 255
    return View(torch.zeros(2, 3, 4, 6), Prediction(logits[0], logits[0], logits[0]), logits, label)


def wanted(logits: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(logits, label, ignore_index=255)


def test_source_labels_count_on_every_level():
    source = view(0, ignored=1, levels=2)
    step = Step(*NOTHING, {"source": lambda _: source})
    term = SourceLabels(auxiliary=0.1)
    found = term.losses(step)
    assert list(found) == ["seg_source", "seg_auxiliary"]
    for value, level in zip(found.values(), source.levels, strict=True):
        torch.testing.assert_close(value, wanted(level, source.labels_BHW))
    assert term.weights() == {"seg_auxiliary": 0.1}


@pytest.mark.parametrize("reduction", ["per_domain", "joint"])
def test_both_domains_count_by_themselves_or_by_their_pixels(reduction):
    source, target = view(0), view(1, ignored=3)
    logits, label = (torch.cat([getattr(v, name) for v in (source, target)]) for name in ("logits_BKHW", "labels_BHW"))
    both = View(torch.zeros(4, 3, 4, 6), source.prediction, (logits,), label)
    step = Step(*NOTHING, {"source": lambda _: source, "target": lambda _: target, "both": lambda _: both})
    found = Labels(reduction).losses(step)
    if reduction == "joint":
        assert list(found) == ["seg_joint"]
        torch.testing.assert_close(found["seg_joint"], wanted(logits, label))
    else:
        torch.testing.assert_close(found["seg_source"], wanted(source.logits_BKHW, source.labels_BHW))
        torch.testing.assert_close(found["seg_target"], wanted(target.logits_BKHW, target.labels_BHW))


def test_reduction_is_in_the_fingerprint_where_it_is_not_the_usual_one():
    assert Labels().decides == ()
    assert Labels("joint").decides == ("joint",)
