"""Cutting work into tasks."""

from __future__ import annotations

import pytest
import torch

from domains.base.files import sha256_of
from domains.stores.pseudo_labels import LabelRow, write_shard
from orchestrator.base.errors import StageFailed
from orchestrator.mapreduce.tasks import split, written_digest


@pytest.mark.parametrize("count", [1, 2, 7, 64, 65, 128, 1000])
@pytest.mark.parametrize("parts", [1, 2, 3, 16])
def test_parts_cover_every_item_once_in_order_and_evenly(count, parts):
    ranges = split(count, parts)
    assert [index for part in ranges for index in part] == list(range(count))
    sizes = [len(part) for part in ranges]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 64
    assert len(ranges) >= min(parts, count)


def test_no_more_parts_than_needed():
    assert len(split(64, 2)) == 2
    assert len(split(129, 2)) == 3
    assert split(2, 8) == [range(0, 1), range(1, 2)]
    assert split(5, 1, largest=2) == [range(0, 1), range(1, 3), range(3, 5)]


def test_a_shard_that_is_not_what_its_task_wrote_enters_no_manifest(tmp_path):
    path, origin = tmp_path / "a.arrow", {"images": "0-0"}
    write_shard(path, [LabelRow("a", 0, torch.zeros(2, 3, dtype=torch.uint8))], origin)
    assert written_digest(path, origin) == sha256_of(path)
    with pytest.raises(StageFailed, match=r"a\.arrow is damaged as soon as it is written"):
        written_digest(path, {"images": "0-1"})
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(StageFailed, match=r"a\.arrow is damaged as soon as it is written"):
        written_digest(path, origin)
