"""Reproduced tables: their runs, what these share, and the table they end with; the runs themselves are made up."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from domains.base.errors import DataError
from orchestrator import cli, runner
from orchestrator.base.files import write_json
from orchestrator.base.progress import Progress
from orchestrator.cluster.session import Session
from orchestrator.contract.config import read_settings
from orchestrator.contract.published_table import PublishedTable, Variant
from orchestrator.report.tables import slug
from orchestrator.reproduce.run import carry_out
from pipelines.drsl import PRESETS as DRSL_PRESETS
from pipelines.drsl import Drsl
from pipelines.structure import PRESETS, Structure


@pytest.fixture
def runs(monkeypatch):
    """Settings, folder and reused folders of every run, which finds 0.1 before and its number over 10 after.

    Its labels of two rounds have an mIoU of 0.5 and 0.6, and a self-entropy of its number.
    """
    made = []

    def pretend(method, home, progress, reuse, track, grace_s):
        made.append((method, home.path.name, [path.name for path in reuse]))
        stage = home.path / "stages" / "01-source-only"
        stage.mkdir(parents=True)
        write_json(stage / "evaluation.json", {"iou": {"road": 0.1}, "classes": ["road"], "confusion": [[1]]})
        adapted = {"iou": {"road": len(made) / 10}}
        rounds = [
            {"round": i, "portion": 0.2, "coverage": 0.2, "pseudo_label_miou": 0.5 + i / 10, "self_entropy": len(made)}
            for i in (0, 1)
        ]
        summary = {"protocol": {"name": "toycity12-flip"}, "source_only": {"iou": {"road": 0.1}}, "adapted": adapted}
        write_json(home.path / "summary.json", {**summary, "rounds": rounds})

    monkeypatch.setattr(runner, "run", pretend)
    return made


@pytest.fixture
def progress():
    return Progress(Console(file=io.StringIO()))


def settings(variant, seed):
    return dataclasses.replace(PRESETS["toy"](), seed=seed, **variant.changes)


def drsl_settings(variant, seed):
    return read_settings(Drsl, {**variant.changes, "seed": seed}, DRSL_PRESETS["toy"]())


def test_every_run_tells_the_same_trackers_and_has_the_same_grace(runs, tmp_path, progress, monkeypatch):
    pretend, told = runner.run, []
    monkeypatch.setattr(runner, "run", lambda *given, **how: (told.append(how), pretend(*given, **how)))
    how = {"track": ("tensorboard", "mlflow"), "grace_s": 7.0}
    carry_out(Structure.tables["table1"], range(1), settings, tmp_path, progress, **how)
    assert told == [how] * len(runs)


def test_every_arm_runs_with_every_seed_and_takes_over_from_those_of_its_seed(runs, tmp_path, progress):
    table = carry_out(Structure.tables["table1"], range(4, 6), settings, tmp_path, progress)
    names = [name for _, name, _ in runs]
    variants = ["source-only", "feature-level", "output-level", "full"]
    assert names == [f"{variant}-{seed}" for seed in (4, 5) for variant in variants]
    assert [reuse for _, _, reuse in runs] == [names[:i] for i in range(4)] + [names[4 : 4 + i] for i in range(4)]
    assert [method.seed for method, _, _ in runs] == [4] * 4 + [5] * 4
    weights = [(method.reconstruction > 0, method.adversarial > 0) for method, _, _ in runs[:4]]
    assert weights == [(False, False), (True, False), (False, True), (True, True)]
    assert (tmp_path / "table.md").read_text().endswith(f"{table}\n")
    assert [line.split("|")[-2].strip() for line in table.splitlines()[5:]] == ["36.6", "39.1", "41.7", "44.8"]
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["seeds"] == [4, 5]
    assert table.startswith("Protocol: toycity12-flip; ")
    assert content["protocol"] in table
    assert content["miou"]["full"] == [[0.1, 0.4], [0.1, 0.8]]


def test_a_sweep_of_pseudo_labels_shows_each_round_and_the_published_pairs(runs, tmp_path, progress):
    carry_out(Drsl.tables["table7"], range(2), drsl_settings, tmp_path, progress)
    lines = (tmp_path / "table.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    assert rows == [
        ["without MMDL", "0", "0.500 ± 0.000", "0.500, 0.500", "73.9", "2.00 ± 1.41", "1.00, 3.00", "6.56"],
        ["with MMDL", "0", "0.500 ± 0.000", "0.500, 0.500", "73.9", "3.00 ± 1.41", "2.00, 4.00", "6.56"],
        ["without MMDL", "1", "0.600 ± 0.000", "0.600, 0.600", "76.4", "2.00 ± 1.41", "1.00, 3.00", "1.57"],
        ["with MMDL", "1", "0.600 ± 0.000", "0.600, 0.600", "78.7", "3.00 ± 1.41", "2.00, 4.00", "1.14"],
    ]
    content = json.loads((tmp_path / "table.json").read_text())
    assert [entry["self_entropy"] for entry in content["rounds"]["with MMDL"][1]] == [4, 4]
    assert content["published_rounds"]["with MMDL"] == [[73.9, 6.56], [78.7, 1.14]]
    assert (tmp_path / "table.html").read_text().count("round 1: ") == 2


def test_page_stands_alone_is_escaped_and_links_to_every_run(runs, tmp_path, progress):
    variants = (Variant("<b>one</b>", {}, 1.0), Variant("two", {"adversarial": 0}))
    carry_out(PublishedTable("a & b", variants, "<i>elsewhere</i>"), range(2), settings, tmp_path, progress)
    page = (tmp_path / "table.html").read_text()
    for raw in ("<b>one", "<i>else", "a & b", "<script", "http://", "https://"):
        assert raw not in page
    links = re.findall(r'<a href="([^"]+)/report.html">', page)
    assert links == [f"{name}-{seed}" for name in ("b-one-b", "two") for seed in (0, 1)]
    assert all((tmp_path / link).is_dir() for link in links)
    chart = ElementTree.parse(tmp_path / "table.svg").getroot()  # of our own making
    assert chart.tag == "{http://www.w3.org/2000/svg}svg"


def refused(capsys, method, presets, *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.main(method, presets, ["sweep", *words])
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("table9",)])
def test_unknown_sweep_names_those_there_are(words, capsys):
    assert "table1" in refused(capsys, Structure, PRESETS, *words)


def test_method_without_sweeps_says_so(capsys):
    assert "has none" in refused(capsys, type("Bare", (Drsl,), {"tables": {}}), DRSL_PRESETS, "table1")


def test_mistakes_of_a_sweep_are_told_together_before_it_starts(capsys):
    words = ("--seeds", "0", "--sead", "1", "--adapt.lr", "-1", "--mmdl.modes", "4")
    message = refused(capsys, Drsl, DRSL_PRESETS, "table5", *words)
    assert all(
        word in message for word in ("seeds: ", "sead", "adapt.lr", "mmdl.modes: the variants of table5 decide it")
    )


@pytest.mark.parametrize(
    ("words", "seeds"),
    [((), [0, 1, 2]), (("--seeds", "5"), [0, 1, 2, 3, 4]), (("--seeds", "2", "--seed", "7"), [7, 8])],
)
def test_seeds_are_that_many_from_the_first(words, seeds, runs, monkeypatch, tmp_path, progress):
    session = Session(progress, connect=lambda _compute: None)
    monkeypatch.setattr(cli, "open_session", lambda _verbose: contextlib.nullcontext(session))
    with pytest.raises(SystemExit) as caught:
        cli.main(Drsl, DRSL_PRESETS, ["sweep", "table4", "--runs", str(tmp_path), "--compute.backend", "local", *words])
    assert caught.value.code == 0
    assert [method.seed for method, _, _ in runs] == [seed for seed in seeds for _ in range(2)]
    assert json.loads((tmp_path / "drsl-toy-table4" / "table.json").read_text())["seeds"] == seeds


def test_sweep_needs_something_to_compare_by(capsys):
    words = ("table1", "--pair.evaluation.kind", "none")
    assert "evaluation domain" in refused(capsys, Structure, PRESETS, *words)


def test_help_lists_every_sweep_with_the_benchmark_of_its_numbers(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(Drsl, DRSL_PRESETS, ["sweep", "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    for name, described in Drsl.tables.items():
        assert re.search(rf"^  {name} +{re.escape(described.text)}$", printed, flags=re.MULTILINE)


@pytest.mark.parametrize("method", [Drsl, Structure])
def test_arms_of_a_sweep_have_folders_of_their_own(method):
    for described in method.tables.values():
        assert len({slug(variant.title) for variant in described.variants}) == len(described.variants)


def test_tables_are_written_over_links_and_not_through_them(runs, tmp_path, progress):
    canary, folder = tmp_path / "canary", tmp_path / "sweep"
    canary.write_text("untouched")
    folder.mkdir()
    tables = ("table.md", "table.svg", "table.html", "table.json")
    for name in tables:
        (folder / name).symlink_to(canary)
        (folder / f".{name}.partial").symlink_to(canary)
    carry_out(Structure.tables["table1"], range(1), settings, folder, progress)
    assert not [name for name in tables if (folder / name).is_symlink()]
    assert canary.read_text() == "untouched"


@pytest.mark.parametrize("link", ["full-0", "full-0/stages", "full-0/summary.json"])
def test_a_sweep_with_a_run_that_lies_elsewhere_is_refused(link, runs, tmp_path, progress):
    (tmp_path / "outside").mkdir()
    folder = tmp_path / "sweep"
    (folder / link).parent.mkdir(parents=True)
    (folder / link).symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match=f"{link} is a symbolic link out of"):
        carry_out(Structure.tables["table1"], range(1), settings, folder, progress)
    assert not list((tmp_path / "outside").iterdir())
