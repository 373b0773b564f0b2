"""Arrow files: atomic, verified, readable by datasets."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from datasets import Dataset, Features, Value

from domains.base.errors import DataError
from domains.base.files import sha256_of
from domains.stores.arrow import intact_digest, open_table, read_metadata, write_rows

FEATURES = Features({"id": Value("string"), "count": Value("int32")})
ROWS = [{"id": f"row {i}", "count": i} for i in range(75)]
MADE_FROM = {"labeller": "abc", "portion": "0.2"}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "store ü" / "a.arrow"
    write_rows(path, ROWS, FEATURES, MADE_FROM)
    return path


def test_datasets_opens_the_file_memory_mapped_with_its_types(path):
    dataset = Dataset.from_file(str(path))
    assert dataset.features == FEATURES
    assert dataset.to_list() == ROWS
    assert dataset.cache_files == [{"filename": str(path)}]


def test_the_features_travel_in_the_schema(path):
    assert b"huggingface" in open_table(path).schema.metadata


def test_the_digest_is_returned_and_lies_beside_in_the_form_of_sha256sum(path):
    digest = write_rows(path, ROWS, FEATURES, MADE_FROM)
    assert digest == sha256_of(path) == intact_digest(path, MADE_FROM)
    check = subprocess.run(["sha256sum", "--check", "a.arrow.sha256"], cwd=path.parent, capture_output=True, text=True)
    assert check.returncode == 0, check.stderr


def test_equal_rows_give_equal_bytes(path, tmp_path):
    assert write_rows(tmp_path / "b.arrow", iter(ROWS), FEATURES, MADE_FROM) == sha256_of(path)


def test_no_temporary_file_is_left(path):
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["a.arrow", "a.arrow.sha256"]


def test_what_it_was_made_from_is_kept(path):
    assert read_metadata(path) == MADE_FROM
    assert intact_digest(path, {**MADE_FROM, "portion": "0.25"}) is None


@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "no digest", "empty digest"])
def test_a_damaged_file_is_not_intact(path, damage):
    data = bytearray(path.read_bytes())
    digest_path = path.with_name("a.arrow.sha256")
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "gone":
        path.unlink()
    elif damage == "no digest":
        digest_path.unlink()
    else:
        digest_path.write_text("")
    assert intact_digest(path, MADE_FROM) is None


def test_a_writer_that_dies_leaves_the_older_file_and_no_rest(path):
    before = path.read_bytes()

    def dying() -> Iterator[dict[str, object]]:
        yield from ROWS
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_rows(path, dying(), FEATURES, MADE_FROM)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 2
    assert intact_digest(path, MADE_FROM)


def test_a_full_disk_is_told_with_path_and_bytes(path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("domains.base.files.sync", full)
    with pytest.raises(OSError, match=r"cannot write .*b.arrow \([1-9]\d* bytes so far\): .*No space left"):
        write_rows(path.with_name("b.arrow"), ROWS, FEATURES, MADE_FROM)
    assert not list(path.parent.glob("*b.arrow*"))


def test_a_folder_that_cannot_be_made_is_told(path):
    with pytest.raises(OSError, match=r"cannot write .*x.arrow"):
        write_rows(path / "x.arrow", ROWS, FEATURES, MADE_FROM)


@pytest.mark.parametrize("content", [b"", b"not arrow at all, not even nearly"])
def test_another_file_is_no_table(tmp_path, content):
    (tmp_path / "x.arrow").write_bytes(content)
    with pytest.raises(DataError, match=r"x.arrow is not a readable Arrow file"):
        open_table(tmp_path / "x.arrow")
