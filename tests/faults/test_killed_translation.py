"""A translator's training that is killed goes on with the same images in its pools; DRSL then reads what it made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

from pipelines.translate import Translate
from tests.conftest import digests, end


@pytest.fixture(scope="module")
def words(tiny) -> list[str]:
    small = {"translator__width": 4, "translator__blocks": 1, "translator__judge_width": 4, "translator__pool": 2}
    length = {"train__steps": 6, "train__checkpoint_every": 2, "train__log_every": 1}
    found = tiny(Translate, **small, **length)
    place = found.index("--pair.evaluation.count")
    return found[:place] + found[place + 2 :]


@pytest.fixture(scope="module")
def undisturbed(desk, words) -> Path:
    desk.carry_out("translate", *words, "--name", "translated")
    return desk.runs / "translated"


def test_a_translator_leaves_shards_statistics_and_a_report_without_a_segmentation(undisturbed):
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert set(summary["translation"]["colours"]) == {"source", "translated", "target"}
    assert summary["translation"]["images"] == 8
    assert not {"source_only", "adapted"} & set(summary)
    assert "mIoU" not in (undisturbed / "report.html").read_text()
    assert not (undisturbed / "model").exists()
    kept = {path.stem for path in undisturbed.glob("stages/*/networks/*.safetensors")}
    assert kept == {"to_target", "to_source", "judge_target", "judge_source"}
    shards = sorted(undisturbed.glob("stages/*-translation/images-*.arrow"))
    assert len(shards) == 3
    tables = [Dataset.from_file(str(shard)) for shard in shards]
    assert [picture.size for table in tables for picture in table["image"]] == [(128, 64)] * 8


def test_a_run_that_was_killed_ends_as_one_that_was_not(desk, words, undisturbed):
    run = desk.runs / "translated-killed"
    again = [*words, "--name", run.name]
    command = desk.start("translate", *again)
    # By step 4 the pools, of two images each, are full and draw.
    command.until(lambda: list(run.glob("stages/*-translator/checkpoints/step-00000004/COMPLETE")))
    end(command.kill())
    assert not (run / "summary.json").exists()
    printed = desk.start("translate", *again).ends()
    assert "translator: continuing from step" in printed
    assert digests(run) == digests(undisturbed)


def test_drsl_trains_on_the_translations_of_a_run_and_notices_when_they_are_gone(desk, tiny, undisturbed):
    words = tiny(
        source__steps=2,
        adapt__steps=2,
        isa__translator="run",
        isa__run=undisturbed,
        isa__ratio=1,
        pretrain="frozen_backbone",
        pair__evaluation__kind="none",
        panels=1,
    )
    place = words.index("--pair.evaluation.count")
    words = [*words[:place], *words[place + 2 :], "--name", "with-translations"]
    desk.carry_out("drsl", *words)
    assert (desk.runs / "with-translations" / "model" / "model.safetensors").exists()
    manifest = next(undisturbed.glob("stages/*-translation/manifest.json"))
    hidden = manifest.with_suffix(".hidden")
    manifest.rename(hidden)
    printed = desk.start("drsl", *words).ends(code=2)
    hidden.rename(manifest)
    assert f"{undisturbed} holds no finished translated source images" in printed
    assert "Traceback" not in printed
