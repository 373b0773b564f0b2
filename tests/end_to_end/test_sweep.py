"""A published table as runs: all of it at first, then what is missing of it, on real Ray."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from pipelines.structure import Structure
from tests.conftest import digests


@pytest.fixture(scope="module")
def words(tiny) -> list[str]:
    given = tiny(Structure, adapt__steps=2, adapt__batchnorm="eval", discriminator__width=4, decoder_width=8)
    return ["sweep", "table1", *given, "--seeds", "1", "--seed", "5", "--name", "levels"]


@pytest.fixture(scope="module")
def printed(desk, words) -> str:
    return desk.carry_out("structure", *words)


def test_every_arm_is_run_and_stands_beside_the_published_number(desk, printed):
    folder = desk.runs / "levels"
    table = (folder / "table.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert [(row[0], row[-1]) for row in rows[2:]] == [
        ("source-only", ""),
        ("source only", "36.6"),
        ("feature level", "39.1"),
        ("output level", "41.7"),
        ("full", "44.8"),
    ]
    miou = json.loads((folder / "table.json").read_text())["miou"]
    for variant, ((before, after),) in miou.items():
        summary = json.loads((folder / f"{variant.replace(' ', '-')}-5" / "summary.json").read_text())
        assert summary["seed"] == 5
        assert 0 <= before <= 1
        assert 0 <= after <= 1
    assert len({before for ((before, _),) in miou.values()}) == 1
    assert "table:" in printed
    page = (folder / "table.html").read_text()
    assert all((folder / link).is_file() for link in re.findall(r'<a href="([^"]+)">', page))
    assert page.count("report.html") == 4


def test_source_is_trained_once(desk, printed):
    assert printed.count("source: taken over from") == 3
    titles = [json.loads(path.read_text())["title"] for path in desk.runs.glob("levels/*/summary.json")]
    assert len(set(titles)) == 4


def test_same_sweep_again_carries_out_what_is_missing_alone(desk, words, printed):
    folder = desk.runs / "levels"
    table, variant = (folder / "table.md").read_text(), digests(folder / "full-5")
    shutil.rmtree(folder / "full-5")
    again = desk.start("structure", *words).ends()
    assert again.count("adapt: done before") == 3
    assert (folder / "table.md").read_text() == table
    assert digests(folder / "full-5") == variant
