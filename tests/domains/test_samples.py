"""Samples, the domain types and the reader wrappers."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, fields

import pytest
import torch
from torch import Tensor

from domains.errors import DataError
from domains.labels import LabelSpace, label_space
from domains.samples import (
    Cached,
    Labelled,
    Mapped,
    PseudoLabelled,
    PseudoLabelledSample,
    Resized,
    ResizedImages,
    Sample,
    Subset,
    Unlabelled,
)

SPACE = LabelSpace("abc", ("a", "b", "c"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)))


@dataclass
class Fake:
    """Four images of 4x6 whose pixels hold their index; counts how often it is asked."""

    space: LabelSpace = SPACE
    has_labels: bool = True
    ids: tuple[str, ...] = ("i0", "i1", "i2", "i3")
    asked: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Tensor:
        self.asked.append(f"image {index}")
        return torch.full((3, 4, 6), index, dtype=torch.uint8)

    def label(self, index: int) -> Tensor:
        self.asked.append(f"label {index}")
        return torch.tensor([0, 1, 2, 255], dtype=torch.uint8)[:, None].expand(4, 6)


class FakeLabels:
    """Pseudo-labels of one shape for every id."""

    def __init__(self, height: int = 4) -> None:
        self.height = height

    def label(self, id: str) -> Tensor:
        return torch.full((self.height, 6), int(id[1:]), dtype=torch.uint8)

    def soft_label(self, id: str) -> None:
        return None


def test_a_labelled_domain_gives_image_label_and_id():
    domain = Labelled(Fake())
    sample = domain.sample(2)
    assert len(domain) == 4
    assert sample.id == "i2"
    assert sample.image.unique().tolist() == [2]
    assert sample.label[:, 0].tolist() == [0, 1, 2, 255]


def test_a_domain_without_labels_cannot_be_labelled():
    with pytest.raises(DataError, match="no labels"):
        Labelled(Fake(has_labels=False))


def test_a_target_sample_has_no_label_field_and_no_label_is_read():
    reader = Fake()
    domain = Unlabelled(reader)
    sample = domain.sample(1)
    assert [entry.name for entry in fields(sample)] == ["image", "id"]
    assert not [name for name in (*dir(sample), *dir(domain)) if "label" in name]
    assert not [name for name in vars(domain) if not name.startswith("_") and name != "ids"]
    assert isinstance(sample, Sample)
    assert reader.asked == ["image 1"]


def test_a_pseudo_labelled_sample_has_no_field_called_label():
    domain = PseudoLabelled(Unlabelled(Fake()), FakeLabels())
    sample = domain.sample(3)
    assert [entry.name for entry in fields(PseudoLabelledSample)] == ["image", "pseudo_label", "id", "soft_label"]
    assert sample.pseudo_label.unique().tolist() == [3]
    assert len(domain) == 4


def test_a_pseudo_label_of_another_size_is_refused():
    domain = PseudoLabelled(Unlabelled(Fake()), FakeLabels(height=5))
    with pytest.raises(DataError, match=r"i0: .*\(4, 6\).*\(5, 6\)"):
        domain.sample(0)


def test_resized_changes_both_and_zero_keeps_both():
    resized = Resized(Fake(), 8, 12)
    assert resized.image(1).shape == (3, 8, 12)
    assert resized.label(1)[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 255, 255]
    kept = Resized(Fake(), 0, 0)
    assert kept.image(1).shape == (3, 4, 6)
    assert kept.label(1).shape == (4, 6)


def test_resized_images_leave_the_labels_as_they_are():
    resized = ResizedImages(Fake(), 8, 12)
    assert resized.image(1).shape == (3, 8, 12)
    assert torch.equal(resized.label(1), Fake().label(1))


def test_mapped_renames_by_class_and_ignores_what_the_run_lacks():
    run = LabelSpace("run", ("c", "z", "a"), SPACE.palette)
    mapped = Mapped(Fake(), run)
    assert mapped.space is run
    assert mapped.label(0)[:, 0].tolist() == [2, 255, 0, 255]
    assert mapped.label(0).dtype == torch.uint8


def test_mapping_between_spaces_without_a_common_class_is_refused():
    with pytest.raises(DataError, match="abc and camvid11 share no class"):
        Mapped(Fake(), label_space("camvid11"))


def test_subset_keeps_order_ids_and_samples_together():
    subset = Subset(Fake(), [3, 1])
    assert subset.ids == ("i3", "i1")
    assert len(subset) == 2
    assert [int(subset.image(k)[0, 0, 0]) for k in range(2)] == [3, 1]
    assert Labelled(subset).sample(1).id == "i1"


def test_cached_reads_everything_once_below_the_limit():
    reader = Fake()
    cached = Cached(reader, 10_000)
    first = [cached.image(k) for k in range(4)]
    again = [cached.image(k) for k in range(4)]
    cached.label(0)
    cached.label(0)
    assert reader.asked == ["image 0", "image 1", "image 2", "image 3", "label 0"]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_cached_never_holds_more_than_the_limit_and_still_serves_the_rest():
    reader = Fake()
    cached = Cached(reader, 2 * 72)
    for _ in range(2):
        assert [int(cached.image(k)[0, 0, 0]) for k in range(4)] == [0, 1, 2, 3]
    assert cached.held_bytes == 2 * 72
    assert reader.asked == ["image 0", "image 1", "image 2", "image 3", "image 2", "image 3"]


def test_a_cache_stays_behind_when_pickled():
    cached = Cached(Fake(), 10**9)
    small = len(pickle.dumps(cached))
    for index in range(4):
        cached.image(index)
    assert len(pickle.dumps(Labelled(cached))) < small + 500
    copy = pickle.loads(pickle.dumps(cached))
    assert copy.held_bytes == 0
    assert torch.equal(copy.image(2), cached.image(2))
