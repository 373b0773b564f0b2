"""Shards of images and labels: what a reader gives comes back, and what is damaged is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from domains.base.errors import DataError
from domains.base.labels import label_space
from domains.base.samples import Labelled, Reader, Unlabelled
from domains.base.settings import AugmentSettings, DomainSettings, IsaSettings, PairSettings
from domains.batches.crop import RandomCrop
from domains.batches.microbatches import MicroBatches
from domains.registry import check_pair, check_settings, open_reader
from domains.stores.dataset import ArrowReader, DomainManifest, Encoding, Row, image_features, read_domain, write_images
from domains.stores.store import write_store_manifest
from domains.toycity.reader import ToyCity

CITY: Reader = ToyCity("game", "train", 5, 32, 48)  # pyright: ignore[reportAssignmentType]


def store(folder: Path, encoding: Encoding = "raw", labelled: bool = True) -> Path:
    digests = {}
    for number, part in enumerate((range(0, 3), range(3, 5))):
        rows = (Row(CITY.ids[k], k, CITY.image(k), CITY.label(k) if labelled else None) for k in part)
        path = folder / f"images-{number:05d}.arrow"
        digests[path.name] = write_images(path, rows, encoding, 95, {"a": "b"}, labelled=labelled)
    write_store_manifest(folder, DomainManifest(5, labelled, CITY.space.to_json(), encoding, digests))
    return folder


@pytest.fixture
def raw(tmp_path) -> Path:
    return store(tmp_path / "raw")


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_ids_space_and_labels_are_those_of_the_reader_bit_for_bit(tmp_path, encoding):
    reader = ArrowReader(store(tmp_path / "store", encoding))
    assert (reader.ids, reader.space, reader.has_labels, len(reader)) == (CITY.ids, CITY.space, True, 5)
    for index in range(5):
        assert torch.equal(reader.label(index), CITY.label(index))
        assert reader.label(index).dtype == torch.uint8


def test_raw_images_come_back_bit_for_bit_and_jpegs_nearly(raw, tmp_path):
    jpeg = ArrowReader(store(tmp_path / "jpeg", "jpeg"))
    for index in range(5):
        assert torch.equal(ArrowReader(raw).image(index), CITY.image(index))
        difference = (jpeg.image(index).float() - CITY.image(index).float()).abs()
        assert jpeg.image(index).dtype == torch.uint8
        assert 0 < difference.mean() < 12


def test_images_and_labels_may_be_written_to_since_each_is_read_anew(raw):
    reader = ArrowReader(raw)
    reader.image(0).zero_()
    reader.label(0).fill_(9)
    assert torch.equal(reader.image(0), CITY.image(0))
    assert torch.equal(reader.label(0), CITY.label(0))


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_datasets_opens_a_shard_memory_mapped(tmp_path, encoding):
    path = store(tmp_path, encoding) / "images-00001.arrow"
    dataset = Dataset.from_file(str(path))
    assert dataset.features == image_features(encoding, labelled=True)
    assert dataset["id"][:] == list(CITY.ids[3:])
    assert dataset.cache_files == [{"filename": str(path)}]
    if encoding == "jpeg":
        assert dataset[0]["image"].size == (48, 32)
    else:
        assert dataset[0]["image"] == CITY.image(3).permute(1, 2, 0).contiguous().numpy().tobytes()


def test_a_reader_travels_cheaply(raw):
    reader = ArrowReader(raw)
    reader.image(0)
    data = pickle.dumps(reader)
    assert len(data) < 1000
    assert torch.equal(pickle.loads(data).image(4), CITY.image(4))


def test_the_registry_opens_it_resized_mapped_listed_and_counted(raw):
    settings = DomainSettings(kind="arrow", root="raw")
    space = label_space("toycity12")
    ours = open_reader(settings, space, str(raw.parent), 16, 24)
    theirs = open_reader(DomainSettings(count=5), space, "", 32, 48)
    assert (ours.ids, ours.space) == (theirs.ids, space)
    assert ours.image(2).shape == (3, 16, 24)
    assert torch.equal(open_reader(settings, space, str(raw.parent)).label(2), theirs.label(2))
    (raw / "some.txt").write_text(f"{CITY.ids[4]}\n{CITY.ids[1]}\n")
    listed = open_reader(DomainSettings(kind="arrow", root="raw", list="some.txt", count=1), space, str(raw.parent))
    assert listed.ids == (CITY.ids[4],)
    assert torch.equal(listed.image(0), CITY.image(4))
    (raw / "some.txt").write_text("nobody\n")
    (problem,) = check_settings(DomainSettings(kind="arrow", root="raw", list="some.txt"), str(raw.parent))
    assert "1 of 1 ids have no image in" in problem


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_shard_is_refused_in_one_sentence(raw, damage):
    ArrowReader(raw)
    damage(raw / "images-00001.arrow")
    (problem,) = check_settings(DomainSettings(kind="arrow"), str(raw))
    assert "1 of 2 shards are missing or differ from the manifest: images-00001.arrow" in problem
    assert "\n" not in problem


def test_shards_without_a_manifest_are_no_domain(raw):
    (raw / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"no complete shards of images: manifest.json is missing"):
        ArrowReader(raw)
    with pytest.raises(DataError, match=r"did you mean .*raw\?"):
        ArrowReader(raw.with_name("rav"))


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1, "labeller": "x", "shards": {}}', '{"schema": 2}', "{"])
def test_another_manifest_is_refused_in_one_sentence(raw, text):
    (raw / "manifest.json").write_text(text)
    with pytest.raises(DataError) as caught:
        read_domain(raw)
    assert str(raw / "manifest.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shards_without_labels_serve_as_a_target_alone(tmp_path):
    bare = DomainSettings(kind="arrow", root=str(store(tmp_path, labelled=False)))
    reader = open_reader(bare, label_space("toycity12"), "")
    assert not reader.has_labels
    with pytest.raises(DataError, match="without labels"):
        reader.label(0)
    crop, isa, toy = AugmentSettings(crop_height=8, crop_width=8), IsaSettings(ratio=0.0), DomainSettings()
    assert check_pair(PairSettings(source=toy, target=bare, evaluation=toy), crop, isa, "") == []
    (problem,) = check_pair(PairSettings(source=bare, target=bare, evaluation=toy), crop, isa, "")
    assert problem.startswith("source: this domain needs labels: these shards were written without labels")


def test_training_reads_the_same_micro_batches_as_from_the_images(raw):
    """What a step sees follows from ids, pixels and the key alone: so shards train to the same weights."""
    space = label_space("toycity12")
    batches = []
    for settings in (DomainSettings(kind="arrow", root=str(raw)), DomainSettings(count=5)):
        reader = open_reader(settings, space, "", 32, 48)
        feed = MicroBatches(
            Labelled(reader),
            Unlabelled(reader),
            RandomCrop(AugmentSettings(crop_height=16, crop_width=24)),
            (2, 2),
            key=(0, "source"),
        )
        batches.append([feed[micro] for micro in range(4)])
    for ours, theirs in zip(*batches, strict=True):
        assert torch.equal(ours.source.image, theirs.source.image)
        assert torch.equal(ours.source.label, theirs.source.label)
        assert ours.target is not None
        assert theirs.target is not None
        assert torch.equal(ours.target.image, theirs.target.image)
