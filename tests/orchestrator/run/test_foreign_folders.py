"""Folders that somebody else made, with symbolic links in them: no command reads or writes a file outside them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from domains.base.errors import DataError
from domains.stores.translations import KIND, find_translations
from models.build import build_segmenter
from models.settings import SegmenterSettings
from models.weights import load_model, save_model
from orchestrator import cli
from orchestrator.base.errors import UserError
from orchestrator.base.files import digests_below
from orchestrator.run.folder import RunFolder, finish_stage, finished_stage, reuse_stage
from pipelines.drsl import PRESETS, Drsl

SECRET = "canary-5f1e"
"""Content of a file of the user's that no command may touch or tell."""


@pytest.fixture
def outside(tmp_path) -> Iterator[Path]:
    """A folder of the user's with all the names that a run folder has; nothing of it may change."""
    folder = tmp_path / "outside"
    for place in ("", "stages/00-source", "stages/07-panels", "model", "checkpoints", "tensorboard"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for name in ("config.yaml", "canary", "ledger.jsonl", "metrics.jsonl", "model/model.safetensors"):
        (folder / name).write_text(f"secret: {SECRET}\n")
    for name in ("summary.json", "environment.json", "model/config.json"):
        (folder / name).write_text(json.dumps({"secret": SECRET}))
    for place in ("", "stages/07-panels"):
        index = [{"id": SECRET, "columns": [{"title": "image", "file": "secret.png"}]}]
        (folder / place / "index.json").write_text(json.dumps(index))
        Image.new("RGB", (2, 2)).save(folder / place / "secret.png")
    finish_stage(folder / "stages" / "00-source", "f" * 64, {"secret": SECRET})
    before = state_of(folder)
    yield folder
    assert state_of(folder) == before


@pytest.fixture
def run(tmp_path) -> Path:
    """The run folder of somebody else."""
    folder = tmp_path / "runs" / "foreign"
    (folder / "stages").mkdir(parents=True)
    return folder


def state_of(folder: Path) -> dict[str, object]:
    """Every file and folder below, with its content and when it was last changed."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        facts = path.lstat()
        found[str(path)] = (facts.st_mode, facts.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
    return found


def tells(folder: Path) -> list[Path]:
    """Files below that hold the secret, links not followed."""
    files = [path for path in folder.rglob("*") if not path.is_symlink() and path.is_file()]
    return [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.fixture
def call(capsys, monkeypatch) -> Callable[..., tuple[int, str]]:
    """Exit code and message of a command in this process, which is to be refused before it starts Ray."""

    def started(*_: object) -> None:
        raise UserError("Ray was started")

    monkeypatch.setattr("orchestrator.cluster.resources.connect", started)

    def called(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(Drsl, PRESETS, [str(word) for word in words])
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err

    return called


def refused(told: tuple[int, str], link: Path) -> None:
    """One sentence that names the link, and exit code 2."""
    code, message = told
    assert code == 2, message
    assert str(link) in message
    assert "symbolic link" in message
    assert len(message.strip().splitlines()) == 1
    assert SECRET not in message


LINKS = [
    ("config.yaml", "config.yaml"),
    ("config.yaml", "absent"),
    ("ledger.jsonl", "canary"),
    ("ledger.jsonl", "absent"),
    (".lock", "canary"),
    (".lock", "absent"),
    ("metrics.jsonl", "metrics.jsonl"),
    ("environment.json", "environment.json"),
    (".summary.json.partial", "canary"),
    (".config.yaml.partial", "canary"),
    ("summary.json", "summary.json"),
    ("stages", "stages"),
    ("stages/00-source", "stages/00-source"),
    ("stages/00-source/checkpoints", "checkpoints"),
    ("stages/00-source/metrics.jsonl", "canary"),
    ("stages/00-source/STOP", "absent"),
    ("model", "model"),
    (".model.partial", "model"),
    ("tensorboard", "tensorboard"),
    ("before-1", "."),
]


def plant(run: Path, name: str, target: Path) -> Path:
    """Put a link into a run folder."""
    link = run / name
    if link.is_dir():
        link.rmdir()
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    return link


@pytest.mark.parametrize(("name", "target"), LINKS)
def test_a_run_does_not_go_on_in_a_folder_with_a_link_out_of_it(name, target, run, outside, call):
    link = plant(run, name, outside / target)
    refused(call("--runs", run.parent, "--name", run.name), link)
    assert not tells(run)


@pytest.mark.parametrize(("name", "target"), LINKS)
def test_a_search_does_not_go_on_with_such_a_trial(name, target, run, outside, call):
    trial = run / "trial-0123456789"
    link = plant(trial, name, outside / target)
    refused(call("sweep", "--search", "adapt.lr=grid(1,2)", "--runs", run.parent, "--name", run.name), link)
    assert not tells(run)


@pytest.mark.parametrize(("name", "target"), [link for link in LINKS if link[0].startswith("stages")])
def test_a_run_takes_nothing_over_from_such_a_folder(name, target, run, outside, call, tmp_path):
    link = plant(run, name, outside / target)
    refused(call("--reuse", run, "--runs", tmp_path / "mine"), link)
    refused(call("--reuse", run.parent, "--runs", tmp_path / "mine"), link)
    assert not (tmp_path / "mine").exists()


def test_a_run_takes_nothing_over_from_a_sweep_one_of_whose_runs_lies_elsewhere(run, outside, call, tmp_path):
    link = plant(run.parent, "second", outside)
    refused(call("--reuse", run.parent, "--runs", tmp_path / "mine"), link)


def test_a_folder_that_is_itself_a_link_of_the_users_is_used(run, tmp_path):
    (tmp_path / "disk" / "run").mkdir(parents=True)
    (tmp_path / "disk" / "runs").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "disk" / "run")
    (tmp_path / "linked-runs").symlink_to(tmp_path / "disk" / "runs")
    for place in (tmp_path / "linked", tmp_path / "linked-runs" / "run"):
        home = RunFolder(place)
        home.adopt_config({"seed": 0})
        home.close()
        assert home.recorded_config() == {"seed": 0}


def test_a_stage_with_a_link_in_it_is_not_taken_over_even_where_its_digest_is_that_of_the_target(
    run, outside, tmp_path
):
    stage = run / "stages" / "00-source"
    stage.mkdir()
    (stage / "weights").write_text(f"secret: {SECRET}\n")
    finish_stage(stage, "f" * 64, {})
    assert finished_stage(stage, "f" * 64)
    (stage / "weights").unlink()
    plant(stage, "weights", outside / "canary")
    mine = tmp_path / "mine" / "00-source"
    assert finished_stage(stage, "f" * 64) is None
    assert reuse_stage([run], "f" * 64, mine) is None
    assert not mine.exists()


def test_a_link_where_a_stage_is_to_be_copied_to_is_replaced(run, outside, tmp_path):
    stage = run / "stages" / "00-source"
    stage.mkdir()
    (stage / "weights").write_text("weights")
    finish_stage(stage, "f" * 64, {})
    place = plant(tmp_path / "mine", "stages/00-source", outside / "stages" / "00-source")
    assert reuse_stage([run], "f" * 64, place) == stage
    assert not place.is_symlink()
    assert digests_below(place) == digests_below(stage)


SUMMARY = {"schema": 1, "name": "foreign", "method": "drsl"}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *[link for link in LINKS if link[0] not in ("summary.json", ".lock")],
        ("panels", "."),
        ("panels/index.json", "index.json"),
        ("stages/07-panels", "stages/07-panels"),
        ("stages/07-panels/index.json", "stages/07-panels/index.json"),
        (".report.html.part", "canary"),
        ("report.html", "canary"),
        ("report.html", "absent"),
    ],
)
def test_a_report_leaves_out_what_lies_elsewhere_and_overwrites_nothing(name, target, run, outside, call):
    (run / "summary.json").write_text(json.dumps(SUMMARY))
    plant(run, name, outside / target)
    code, message = call("report", "--run", run)
    assert code == 0, message
    page = run / "report.html"
    assert not page.is_symlink()
    assert not tells(run)
    assert "data:image/png" not in page.read_text()
    if name in ("config.yaml", "metrics.jsonl", "environment.json", "panels", "panels/index.json", "stages/07-panels"):
        assert f"{name.removesuffix('/index.json')}" in page.read_text()
        assert "is a symbolic link out of the run folder: left out." in page.read_text()


@pytest.mark.parametrize("target", ["secret.png", "absent.png"])
def test_a_report_shows_no_picture_that_lies_elsewhere(target, run, outside, call):
    (run / "summary.json").write_text(json.dumps(SUMMARY))
    (run / "panels").mkdir()
    columns = [{"title": "image", "file": name} for name in ("link.png", "ring.png", "../../../outside/secret.png")]
    (run / "panels" / "index.json").write_text(json.dumps([{"id": "a", "columns": columns}]))
    plant(run, "panels/link.png", outside / target)
    (run / "panels" / "ring.png").symlink_to("ring.png")
    assert call("report", "--run", run) == (0, "")
    assert "data:image/png" not in (run / "report.html").read_text()
    assert (run / "report.html").read_text().count("png is missing") == 3


def test_a_summary_that_lies_elsewhere_is_refused(run, outside, call):
    link = plant(run, "summary.json", outside / "summary.json")
    refused(call("report", "--run", run), link)
    assert not (run / "report.html").exists()


def test_a_summary_that_is_damaged_is_told_in_one_sentence(run, call):
    (run / "summary.json").write_text("{")
    code, message = call("report", "--run", run)
    assert (code, len(message.strip().splitlines())) == (2, 1)
    assert "summary.json is not valid JSON" in message


@pytest.fixture
def model(tmp_path) -> Path:
    folder, settings = tmp_path / "model", SegmenterSettings(backbone="resnet10", width=4)
    network = build_segmenter(settings, 2, 0)
    save_model(folder, network, settings, {"name": "two", "classes": ["a", "b"]}, {"size": [8, 8]})
    return folder


@pytest.fixture
def pictures(tmp_path) -> Path:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "a.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("verb", ["evaluate", "label"])
def test_a_model_whose_files_lie_elsewhere_is_refused(verb, name, model, outside, pictures, call, tmp_path):
    kept = tmp_path / "kept"
    (model / name).rename(kept)
    link = plant(model, name, kept)
    words = ["--model", model, "--images", pictures, "--out", tmp_path / "out"]
    labels = ["--labels", pictures, "--label_space", "toycity12"] if verb == "evaluate" else []
    refused(call(verb, *words, *labels), link)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["pictures", "manifest.json", "labels-000.arrow"])
def test_labels_are_not_written_into_a_folder_with_a_link_out_of_it(name, model, outside, pictures, call, tmp_path):
    link = plant(tmp_path / "out", name, outside)
    refused(call("label", "--model", model, "--images", pictures, "--out", tmp_path / "out"), link)
    assert os.listdir(tmp_path / "out") == [name]


def test_a_model_is_saved_over_links_and_not_through_them(model, outside):
    loaded, config = load_model(model)
    for name in ("model.safetensors", "config.json", ".model.safetensors.tmp", ".config.json.tmp"):
        (model / name).unlink(missing_ok=True)
        plant(model, name, outside / "canary")
    settings = SegmenterSettings(backbone="resnet10", width=4)
    save_model(model, loaded, settings, config["label_space"], config["protocol"])
    again, _ = load_model(model)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), again.parameters(), strict=True))


def test_translations_are_not_read_through_a_link(run, outside):
    store = run / "stages" / "01-translation"
    store.mkdir()
    (store / "manifest.json").write_text(json.dumps({"kind": KIND}))
    assert find_translations(run) == store
    plant(store, "images-000.arrow", outside / "canary")
    with pytest.raises(DataError, match=r"images-000\.arrow is a symbolic link out of"):
        find_translations(run)


def test_tensors_are_written_over_a_link_and_not_through_it(tmp_path, outside):
    from orchestrator.base.files import write_tensors

    for target in ("canary", "absent"):
        plant(tmp_path, "a.safetensors", outside / target)
        write_tensors(tmp_path / "a.safetensors", {"a": torch.arange(6.0).view(2, 3).T}, {"made": "from"})
        assert not (tmp_path / "a.safetensors").is_symlink()
        save_file({"a": torch.arange(6.0).view(2, 3).T.contiguous()}, tmp_path / "b.safetensors", {"made": "from"})
        assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
        (tmp_path / "a.safetensors").unlink()
