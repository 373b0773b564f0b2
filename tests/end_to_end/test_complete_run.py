"""One whole run of DRSL+, from the command line to the report, and what a user may rely on afterwards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import yaml

from domains.base.labels import SPACES
from domains.stores.arrow import sha256_of
from domains.stores.pseudo_labels import PseudoLabels, verify
from domains.toycity.reader import ToyCity
from models.weights import load_model
from tests.conftest import digests

STAGES = ("source", "source-only", "source-mmdl", "label-0", "adapt-0", "evaluate-0", "panels")


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def times_below(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every file that a stage hands on: whether it was written again."""
    files = (path for path in folder.rglob("*") if path.is_file() and "checkpoints" not in path.parts)
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def summary(finished):
    return json.loads((finished.folder / "summary.json").read_text())


def test_what_is_printed_shows_the_course_and_names_the_report(finished):
    printed = finished.printed
    assert f"DRSL+: {finished.folder}" in printed
    for words in ("source-only: mIoU", "label-0: ", "evaluate-0: mIoU", "mean IoU"):
        assert words in printed
    assert printed.splitlines()[-1] == f"report: {finished.folder / 'report.html'}"
    assert "Traceback" not in printed
    assert "ray" not in printed.lower().replace("starting ray ...", "")


def test_run_folder_holds_what_was_promised(finished):
    names = {path.name for path in finished.folder.iterdir() if not path.name.startswith(".")}
    assert names == {
        *("config.yaml", "environment.json", "ledger.jsonl", "metrics.jsonl", "summary.json", "report.html"),
        *("stages", "model", "tensorboard"),
    }
    stages = sorted(path.name for path in (finished.folder / "stages").iterdir())
    assert stages == [f"{number:02d}-{name}" for number, name in enumerate(STAGES)]
    assert {path.name for path in (finished.folder / "model").iterdir()} == {"model.safetensors", "config.json"}


def test_nothing_half_done_is_left_in_the_run_folder(finished):
    leftovers = [
        path
        for path in finished.folder.rglob("*")
        if path.name.endswith((".tmp", ".partial")) or path.name.startswith(("scores-", "checkpoints", "STOP"))
    ]
    assert leftovers == []


def test_every_stage_is_in_the_ledger_once(finished):
    events = records(finished.folder / "ledger.jsonl")
    assert [(e["event"], e["stage"]) for e in events] == [(w, s) for s in STAGES for w in ("started", "finished")]


def test_metrics_hold_every_step_and_evaluation_in_order(finished):
    lines = records(finished.folder / "metrics.jsonl")
    steps = {name: [line["step"] for line in lines if line["stage"] == name] for name in ("source", "adapt-0")}
    assert steps == {"source": list(range(1, 13)), "adapt-0": list(range(1, 13))}
    assert list(dict.fromkeys(line["stage"] for line in lines)) == [
        *("source", "source-only", "source-mmdl", "adapt-0", "evaluate-0")
    ]
    adapt = next(line for line in lines if line["stage"] == "adapt-0")
    assert {"seg_source", "seg_target", "triplet", "mixture", "consistency"} <= adapt.keys()


def test_summary_has_every_field(summary):
    classes = list(SPACES["toycity12"].classes)
    assert summary["schema"] == 1
    assert (summary["method"], summary["title"], summary["preset"], summary["seed"]) == ("drsl", "DRSL+", "toy", 0)
    assert summary["oracle"] is False
    protocol = summary["protocol"]
    assert protocol["classes"] == classes
    assert (protocol["flip"], protocol["checkpoint"]) == (False, "last")
    assert "255" in protocol["ignore"]
    assert "64x128" in protocol["resolution"]
    for part in (summary["source_only"], summary["adapted"]):
        assert list(part["iou"]) == classes
        known = [iou for iou in part["iou"].values() if iou is not None]
        assert part["miou"] == pytest.approx(np.mean(known))
        assert all(0 <= iou <= 1 for iou in known)
    (only,) = summary["rounds"]
    assert (only["round"], only["portion"]) == (0, 0.2)
    assert list(only["thresholds"]) == classes
    assert all(0 < threshold <= 1 for threshold in only["thresholds"].values())
    assert 0.1 < only["coverage"] < 0.4
    assert 0 <= only["pseudo_label_miou"] <= 1
    assert 0 <= only["self_entropy"] <= 100
    assert set(summary["seconds"]) == set(STAGES)
    assert all(isinstance(warning, str) for warning in summary["warnings"])


def test_environment_says_what_the_run_was_made_with(finished):
    environment = json.loads((finished.folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["packages"]["ray"].startswith("2.")


def test_report_is_one_file_with_the_numbers_of_the_summary(finished, summary):
    report = (finished.folder / "report.html").read_text()
    assert "DRSL+" in report
    assert not re.search(r"(src|href)=[\"']?(https?:|//|file:)", report)
    assert report.count("data:image/png;base64,") >= 2 * 4
    for part in ("source_only", "adapted"):
        assert f"{100 * summary[part]['miou']:.1f}" in report or f"{summary[part]['miou']:.3f}" in report


def test_every_shard_opens_with_datasets_and_matches_the_manifest(finished):
    folder = finished.folder / "stages" / "03-label-0"
    manifest = json.loads((folder / "manifest.json").read_text())
    shards = sorted(folder.glob("labels-*.arrow"))
    assert manifest["shards"] == {path.name: sha256_of(path) for path in shards}
    assert len(shards) == 3
    assert verify(folder) == []
    rows = [row for path in shards for row in datasets.Dataset.from_file(str(path))]
    target = ToyCity("street", "train", 8, 64, 128)
    assert [row["id"] for row in rows] == list(target.ids)
    assert {(row["height"], row["width"]) for row in rows} == {(64, 128)}
    labels = torch.stack([PseudoLabels(folder).label(name) for name in target.ids])
    counts = np.bincount(labels.numpy().ravel(), minlength=256)
    assert list(manifest["class_counts"].values()) == counts[:12].tolist()


def test_miou_of_the_summary_is_that_of_the_model(finished, summary, upsample):
    network, _ = load_model(finished.folder / "model")
    city, space = ToyCity("street", "val", 4, 64, 128), SPACES["toycity12"]
    confusion = np.zeros((12, 12), dtype=int)
    for index in range(len(city)):
        image = city.image(index)[None].float() / 255
        with torch.no_grad():
            logits = network(image).logits_BKhw[0].numpy()
        prediction = upsample(logits, (64, 128)).argmax(0)
        for truth, said in zip(city.label(index).flatten().tolist(), prediction.flatten(), strict=True):
            if truth != 255:
                confusion[space.classes.index(city.space.classes[truth]), said] += 1
    expected = {}
    for k, name in enumerate(space.classes):
        union = confusion[k].sum() + confusion[:, k].sum() - confusion[k, k]
        expected[name] = confusion[k, k] / union if union else None
    assert summary["adapted"]["iou"] == pytest.approx(expected, abs=1e-3)
    known = [iou for iou in expected.values() if iou is not None]
    assert summary["adapted"]["miou"] == pytest.approx(np.mean(known), abs=1e-4)


def test_nothing_is_left_outside_the_run_folder(finished, desk):
    assert list(desk.home.iterdir()) == []
    assert list(desk.work.iterdir()) == [desk.runs]
    assert not list(desk.temp.glob("segadapt-*"))


def test_same_command_again_does_nothing_but_say_so(finished, desk):
    stages = times_below(finished.folder / "stages")
    names = ("summary.json", "metrics.jsonl", "config.yaml", "ledger.jsonl", "model/model.safetensors")
    before = {name: sha256_of(finished.folder / name) for name in names}
    printed = desk.carry_out("drsl", *finished.words)
    assert [f"{name}: done before" for name in STAGES] == [line for line in printed.splitlines() if "done" in line]
    assert times_below(finished.folder / "stages") == stages
    assert {name: sha256_of(finished.folder / name) for name in names} == before


def test_recorded_config_repeats_the_run_without_ray_bit_for_bit(finished, desk):
    desk.carry_out("drsl", "--config", str(finished.folder / "config.yaml"), "--name", "repeated")
    first, second = finished.folder, desk.runs / "repeated"
    assert yaml.safe_load((first / "config.yaml").read_text()) == yaml.safe_load((second / "config.yaml").read_text())
    assert len([name for name in digests(first) if name.endswith(".arrow")]) == 3
    assert digests(second) == digests(first)
