"""Shards of labels and scores, and the verified store of pseudo-labels."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from domains.base.errors import DataError
from domains.base.samples import Unlabelled
from domains.batches.order import generator
from domains.stores.arrow import open_table
from domains.stores.pseudo_labels import (
    LabelRow,
    Manifest,
    PseudoLabelled,
    PseudoLabelledSample,
    PseudoLabels,
    ScoreRow,
    label_features,
    read_manifest,
    read_plane,
    read_scores,
    score_features,
    verify,
    write_manifest,
    write_scores,
    write_shard,
)
from domains.stores.store import MANIFEST


def plane(index: int) -> torch.Tensor:
    stream = generator("plane", index)
    label = torch.randint(0, 5, (6 + index % 3, 9), generator=stream, dtype=torch.uint8)
    label[0] = 255
    return label


def row(index: int) -> LabelRow:
    return LabelRow(f"city/ü {index}", index, plane(index))


@pytest.fixture
def store(tmp_path) -> Path:
    folder = tmp_path / "labels"
    names = {"shard-00000.arrow": range(0, 40), "shard-00001.arrow": range(40, 50)}
    digests = {name: write_shard(folder / name, map(row, part), {"a": "b"}) for name, part in names.items()}
    write_manifest(folder, manifest_of(digests))
    return folder


def manifest_of(shards: dict[str, str], **changes: object) -> Manifest:
    counts, predicted = {"road": 12, "sky": 0}, {"road": 60, "sky": 3}
    manifest = Manifest("digest", 0.2, {"road": 0.75, "sky": 1.0}, counts, predicted, shards)
    return replace(manifest, **changes)  # type: ignore[arg-type]


def test_datasets_finds_the_columns_of_both_kinds(store):
    dataset = Dataset.from_file(str(store / "shard-00001.arrow"))
    assert dataset.features == label_features()
    assert dataset["id"][0] == "city/ü 40"
    scores = [ScoreRow("a", 0, 8, 8, [torch.zeros(3, 2, 2)])]
    write_scores(store / "scores.arrow", scores, {})
    assert Dataset.from_file(str(store / "scores.arrow")).features == score_features()


def test_a_plane_comes_back_exactly(store):
    table = open_table(store / "shard-00000.arrow")
    for index in (0, 31, 32, 39):
        assert torch.equal(read_plane(table, index), plane(index))


def test_a_strided_plane_is_stored_as_it_looks(tmp_path):
    label = plane(0).repeat(2, 2)[::2, ::3]
    write_shard(tmp_path / "a.arrow", [LabelRow("x", 0, label)], {})
    assert torch.equal(read_plane(open_table(tmp_path / "a.arrow"), 0), label)


def test_scores_come_back_as_float16_with_the_size_of_the_image(tmp_path):
    views = [torch.randn(size, generator=generator("scores")) for size in ((5, 3, 4), (5, 7, 2), (5, 1, 1))]
    rows = [ScoreRow(f"i{k}", k, 24, 32, [view * k for view in views[: k + 1]]) for k in range(3)]
    write_scores(tmp_path / "s.arrow", rows, {})
    for given, got in zip(rows, read_scores(tmp_path / "s.arrow"), strict=True):
        assert (got.id, got.index, got.height, got.width) == (given.id, given.index, 24, 32)
        assert [view.dtype for view in got.views] == [torch.float16] * len(given.views)
        assert all(torch.equal(*pair) for pair in zip(got.views, [view.half() for view in given.views], strict=True))


def test_the_store_gives_the_label_of_every_id(store):
    labels = PseudoLabels(store)
    assert labels.ids == tuple(f"city/ü {k}" for k in range(50))
    for index in (0, 39, 40, 49):
        label = labels.label(f"city/ü {index}")
        assert label.dtype == torch.uint8
        assert torch.equal(label, plane(index))


def test_the_manifest_keeps_how_the_labels_were_made(store):
    manifest = PseudoLabels(store).manifest
    assert manifest.labeller == "digest"
    assert manifest.portion == 0.2
    assert manifest.thresholds == {"road": 0.75, "sky": 1.0}
    assert manifest.class_counts == {"road": 12, "sky": 0}
    assert list(manifest.shards) == ["shard-00000.arrow", "shard-00001.arrow"]
    assert replace(manifest) == read_manifest(store)


def test_a_label_may_be_changed_without_reaching_the_store(store):
    labels = PseudoLabels(store)
    labels.label("city/ü 3").fill_(7)
    assert torch.equal(labels.label("city/ü 3"), plane(3))
    assert verify(store) == []


def test_a_store_travels_as_its_folder_alone(store):
    labels = PseudoLabels(store)
    labels.label("city/ü 0")
    data = pickle.dumps(labels)
    assert len(data) < 1000
    assert torch.equal(pickle.loads(data).label("city/ü 42"), plane(42))


def test_an_unknown_id_is_named(store):
    with pytest.raises(DataError, match="no pseudo-label of 'nowhere'"):
        PseudoLabels(store).label("nowhere")


def test_every_flipped_bit_and_missing_file_is_found(store):
    assert verify(store) == []
    path = store / "shard-00000.arrow"
    whole = path.read_bytes()
    for position in range(0, len(whole), len(whole) // 20):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        assert verify(store) == ["shard-00000.arrow"]
    path.write_bytes(whole)
    (store / "shard-00001.arrow").unlink()
    assert verify(store) == ["shard-00001.arrow"]
    with pytest.raises(DataError, match=r"1 shards are missing or differ from the manifest: shard-00001.arrow"):
        PseudoLabels(store)


def test_a_shard_of_another_round_is_found(store):
    write_shard(store / "shard-00001.arrow", map(row, range(41, 51)), {"a": "b"})
    assert verify(store) == ["shard-00001.arrow"]


def test_a_stray_shard_that_the_manifest_does_not_know_is_not_read(store):
    write_shard(store / "shard-00009.arrow", [row(99)], {"a": "b"})
    assert verify(store) == []
    assert "city/ü 99" not in PseudoLabels(store).ids


def test_without_a_manifest_the_store_is_incomplete(store):
    (store / MANIFEST).unlink()
    with pytest.raises(DataError, match="no complete pseudo-labels"):
        PseudoLabels(store)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"schema": 2}', "{}"])
def test_a_broken_manifest_is_named(store, text):
    (store / MANIFEST).write_text(text)
    with pytest.raises(DataError, match=MANIFEST):
        verify(store)


def soft_store(folder: Path) -> Path:
    names = {"labels-000.arrow": "scores-000.arrow", "labels-001.arrow": "scores-001.arrow"}
    shards, scores = {}, {}
    for part, (labels, logits) in enumerate(names.items()):
        shards[labels] = write_shard(folder / labels, [row(part)], {"a": "b"})
        height, width = plane(part).shape
        views = torch.randn(2, 2, 3, 4, generator=generator("views", part))
        scores[logits] = write_scores(folder / logits, [ScoreRow(row(part).id, part, height, width, list(views))], {})
    write_manifest(folder, manifest_of(shards, softness=0.25, scores=scores))
    return folder


def test_a_soft_store_gives_what_soft_labels_follow_from(tmp_path):
    labels = PseudoLabels(soft_store(tmp_path))
    for part in range(2):
        soft = labels.soft_label(row(part).id)
        assert soft is not None
        assert (soft.size, soft.softness, soft.threshold_K.tolist()) == (plane(part).shape, 0.25, [0.75, 1.0])
        views = torch.randn(2, 2, 3, 4, generator=generator("views", part)).half()
        assert torch.equal(torch.stack(list(soft.views)), views)


def test_hard_labels_have_no_soft_ones(store):
    assert PseudoLabels(store).soft_label(row(3).id) is None


def test_damaged_scores_are_found_like_damaged_labels(tmp_path):
    folder = soft_store(tmp_path)
    content = bytearray((folder / "scores-001.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "scores-001.arrow").write_bytes(content)
    assert verify(folder) == ["scores-001.arrow"]
    with pytest.raises(DataError, match="scores-001"):
        PseudoLabels(folder)


@pytest.mark.parametrize("name", ["../shard-00000.arrow", "/etc/hostname", "sub/shard.arrow", ".."])
@pytest.mark.parametrize("kind", ["shards", "scores"])
def test_a_manifest_that_names_a_file_outside_its_store_is_refused(kind, name, store):
    write_manifest(store, replace(read_manifest(store), **{kind: {name: "0" * 64}}))
    for read in (read_manifest, verify, PseudoLabels):
        with pytest.raises(DataError, match="names a shard outside its folder"):
            read(store)


class FakeLabels:
    """Pseudo-labels of one shape for every id."""

    def __init__(self, height: int = 4) -> None:
        self.height = height

    def label(self, id: str) -> torch.Tensor:
        return torch.full((self.height, 6), int(id[1:]), dtype=torch.uint8)

    def soft_label(self, id: str) -> None:
        return None


def test_a_pseudo_labelled_sample_has_no_field_called_label(fake_reader):
    domain = PseudoLabelled(Unlabelled(fake_reader()), FakeLabels())
    sample = domain.sample(3)
    assert [entry.name for entry in fields(PseudoLabelledSample)] == ["image", "pseudo_label", "id", "soft_label"]
    assert sample.pseudo_label.unique().tolist() == [3]
    assert len(domain) == 4


def test_a_pseudo_label_of_another_size_is_refused(fake_reader):
    domain = PseudoLabelled(Unlabelled(fake_reader()), FakeLabels(height=5))
    with pytest.raises(DataError, match=r"i0: .*\(4, 6\).*\(5, 6\)"):
        domain.sample(0)
