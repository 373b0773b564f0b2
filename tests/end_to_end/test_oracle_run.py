"""The oracle is a run like any other, and says in every output that it saw target labels."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.without_ray


@pytest.fixture(scope="module")
def oracle(desk, tiny):
    own = ("pair", "augment", "model", "source", "compute", "panels")
    words = tiny(pair__source__style="street", source__steps=4)
    pairs = zip(words[::2], words[1::2], strict=True)
    kept = [word for pair in pairs if pair[0].removeprefix("--").startswith(own) for word in pair]
    printed = desk.carry_out("oracle", *kept)
    return desk.runs / "oracle-toy-0", printed


def test_oracle_is_marked_in_summary_table_and_report(oracle):
    folder, printed = oracle
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["oracle"] is True
    assert (summary["method"], summary["title"]) == ("oracle", "target oracle")
    assert "trained on target labels (oracle)" in printed
    assert "oracle" in (folder / "report.html").read_text()


def test_oracle_has_one_measurement_and_no_round(oracle):
    folder, _ = oracle
    summary = json.loads((folder / "summary.json").read_text())
    assert "source_only" not in summary
    assert 0 <= summary["adapted"]["miou"] <= 1
    assert summary["rounds"] == []
