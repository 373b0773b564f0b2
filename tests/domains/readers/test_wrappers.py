"""Readers around another reader."""

from __future__ import annotations

import pickle

import pytest
import torch

from domains.base.errors import DataError
from domains.base.labels import LabelSpace, label_space
from domains.base.samples import Labelled
from domains.readers.wrappers import Cached, Mapped, Resized, ResizedImages, Subset


def test_resized_changes_both_and_zero_keeps_both(fake_reader):
    resized = Resized(fake_reader(), 8, 12)
    assert resized.image(1).shape == (3, 8, 12)
    assert resized.label(1)[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 255, 255]
    kept = Resized(fake_reader(), 0, 0)
    assert kept.image(1).shape == (3, 4, 6)
    assert kept.label(1).shape == (4, 6)


def test_resized_images_leave_the_labels_as_they_are(fake_reader):
    resized = ResizedImages(fake_reader(), 8, 12)
    assert resized.image(1).shape == (3, 8, 12)
    assert torch.equal(resized.label(1), fake_reader().label(1))


def test_mapped_renames_by_class_and_ignores_what_the_run_lacks(fake_reader):
    run = LabelSpace("run", ("c", "z", "a"), fake_reader().space.palette)
    mapped = Mapped(fake_reader(), run)
    assert mapped.space is run
    assert mapped.label(0)[:, 0].tolist() == [2, 255, 0, 255]
    assert mapped.label(0).dtype == torch.uint8


def test_mapping_between_spaces_without_a_common_class_is_refused(fake_reader):
    with pytest.raises(DataError, match="abc and camvid11 share no class"):
        Mapped(fake_reader(), label_space("camvid11"))


def test_subset_keeps_order_ids_and_samples_together(fake_reader):
    subset = Subset(fake_reader(), [3, 1])
    assert subset.ids == ("i3", "i1")
    assert len(subset) == 2
    assert [int(subset.image(k)[0, 0, 0]) for k in range(2)] == [3, 1]
    assert Labelled(subset).sample(1).id == "i1"


def test_cached_reads_everything_once_below_the_limit(fake_reader):
    reader = fake_reader()
    cached = Cached(reader, 10_000)
    first = [cached.image(k) for k in range(4)]
    again = [cached.image(k) for k in range(4)]
    cached.label(0)
    cached.label(0)
    assert reader.asked == ["image 0", "image 1", "image 2", "image 3", "label 0"]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_cached_never_holds_more_than_the_limit_and_still_serves_the_rest(fake_reader):
    reader = fake_reader()
    cached = Cached(reader, 2 * 72)
    for _ in range(2):
        assert [int(cached.image(k)[0, 0, 0]) for k in range(4)] == [0, 1, 2, 3]
    assert cached.held_bytes == 2 * 72
    assert reader.asked == ["image 0", "image 1", "image 2", "image 3", "image 2", "image 3"]


def test_a_cache_stays_behind_when_pickled(fake_reader):
    cached = Cached(fake_reader(), 10**9)
    small = len(pickle.dumps(cached))
    for index in range(4):
        cached.image(index)
    assert len(pickle.dumps(Labelled(cached))) < small + 500
    copy = pickle.loads(pickle.dumps(cached))
    assert copy.held_bytes == 0
    assert torch.equal(copy.image(2), cached.image(2))
