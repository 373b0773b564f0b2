"""The documents against the code: links, commands, settings, quoted source and tables of values."""

from __future__ import annotations

import json
import re
import shlex
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from domains.base.labels import LabelSpace, label_space
from domains.base.settings import PairSettings
from domains.registry import open_reader
from domains.stores.translations import (
    KIND,
    TranslatedRow,
    TranslationManifest,
    write_translation_manifest,
    write_translations,
)
from orchestrator import cli
from orchestrator.contract.config import flatten, parse_flags, usable_settings
from orchestrator.contract.flags import (
    ConvertFlags,
    EvaluateFlags,
    LabelFlags,
    PrepareFlags,
    ReportFlags,
    RunFlags,
    SearchFlags,
    SweepFlags,
)
from pipelines import adaptsegnet, advent, cbst, crst, drsl, minent, oracle, structure, translate

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
METHODS: dict[str, tuple[Any, Any]] = {
    "drsl": (drsl.Drsl, drsl.PRESETS),
    "cbst": (cbst.Cbst, cbst.PRESETS),
    "crst": (crst.Crst, crst.PRESETS),
    "adaptsegnet": (adaptsegnet.AdaptSegNet, adaptsegnet.PRESETS),
    "advent": (advent.AdvEnt, advent.PRESETS),
    "minent": (minent.MinEnt, minent.PRESETS),
    "structure": (structure.Structure, structure.PRESETS),
    "oracle": (oracle.Oracle, oracle.PRESETS),
    "translate": (translate.Translate, translate.PRESETS),
}
COLUMNS: dict[str, Any] = {"Default": drsl.Drsl, **drsl.PRESETS, **{f"{name}.py": METHODS[name][0] for name in METHODS}}
"""What a column of a table of settings speaks of, by its header."""
VERBS = {
    "evaluate": EvaluateFlags,
    "label": LabelFlags,
    "report": ReportFlags,
    "convert": ConvertFlags,
    "prepare": PrepareFlags,
}
SETTINGS = {name for method, _ in METHODS.values() for name in flatten(method)}
FLAGS = SETTINGS | {name for cls in (SweepFlags, SearchFlags, *VERBS.values()) for name in flatten(cls)}
FOLDERS = ("losses", "models", "domains", "orchestrator", "pipelines", "tests", "benchmarks", "docs", "deploy")
FORBIDDEN = ("/work/", "/home/", "/root/", "/tmp/", "localhost", "pypi.org", "pythonhosted", "index-url")


def blocks(text: str, language: str) -> list[str]:
    """Fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """The text without its fenced code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def inline_code(text: str) -> list[str]:
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(text))]


def commands(text: str) -> list[list[str]]:
    """Words of every `python pipelines/...` line, continuation lines joined, comments dropped; also if submitted."""
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    words = [as_run(shlex.split(line, comments=True)) for line in lines]
    return [line for line in words if len(line) > 1 and line[0].endswith("python") and line[1].startswith("pipelines/")]


def as_run(line: list[str]) -> list[str]:
    """What `ray submit` makes of its words on the head, which a shell reads once more; any other line as it is."""
    if line[:3] != ["ray", "submit", "ray_cluster.yaml"]:
        return line
    return ["python", line[3], *shlex.split(" ".join(line[line.index("--") + 1 :]))]


def tables_of_settings(text: str) -> list[tuple[list[str], list[list[str]]]]:
    """Header and rows of every table whose first column is called "Setting"."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        lines = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table.splitlines()]
        if lines[0][0] == "Setting":
            found.append((lines[0], lines[2:]))
    return found


COMMANDS = [(name, words) for name, text in TEXTS.items() for words in commands(text)]
CELLS = [
    (name, row[0], header[column], row[column])
    for name, text in TEXTS.items()
    for header, rows in tables_of_settings(text)
    for row in rows
    for column in range(1, len(header))
    if header[column] in COLUMNS and row[column]
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which every documented command finds what it names; the working folder of the test."""
    picture = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    label = Image.fromarray(np.zeros((8, 8), np.uint8))
    ids = ("0006R0_a", "0001TP_b", "0001TP_c")
    for split in ("train", "val"):
        for id in ids:
            save(picture, tmp_path / "DIR" / split / f"{id}.png")
            save(label, tmp_path / "DIR" / f"{split}annot" / f"{id}.png")
    for name, id in zip(("day", "dusk_adapt", "dusk_eval"), ids, strict=True):
        (tmp_path / "DIR" / f"{name}.txt").write_text(f"{id}\n")
    for part in ("DIR", "data/synthetic", "data/real", "data/check"):
        save(picture, tmp_path / part / "images" / "a.png")
        save(label, tmp_path / part / "labels" / "a.png")
    for part, image, labelled in (
        ("gta5", "images/00001", "labels/00001"),
        ("cityscapes", "leftImg8bit/train/a/a_leftImg8bit", "gtFine/train/a/a_gtFine_labelIds"),
        ("cityscapes", "leftImg8bit/val/b/b_leftImg8bit", "gtFine/val/b/b_gtFine_labelIds"),
    ):
        save(picture, tmp_path / "DIR" / part / f"{image}.png")
        save(label, tmp_path / "DIR" / part / f"{labelled}.png")
    (tmp_path / "yard.json").write_text(next(b for b in blocks(TEXTS["README.md"], "json") if "yard" in b))
    for run in ("drsl-toy-0", "drsl-toy-1"):
        (tmp_path / "runs" / run / "stages").mkdir(parents=True)
        (tmp_path / "runs" / run / "config.yaml").write_text("method: drsl\npreset: toy\n")
    (tmp_path / "mine.yaml").write_text("method: drsl\npreset: toy\n")
    translated(tmp_path / "runs" / "translate-toy-0", translate.PRESETS["toy"]().pair)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    return tmp_path


def translated(run: Path, pair: PairSettings) -> None:
    """A run folder with a translation, of a few pixels, of every source image."""
    source = open_reader(pair.source, label_space(pair.label_space), "")
    rows = (TranslatedRow(id, index, torch.zeros(3, 2, 4, dtype=torch.uint8)) for index, id in enumerate(source.ids))
    folder = run / "stages" / "01-translation"
    digest = write_translations(folder / "images-000.arrow", rows, {})
    manifest = TranslationManifest(KIND, "weights", pair.height, pair.width, {"images-000.arrow": digest})
    write_translation_manifest(folder, manifest)


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def understand(words: list[str]) -> None:
    """Take a command as the command line does, up to the point where Ray would start."""
    method, presets = METHODS[Path(words[1]).stem]
    verb, rest = (words[2], words[3:]) if words[2:] and not words[2].startswith("-") else ("run", words[2:])
    if verb in VERBS:
        found, complaints = parse_flags(rest, flatten(VERBS[verb]))
        _, problems = usable_settings(VERBS[verb], found)
        assert not [*complaints, *problems]
        return
    if verb == "sweep" and rest[0].startswith("-"):
        assert cli.read_search(method, presets, rest)[-1]
        return
    kind = {"run": RunFlags, "sweep": SweepFlags}[verb]
    changes = dict(method.tables[rest.pop(0)].variants[0].changes) if verb == "sweep" else {}
    flags, given, complaints = cli.read_words(kind, method, [word for word in rest if word != "--help"])
    if flags.dry_run:
        settings, problems = cli._understood(method, presets, flags, given)
        absent = ("source: ", "target: ", "evaluation: ", "model.weights: ")  # what placeholders are for
        assert not [line for line in [*complaints, *problems, *settings.problems()] if not line.startswith(absent)]
        return
    cli._settings(method, presets, flags, {**given, **changes}, complaints)


def test_the_documents_are_there_and_hold_commands_and_tables():
    expected = {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
    expected |= {
        f"docs/{n}.md"
        for n in (
            "architecture",
            "add-a-method",
            "add-an-ingredient",
            "datasets",
            "protocols",
            "reliability",
            "sweeps",
            "cluster",
            "scale",
        )
    }
    assert expected <= TEXTS.keys()
    assert len(COMMANDS) >= 10
    assert len(CELLS) >= 100


@pytest.mark.parametrize("name", TEXTS)
def test_every_relative_link_leads_to_a_file(name):
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(TEXTS[name]))
    for target in targets:
        if not re.match(r"[a-z]+:", target):
            assert ((ROOT / name).parent / target.split("#")[0]).exists(), f"{name} links to {target}"


@pytest.mark.parametrize("name", TEXTS)
def test_every_file_of_the_repository_that_is_named_exists(name):
    for code in inline_code(TEXTS[name]):
        for word in code.split():
            if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", word):
                assert (ROOT / word).exists(), f"{name} names {word}"


@pytest.mark.parametrize(("name", "words"), COMMANDS, ids=[" ".join(words)[:80] for _, words in COMMANDS])
def test_every_command_is_understood(name, words, place):
    assert (ROOT / words[1]).exists()
    understand(words)


def test_a_wrong_command_is_noticed(place):
    for line in ("--sead 1", "--preset toys", "evaluate --model runs/drsl-toy-0/model", "--reuse runs/other"):
        with pytest.raises((AssertionError, ValueError)):
            understand(["python", "pipelines/drsl.py", *line.split()])


@pytest.mark.parametrize("name", TEXTS)
def test_every_setting_and_flag_that_is_named_exists(name):
    groups = {setting.rsplit(".", depth)[0] for setting in SETTINGS for depth in (1, 2) if setting.count(".") >= depth}
    for word in (word for code in inline_code(TEXTS[name]) for word in code.split()):
        bare = word.removeprefix("--").removesuffix(".*").replace("pair.*", "pair.source").replace("-", "_")
        is_file = bare.endswith(".safetensors")
        if word.startswith("--") or (bare.split(".")[0] in groups and "." in bare and not is_file):
            assert bare in FLAGS | groups | {"help"}, f"{name} names {word}"


@pytest.mark.parametrize(("name", "setting", "column", "cell"), CELLS, ids=[f"{c[2]}-{c[1]}" for c in CELLS])
def test_tables_of_settings_say_what_the_code_says(name, setting, column, cell):
    value = reduce(getattr, setting.split("."), COLUMNS[column]())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        assert float(cell) == value, f"{name}: {setting} of {column} is {value}"
    else:
        said = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert cell.lower() == said.lower(), f"{name}: {setting} of {column} is {said}"


def test_preset_table_leaves_out_no_difference_from_the_defaults():
    tables = [table for table in tables_of_settings(TEXTS["docs/protocols.md"]) if table[0][1] in drsl.PRESETS]
    assert sorted(name for header, _ in tables for name in header[1:]) == sorted(drsl.PRESETS)
    for name, make in drsl.PRESETS.items():
        listed = {row[0] for header, rows in tables if name in header for row in rows}
        for setting in flatten(drsl.Drsl):
            if setting == "preset" or setting.startswith(("pair.source", "pair.target", "pair.evaluation")):
                continue
            ours, default = (reduce(getattr, setting.split("."), method) for method in (make(), drsl.Drsl()))
            assert ours == default or setting in listed, f"{setting} of {name} is {ours}"


@pytest.mark.parametrize(
    ("page", "path", "least"),
    [("add-a-method", "source_only.py", 4), ("add-an-ingredient", "terms/labels.py", 3)],
)
def test_quoted_source_is_that_of_the_smallest_method_or_ingredient(page, path, least):
    source = (ROOT / "pipelines" / path).read_text(encoding="utf-8")
    quoted = blocks(TEXTS[f"docs/{page}.md"], "python")
    assert len(quoted) >= least
    for block in quoted:
        assert block.rstrip() in source


def test_documented_label_spaces_are_valid_and_the_built_in_ones_exist():
    for name in ("README.md", "docs/datasets.md"):
        (block,) = blocks(TEXTS[name], "json")
        assert LabelSpace.from_json(block).classes == tuple(json.loads(block)["classes"])
    for name in re.findall(r"^\| `(\w+)` \|", TEXTS["docs/datasets.md"].split("## Readers")[0], flags=re.MULTILINE):
        assert len(label_space(name)) == int(re.sub(r"\D", "", name))


@pytest.mark.parametrize("name", TEXTS)
def test_documents_name_no_machine(name):
    for word in FORBIDDEN:
        assert word not in TEXTS[name], f"{name} holds {word}"


def test_licence_is_the_one_of_the_package():
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
