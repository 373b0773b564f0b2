"""Stores of translated images: written, opened, checked, and read as a domain."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from domains.base.errors import DataError
from domains.base.settings import AugmentSettings, DomainSettings, IsaSettings, PairSettings
from domains.registry import check_pair, open_reader, open_translated
from domains.stores.translations import (
    KIND,
    TranslatedByRun,
    TranslatedRow,
    TranslationManifest,
    Translations,
    find_translations,
    translations_record,
    write_translation_manifest,
    write_translations,
)
from domains.toycity.reader import ToyCity

SOURCE = ToyCity("game", "train", 5, 32, 64)
PAIR = PairSettings(source=DomainSettings(count=5), target=DomainSettings(style="street", count=5), height=32, width=64)
CROP = AugmentSettings(crop_height=32, crop_width=64)


def negative(index: int) -> torch.Tensor:
    return 255 - SOURCE.image(index)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that "translated" five images of the toy city, in two shards."""
    folder, digests = tmp_path / "run" / "stages" / "01-translation", {}
    for number, indices in enumerate((range(3), range(3, 5))):
        rows = (TranslatedRow(SOURCE.ids[index], index, negative(index)) for index in indices)
        name = f"images-{number:03d}.arrow"
        digests[name] = write_translations(folder / name, rows, {"translator": "weights"})
    write_translation_manifest(folder, TranslationManifest(KIND, "weights", 32, 64, digests))
    return tmp_path / "run"


def isa(run: Path | str, **changes: object) -> IsaSettings:
    return dataclasses.replace(IsaSettings(translator="run", run=str(run)), **changes)


def problems(pair: PairSettings, settings: IsaSettings) -> list[str]:
    return check_pair(pair, CROP, settings, "")


def test_images_come_back_as_they_were_also_from_a_pickled_copy(run):
    store = Translations(find_translations(run))
    assert store.ids == SOURCE.ids
    for copied in (store, pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
        for index, id in enumerate(SOURCE.ids):
            assert torch.equal(copied.image(id), negative(index))


def test_datasets_opens_the_shards_as_pictures(run):
    table = Dataset.from_file(str(find_translations(run) / "images-001.arrow"))
    assert table["id"] == list(SOURCE.ids[3:])
    assert np.array_equal(np.array(table[0]["image"]), negative(3).permute(1, 2, 0).numpy())


def test_reader_gives_translated_images_with_the_labels_of_the_originals(run):
    reader = open_reader(PAIR.source, SOURCE.space, "", 32, 64)
    translated = open_translated(reader, isa(run), "", 32, 64)
    assert translated.ids == SOURCE.ids
    assert torch.equal(translated.image(2), negative(2))
    assert torch.equal(translated.label(2), SOURCE.label(2))
    assert problems(PAIR, isa(run)) == []


def test_fewer_source_images_and_another_size_of_the_same_aspect_will_do(run):
    fewer = DomainSettings(count=2, height=64, width=128)
    assert problems(dataclasses.replace(PAIR, source=fewer), isa(run)) == []
    reader = TranslatedByRun(ToyCity("game", "train", 2, 64, 128), run, 64, 128)
    assert reader.image(1).shape == (3, 64, 128)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (DomainSettings(count=7), "2 of 7 ids have no translation"),
        (DomainSettings(style="street", count=5), "5 of 5 ids have no translation"),
        (DomainSettings(count=5, height=48, width=64), "32x64 pixels .* 48x64"),
    ],
)
def test_translations_of_other_images_are_refused_in_one_sentence(run, source, said):
    (problem,) = problems(dataclasses.replace(PAIR, source=source), isa(run))
    assert problem.startswith("translated source images: ")
    assert re.search(said, problem)


def test_translations_of_one_size_do_not_fit_images_as_they_are(run):
    with pytest.raises(DataError, match="the size that they have"):
        TranslatedByRun(SOURCE, run)


def test_a_folder_that_holds_no_translations_is_refused(run, tmp_path):
    (tmp_path / "other" / "stages" / "00-source").mkdir(parents=True)
    assert "did you mean" in problems(PAIR, isa(tmp_path / "rum"))[0]
    assert "holds no finished" in problems(PAIR, isa(tmp_path / "other"))[0]
    assert "isa.run" in problems(PAIR, isa(""))[0]
    (find_translations(run) / "manifest.json").unlink()
    assert "holds no finished" in problems(PAIR, isa(run))[0]


def test_a_damaged_shard_is_named_before_anything_starts(run):
    shard = find_translations(run) / "images-000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    (problem,) = problems(PAIR, isa(run))
    assert "images-000.arrow" in problem


def test_record_follows_the_content_and_only_where_it_is_used(run, tmp_path):
    record = translations_record(isa(run))
    assert record is not None
    run.replace(tmp_path / "moved")
    assert translations_record(isa(tmp_path / "moved")) == record
    folder = find_translations(tmp_path / "moved")
    digest = write_translations(folder / "a.arrow", [TranslatedRow("a", 0, negative(0))], {})
    write_translation_manifest(folder, TranslationManifest(KIND, "weights", 32, 64, {"a.arrow": digest}))
    assert translations_record(isa(tmp_path / "moved")) != record
    unused = (None, IsaSettings(), isa(tmp_path / "none", ratio=0.0))
    assert [translations_record(settings) for settings in unused] == [None, None, None]
