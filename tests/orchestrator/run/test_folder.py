"""The run folder: one holder, one configuration, and stages that count as done only when nothing in them changed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.base import files
from orchestrator.base.errors import StageFailed, UserError
from orchestrator.base.files import digests_below, read_json, write_json
from orchestrator.run.folder import (
    CHECKPOINTS,
    DONE,
    Finished,
    RunFolder,
    differences,
    finish_stage,
    finished_stage,
    handed_on,
    ledger,
    reuse_stage,
    runs_at,
)

RESULT = {"miou": 0.5, "iou": {"road": 0.9, "sky": None}}


@pytest.fixture
def stage(tmp_path):
    folder = tmp_path / "run" / "stages" / "00-source"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.safetensors").write_bytes(bytes(range(64)))
    (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    finish_stage(folder, "f" * 64, RESULT)
    return folder


def test_second_process_is_refused_with_the_pid_of_the_first(tmp_path):
    program = (
        "import sys, pathlib; from orchestrator.run.folder import RunFolder\n"
        "home = RunFolder(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"in use by process {holder.pid};"):
            RunFolder(tmp_path)
        holder.kill()
        holder.wait()
        RunFolder(tmp_path).close()


def test_lock_is_free_after_closing(tmp_path):
    first = RunFolder(tmp_path)
    with pytest.raises(UserError, match=f"in use by process {os.getpid()};"):
        RunFolder(tmp_path)
    first.close()
    RunFolder(tmp_path).close()


def test_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run")


def test_first_config_is_written_and_the_same_one_accepted(tmp_path):
    config = {"method": "drsl", "seed": 0, "model": {"dilations": [6, 12], "lr": 2.5e-4}}
    for _ in range(2):
        home = RunFolder(tmp_path)
        home.adopt_config(config)
        home.close()


def test_recorded_config_is_what_the_run_began_with(tmp_path):
    home = RunFolder(tmp_path)
    assert home.recorded_config() is None
    home.adopt_config({"seed": 3, "compute": {"workers": 2}})
    assert home.recorded_config() == {"seed": 3, "compute": {"workers": 2}}
    home.close()


def test_other_config_is_refused_with_every_difference(tmp_path):
    home = RunFolder(tmp_path)
    home.adopt_config({"seed": 0, "model": {"width": 16, "stride": 8}, "old": 1})
    before = (tmp_path / "config.yaml").read_text()
    with pytest.raises(UserError, match="other settings") as caught:
        home.adopt_config({"seed": 1, "model": {"width": 32, "stride": 8}, "new": 2})
    assert caught.value.details[:-1] == (
        "model.width: there 16, now 32",
        "new: there None, now 2",
        "old: there 1, now None",
        "seed: there 0, now 1",
    )
    assert "--fresh" in caught.value.details[-1]
    assert (tmp_path / "config.yaml").read_text() == before
    home.close()


@pytest.mark.parametrize("content", [b"", b"a: [", b"\xff", b"- 1\n"])
def test_damaged_config_is_named(content, tmp_path):
    (tmp_path / "config.yaml").write_bytes(content)
    home = RunFolder(tmp_path)
    for read in (home.recorded_config, lambda: home.adopt_config({"seed": 0})):
        with pytest.raises(UserError, match=r"config\.yaml is damaged"):
            read()
    home.close()


def test_allowed_changes_set_aside_what_the_folder_held(tmp_path):
    home = RunFolder(tmp_path / "run")
    home.adopt_config({"seed": 0, "adapt": {"lr": 1, "steps": 2}})
    home.record("started")
    (home.path / "stages" / "00-source").mkdir(parents=True)
    for number, rate in enumerate((2, 3), 1):
        home.adopt_config({"seed": 0, "adapt": {"lr": rate, "steps": 2}}, ["adapt"])
        assert [path.name for path in home.earlier()] == [f"before-{n}" for n in range(number, 0, -1)]
        assert home.recorded_config() == {"seed": 0, "adapt": {"lr": rate, "steps": 2}}
    assert (home.path / "before-1" / "stages" / "00-source").is_dir()
    assert "lr: 2" in (home.path / "before-2" / "config.yaml").read_text()
    changes = [event["settings"] for event in ledger(home.path) if event["event"] == "changed"]
    assert changes == [{"adapt.lr": [1, 2]}, {"adapt.lr": [2, 3]}]
    home.close()


@pytest.mark.parametrize("allowed", [["adapt.l"], ["adap"], ["seed"], []])
def test_a_change_that_was_not_allowed_is_refused_and_nothing_moves(allowed, tmp_path):
    home = RunFolder(tmp_path / "run")
    home.adopt_config({"seed": 0, "adapt": {"lr": 1}})
    with pytest.raises(UserError, match=r"(?s)adapt.lr: there 1, now 2.*--allow-change"):
        home.adopt_config({"seed": 1, "adapt": {"lr": 2}}, allowed)
    assert home.earlier() == []
    assert home.recorded_config() == {"seed": 0, "adapt": {"lr": 1}}
    home.close()


def test_differences_are_dotted():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}) == {"a.c": (2, 3)}
    assert differences({"a": 1}, {"a": {"b": 1}}) == {"a": (1, {"b": 1})}
    assert differences({}, {}) == {}


def test_ledger_keeps_events_in_order_over_sittings(tmp_path):
    for number in range(3):
        home = RunFolder(tmp_path)
        home.record("started", stage="source", number=number)
        home.close()
    events = ledger(tmp_path)
    assert [event["number"] for event in events] == [0, 1, 2]
    assert all(event["utc"].endswith("+00:00") for event in events)


def test_ledger_survives_a_line_that_was_cut_off(tmp_path):
    home = RunFolder(tmp_path)
    home.record("started", stage="a")
    home.close()
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write('{"utc": "20')
    home = RunFolder(tmp_path)
    home.record("finished", stage="a")
    home.close()
    assert [event["event"] for event in ledger(tmp_path)] == ["started", "finished"]


def test_metrics_are_collected_in_stage_order(tmp_path):
    home = RunFolder(tmp_path)
    for number, name in [(10, "c"), (2, "b"), (0, "a")]:
        home.stage(number, name).mkdir(parents=True)
        (home.stage(number, name) / "metrics.jsonl").write_text(f"{name}\n")
    home.collect_metrics()
    home.collect_metrics()
    assert (tmp_path / "metrics.jsonl").read_text() == "a\nb\nc\n"
    home.close()


def test_finished_stage_gives_its_result_and_drops_its_checkpoints(stage):
    assert finished_stage(stage, "f" * 64) == Finished("f" * 64, RESULT)
    (stage / CHECKPOINTS).mkdir()
    (stage / CHECKPOINTS / "left-over").touch()
    assert finished_stage(stage, "f" * 64) is not None
    finish_stage(stage, "f" * 64, RESULT)
    assert not (stage / CHECKPOINTS).exists()


def test_stage_without_marker_is_not_finished(stage, tmp_path):
    (stage / DONE).unlink()
    assert finished_stage(stage, "f" * 64) is None
    assert finished_stage(tmp_path / "never", "f" * 64) is None


def test_stage_with_another_fingerprint_is_not_finished(stage):
    assert finished_stage(stage, "e" * 64) is None


@pytest.mark.parametrize("change", ["missing", "extra", "extra-below", "renamed", "cut", "grown"])
def test_changed_files_are_noticed(change, stage):
    weights = stage / "model" / "model.safetensors"
    match change:
        case "missing":
            weights.unlink()
        case "extra":
            (stage / "extra").touch()
        case "extra-below":
            (stage / "model" / "extra").touch()
        case "renamed":
            weights.rename(stage / "model" / "other.safetensors")
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "grown":
            weights.write_bytes(weights.read_bytes() + b"\0")
    assert finished_stage(stage, "f" * 64) is None


@pytest.mark.parametrize("name", ["model/model.safetensors", "metrics.jsonl"])
def test_any_flipped_byte_of_an_output_is_noticed(name, stage):
    path = stage / name
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        assert finished_stage(stage, "f" * 64) is None
    path.write_bytes(good)
    assert finished_stage(stage, "f" * 64) is not None


def test_damaged_marker_never_gives_a_wrong_result(stage):
    marker = stage / DONE
    good, draw = marker.read_bytes(), random.Random(0)
    noticed = 0
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << draw.randrange(8)
        marker.write_bytes(bad)
        found = finished_stage(stage, "f" * 64)
        noticed += found is None
        assert found in (None, Finished("f" * 64, RESULT))
    for length in range(len(good) - 1):
        marker.write_bytes(good[:length])
        assert finished_stage(stage, "f" * 64) is None
    for text in (b"null", b"[]", b"3", b'"digest"', b"{}", b'{"digest": 1}'):
        marker.write_bytes(text)
        assert finished_stage(stage, "f" * 64) is None
    assert noticed > len(good) / 2


def test_crash_before_the_marker_does_not_spoil_the_next_one(stage, monkeypatch):
    (stage / DONE).unlink()

    def crash(*_: object) -> None:
        raise OSError("crash")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OSError, match="crash"):
        finish_stage(stage, "f" * 64, RESULT)
    monkeypatch.undo()
    assert finished_stage(stage, "f" * 64) is None
    finish_stage(stage, "f" * 64, RESULT)
    assert finished_stage(stage, "f" * 64) is not None


def test_stage_of_the_same_fingerprint_is_taken_over(stage, tmp_path):
    mine = tmp_path / "mine" / "stages" / "03-source"
    mine.mkdir(parents=True)
    (mine / "half-done").touch()
    assert reuse_stage([tmp_path / "absent", tmp_path / "run"], "f" * 64, mine) == stage
    assert finished_stage(mine, "f" * 64) == Finished("f" * 64, RESULT)
    assert digests_below(mine) == digests_below(stage)


def test_folder_of_a_sweep_stands_for_its_runs(tmp_path):
    for run in ("sweep/b-0", "sweep/a-0", "sweep/a-0/before-1"):
        (tmp_path / run / "stages").mkdir(parents=True)
    (tmp_path / "sweep" / "table.md").touch()
    assert runs_at(tmp_path / "sweep") == [tmp_path / "sweep" / "a-0", tmp_path / "sweep" / "b-0"]
    assert runs_at(tmp_path / "sweep" / "a-0") == [tmp_path / "sweep" / "a-0"]
    assert runs_at(tmp_path / "none") == []


def test_stage_of_another_fingerprint_or_a_damaged_one_is_left_alone(stage, tmp_path):
    mine = tmp_path / "mine" / "stages" / "00-source"
    mine.mkdir(parents=True)
    (mine / "half-done").touch()
    assert reuse_stage([tmp_path / "run"], "e" * 64, mine) is None
    (stage / "metrics.jsonl").write_text("changed")
    assert reuse_stage([tmp_path / "run"], "f" * 64, mine) is None
    assert [p.name for p in mine.iterdir()] == ["half-done"]


def test_marker_of_an_older_layout_is_not_trusted(stage):
    done = read_json(stage / DONE)
    del done["digest"]
    write_json(stage / DONE, done)
    assert finished_stage(stage, "f" * 64) is None


def test_what_a_stage_handed_on_is_checked_as_it_is_read(stage):
    name = "model/model.safetensors"
    good = (stage / name).read_bytes()
    assert handed_on(stage, name) == good
    for place in range(len(good)):
        (stage / name).write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(StageFailed, match=r"model\.safetensors was damaged or changed after"):
            handed_on(stage, name)
    (stage / name).unlink()
    with pytest.raises(StageFailed, match="damaged or changed"):
        handed_on(stage, name)
    (stage / name).write_bytes(good)
    with pytest.raises(StageFailed, match="damaged or changed"):
        handed_on(stage, "model/other")
    (stage / DONE).unlink()
    with pytest.raises(StageFailed, match="damaged or changed"):
        handed_on(stage, name)


def test_crash_while_a_stage_is_taken_over_leaves_what_was_there_and_goes_with_the_next_start(
    stage, tmp_path, monkeypatch
):
    mine = tmp_path / "mine" / "stages" / "03-source"
    mine.mkdir(parents=True)
    (mine / "half-done").touch()

    def crash(*_: object) -> None:
        raise OSError("crash")

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_folder", crash)
        patch.setattr(files, "remove", lambda _: None)  # a process that was killed removes nothing
        with pytest.raises(OSError, match="crash"):
            reuse_stage([tmp_path / "run"], "f" * 64, mine)
    assert [path.name for path in mine.iterdir()] == ["half-done"]
    assert len(list(mine.parent.iterdir())) == 2
    (tmp_path / "mine" / ".notes.tmp").touch()
    RunFolder(tmp_path / "mine").close()
    assert list(mine.parent.iterdir()) == [mine]
    assert (tmp_path / "mine" / ".notes.tmp").exists(), "no file of ours"


def test_links_within_a_run_folder_are_no_hindrance(tmp_path):
    (tmp_path / "wandb" / "run-1").mkdir(parents=True)
    (tmp_path / "wandb" / "latest-run").symlink_to("run-1")
    home = RunFolder(tmp_path)
    home.adopt_config({"seed": 0})
    home.record("started")
    home.close()
    assert (tmp_path / "wandb" / "latest-run").is_symlink()
