"""Trying a run out: everything is carried out once, and nothing is left behind."""

from __future__ import annotations

import pytest

SMALL = {
    "model.backbone": "resnet10",
    "model.width": 4,
    "mmdl.embed_dim": 8,
    "augment.crop_height": 128,
    "augment.crop_width": 128,
    "pair.source.height": 160,
    "pair.source.width": 320,
    "pair.height": 128,
    "pair.width": 256,
}
"""The full-size preset on a network and images that take no time."""


def left(desk):
    """Everything in the places of a user, but what a run folder of another test may be."""
    return sorted(path for place in (desk.work, desk.temp) for path in place.iterdir() if path.name != "c")


@pytest.fixture(scope="module")
def toy(desk):
    before = left(desk)
    printed = desk.start("drsl", "--dry-run", "--pair.height", "64", "--pair.width", "128", "--augment.crop_height",
                         "48", "--augment.crop_width", "96", "--model.width", "4").ends()  # fmt: skip
    return before, printed, left(desk)


def test_nothing_is_left_behind(toy):
    before, _, after = toy
    assert before == after


def test_what_is_printed_has_the_stages_at_full_length_and_what_they_take(toy):
    _, printed, _ = toy
    lines = [line.split() for line in printed.splitlines()]
    assert ["source", "train", "fresh", "weights", "240", "300", "4", "48x96"] in lines
    assert ["adapt-1", "train", "adapt-0,", "label-1", "240", "+", "240", "60", "2", "+", "2", "48x96"] in lines
    rehearsed = [words[0] for words in lines if words[-4:-2] == ["passed", "in"]]
    assert rehearsed == ["source", "source-only", "label-0", "adapt-0"]
    table = lines[lines.index(["stage", "each", "of", "in", "all", "peak", "GiB"]) + 1 :]
    rounds = ["label-0", "adapt-0", "evaluate-0", "label-1", "adapt-1", "evaluate-1"]
    assert [words[0] for words in table[:9]] == ["source", "source-only", "statistics", *rounds]
    assert all(float(words[1]) > 0 and float(words[-1]) > 0 for words in table[:9])
    assert printed.splitlines()[-1] == "Everything passed."
    assert "Traceback" not in printed
    assert "mIoU" not in printed


def test_a_full_size_preset_is_tried_without_its_data_and_weights(desk):
    before = left(desk)
    words = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    printed = desk.carry_out("drsl", "--preset", "gta5-cityscapes", "--root", "data", "--dry_run", *words)
    assert "24,966 images" in printed
    assert "drawn images stand in" in printed
    assert "which the run itself refuses" in printed
    assert "5,950" in printed
    assert printed.splitlines()[-1] == "Everything passed."
    assert before == left(desk)


def test_bad_settings_are_refused_all_together_before_ray_starts(desk):
    before = left(desk)
    words = ("--preset", "gta5-cityscapes", "--dry-run", "--sead", "1", "--mmdl.label_reduction", "7")
    printed = desk.start("drsl", *words).ends(2)
    assert "sead: no such setting" in printed
    assert "mmdl.label_reduction: 7 must divide" in printed
    assert "starting Ray" not in printed
    assert before == left(desk)
