"""Samples, and the two forms of a domain."""

from __future__ import annotations

from dataclasses import fields

import pytest

from domains.base.errors import DataError
from domains.base.samples import Labelled, Sample, Unlabelled


def test_a_labelled_domain_gives_image_label_and_id(fake_reader):
    domain = Labelled(fake_reader())
    sample = domain.sample(2)
    assert len(domain) == 4
    assert sample.id == "i2"
    assert sample.image.unique().tolist() == [2]
    assert sample.label[:, 0].tolist() == [0, 1, 2, 255]


def test_a_domain_without_labels_cannot_be_labelled(fake_reader):
    with pytest.raises(DataError, match="no labels"):
        Labelled(fake_reader(has_labels=False))


def test_a_target_sample_has_no_label_field_and_no_label_is_read(fake_reader):
    reader = fake_reader()
    domain = Unlabelled(reader)
    sample = domain.sample(1)
    assert [entry.name for entry in fields(sample)] == ["image", "id"]
    assert not [name for name in (*dir(sample), *dir(domain)) if "label" in name]
    assert not [name for name in vars(domain) if not name.startswith("_") and name != "ids"]
    assert isinstance(sample, Sample)
    assert reader.asked == ["image 1"]
