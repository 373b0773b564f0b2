"""A labelling stage that was cut off and whose counts are damaged meanwhile ends with the very same labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.base.files import read_json
from orchestrator.mapreduce.labelling import COUNTS
from orchestrator.mapreduce.statistics import COUNTS as STATISTICS
from orchestrator.run.folder import DONE
from pipelines.crst import Crst
from tests.conftest import digests

pytestmark = pytest.mark.without_ray


@pytest.fixture(scope="module")
def words(tiny) -> list[str]:
    """Soft labels, since they keep the counts of each part, under a prior, which is counted too."""
    return tiny(Crst, regulariser="lrent", source__steps=4, adapt__steps=2, pseudo__spatial_prior=True, panels=0)


@pytest.fixture(scope="module")
def undisturbed(desk, words) -> Path:
    desk.carry_out("crst", *words, "--name", "counts", "--track", "none")
    return desk.runs / "counts"


def flip(path: Path, name: str, item: int, bit: int) -> None:
    """Change one bit of an array of int64 in a file."""
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    about = json.loads(content[8:start])[name]
    assert about["dtype"] == "I64"
    first, end = (start + offset for offset in about["data_offsets"])
    place = (first if item >= 0 else end) + 8 * item + bit // 8
    assert first <= place < end
    content[place] ^= 1 << bit % 8
    path.write_bytes(content)


def cut_off(undisturbed: Path, run: Path) -> Path:
    """A copy of the run in which labels are half done and nothing after them is; returns its labelling stage."""
    shutil.copytree(undisturbed, run)
    for folder in sorted((run / "stages").iterdir(), reverse=True):
        if folder.name.endswith("-label-0"):
            break
        shutil.rmtree(folder)
    for name in (DONE, "manifest.json", "labels-001.arrow"):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize("damage", ["whole", "part", "no digest", "statistics"])
def test_labels_of_a_stage_whose_counts_were_damaged_are_those_of_an_undisturbed_one(damage, undisturbed, desk, words):
    run = desk.runs / f"counts-{damage.replace(' ', '-')}"
    stage = cut_off(undisturbed, run)
    match damage:
        case "whole":
            flip(stage / COUNTS, "histogram", -1, 40)
        case "part":
            (stage / COUNTS).unlink()
            flip(stage / "scores-001.safetensors", "histogram", -1, 40)
        case "no digest":
            flip(stage / COUNTS, "histogram", -1, 40)
            (stage / f"{COUNTS}.sha256").unlink(missing_ok=True)
        case "statistics":
            (statistics,) = (run / "stages").glob("*-statistics")
            flip(statistics / STATISTICS, "places", 0, 20)
    desk.carry_out("crst", *words, "--name", run.name, "--track", "none")
    assert read_json(stage / "manifest.json") == read_json(undisturbed / "stages" / stage.name / "manifest.json")
    assert digests(run) == digests(undisturbed)
