"""The rules of the house, read from the source: imports go down, heavy ones come late, and training sees no truth."""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
import typing
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from domains.base import samples
from domains.batches import batch, microbatches
from domains.batches.batch import Images, LabelledImages, PseudoLabelledImages
from domains.stores import pseudo_labels

ROOT = Path(__file__).parents[1]
PACKAGES = ("losses", "models", "domains", "orchestrator", "pipelines")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

ROOMS = {
    "domains": (
        *("base", "metrics", "pseudo", "readers", "layouts", "stores", "archives", "batches", "toycity"),
        *("registry", "dataset_check", "placeholder"),
    ),
    "orchestrator": (
        *("base", "contract", "cluster", "run", "report", "trackers", "train", "mapreduce", "runner"),
        *("verbs", "dryrun", "reproduce", "tune", "cli"),
    ),
}
"""The rooms of a floor, the ground first: a folder, or a file beside the folders; each imports from those before it."""

ALLOWED = {
    "losses": {"losses", "torch"},
    "models": {"models", "losses", "torch", "safetensors", "huggingface_hub", "transformers"},
    "domains": {"domains", "losses", "torch", "kornia", "kornia_rs", "PIL", "pyarrow", "datasets", "numpy"},
}
ALLOWED["orchestrator"] = {
    *ALLOWED["models"],
    *ALLOWED["domains"],
    *("orchestrator", "ray", "psutil", "accelerate", "annotated_types", "pydantic", "yaml", "tyro"),
    *("rich", "jinja2", "markupsafe", "matplotlib", "torchmetrics", "tensorboardX", "mlflow", "wandb"),
}
PLAIN = {"domains.base.files", "domains.base.errors"}
"""Modules of the standard library alone, for every floor but the lowest: files are written in one way everywhere."""
ALLOWED["pipelines"] = {*ALLOWED["orchestrator"] - {"ray"}, "pipelines"}

SHARED = {"__init__", "presets", "selftraining", "alignment", "drsl_tables"}
METHODS = {path.stem for path in (ROOT / "pipelines").glob("*.py")} - SHARED
# A file that is called by a verb of the language: its method has a name of its own.
NAMES = METHODS - {"translate"} | {"cyclegan"}
FORBIDDEN_TO_TRAINING = {"truth", "evaluation"}


def tree_of(module: Path) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of imported modules, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their package"
            assert node.module is not None
            yield node.module


def imported_at_start(tree: ast.Module) -> Iterator[str]:
    """Names of modules that are imported when the file is."""
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from imported(node)


def words_in_code(tree: ast.Module) -> set[str]:
    """Identifiers, and strings that are no documentation."""
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    words = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word) | ast.alias(name=word):
                words.add(word)
            case ast.FunctionDef(name=word) | ast.ClassDef(name=word) | ast.keyword(arg=str(word)):
                words.add(word)
            case ast.Constant(value=str(word)) if id(node) not in documentation:
                words.add(word)
    return words


def test_there_is_source_to_check():
    assert {"drsl", "oracle"} <= METHODS
    assert {module.parts[0] for module in MODULES} == set(PACKAGES)
    assert len(MODULES) > 50


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_go_down_only(module):
    allowed = ALLOWED[module.parts[0]] | set(sys.stdlib_module_names)
    for name in imported(tree_of(module)):
        plain = module.parts[0] == "models" and name in PLAIN
        assert plain or name.split(".")[0] in allowed, f"{module} imports {name}"


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_what_every_floor_writes_files_with_needs_the_standard_library_alone(name):
    found = set(imported(tree_of(Path(f"{name.replace('.', '/')}.py"))))
    assert {module for module in found if module.split(".")[0] not in sys.stdlib_module_names} <= PLAIN


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_ray_is_imported_in_two_rooms_alone(module):
    rays = {name for name in imported(tree_of(module)) if name.split(".")[0] == "ray"}
    assert not rays or module.parts[:2] in {("orchestrator", "cluster"), ("orchestrator", "tune")}


def test_rule_notices_a_breach():
    tree = ast.parse("def f():\n    import ray.train\n    from models.deeplab import upsample\n")
    assert list(imported(tree)) == ["ray.train", "models.deeplab"]
    assert list(imported_at_start(tree)) == []
    assert words_in_code(ast.parse('"""a"""\nx = "b"  # c\ndef f(d): "e"')) == {"x", "b", "f", "d"}


@pytest.mark.parametrize("module", [m for m in MODULES if m.parts[0] != "pipelines"], ids=str)
def test_no_method_is_named_outside_pipelines(module):
    # `Method.oracle` marks training on target labels in every output; it is a property of methods and names none.
    named = NAMES - ({"oracle"} if module.parts[0] == "orchestrator" else set())
    for word in words_in_code(tree_of(module)):
        assert not named & set(re.split(r"[^a-z]+", word.lower())), f"{module} mentions {word!r}"


@pytest.mark.parametrize("module", [m for m in MODULES if m.name == "settings.py"], ids=str)
def test_settings_import_nothing_heavy(module):
    for name in imported(tree_of(module)):
        assert name.split(".")[0] in {*sys.stdlib_module_names, "annotated_types"}, f"{module} imports {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if m.name == "__init__.py"], ids=str)
def test_packages_hold_one_line(module):
    (line,) = tree_of(module).body
    assert isinstance(line, ast.Expr)


@pytest.mark.parametrize("module", [m for m in MODULES if m.parts[0] == "pipelines"], ids=str)
def test_pipelines_import_torch_only_where_they_use_it(module):
    heavy = {"torch", "ray", "numpy", "accelerate", "transformers"}
    assert not heavy & {name.split(".")[0] for name in imported_at_start(tree_of(module))}


def test_target_batches_have_no_true_label_by_type():
    assert {field.name for field in dataclasses.fields(Images)} == {"image"}
    assert {field.name for field in dataclasses.fields(PseudoLabelledImages)} == {"image", "pseudo_label", "soft_label"}
    assert {field.name for field in dataclasses.fields(samples.Sample)} == {"image", "id"}
    pseudo = {field.name for field in dataclasses.fields(pseudo_labels.PseudoLabelledSample)}
    assert pseudo == {"image", "pseudo_label", "soft_label", "id"}
    target = typing.get_type_hints(batch.Batch)["target"]
    assert set(typing.get_args(target)) == {Images, PseudoLabelledImages, type(None)}
    assert LabelledImages not in typing.get_args(target)


def test_feed_takes_no_labelled_target():
    target = typing.get_type_hints(microbatches.MicroBatches.__init__)["target"]
    assert set(typing.get_args(target)) == {samples.Unlabelled, pseudo_labels.PseudoLabelled, type(None)}


def test_unlabelled_domain_offers_no_label_in_public():
    public = {name for name in dir(samples.Unlabelled) if not name.startswith("_")}
    assert not {name for name in public if "label" in name}


@pytest.mark.parametrize(
    "module",
    [
        "orchestrator/train/stage.py",
        "orchestrator/train/loop.py",
        "domains/batches/microbatches.py",
        "domains/batches/batch.py",
    ],
)
def test_training_never_mentions_the_truth(module):
    assert not FORBIDDEN_TO_TRAINING & words_in_code(tree_of(Path(module)))


@pytest.mark.parametrize("name", sorted(SHARED | METHODS - {"oracle"}))
def test_adapting_methods_never_mention_the_truth(name):
    module = f"pipelines/{name}.py"
    assert not {"truth", "open_reader", "Labelled"} & words_in_code(tree_of(Path(module)))


FILES_OF_A_ROOM = 13


def dotted(module: Path) -> str:
    return ".".join(module.with_suffix("").parts).removesuffix(".__init__")


def arrows_of(tree: ast.Module, modules: Collection[str]) -> set[str]:
    """The modules, of those given, that a file imports anywhere in it: also late, and for types alone."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & set(modules)
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names} & set(modules)
            found |= whole or ({node.module} & set(modules))
    return {name for name in found if name is not None}


def circle_in(arrows: Mapping[str, Collection[str]]) -> list[str]:
    """Modules that import each other in a circle; none where the list is empty."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def room_of(module: str) -> str:
    """The room that a module lies in: a folder of its floor, or a file beside the folders."""
    return module.split(".")[1]


def arrows_up(module: str, arrows: Collection[str]) -> list[str]:
    """What a module imports from a room of its own floor that stands above its own."""
    floor = module.split(".")[0]
    height = ROOMS[floor].index
    beside = (name for name in arrows if name.split(".")[0] == floor and "." in name)
    return [name for name in beside if height(room_of(name)) > height(room_of(module))]


# A package of its own name (`from pipelines import adaptsegnet`) is no arrow from a script to itself.
ARROWS = {
    name: arrows_of(tree_of(module), {dotted(other) for other in MODULES}) - {name, name.split(".")[0]}
    for module in MODULES
    for name in [dotted(module)]
}


def test_no_modules_import_each_other_in_a_circle():
    assert circle_in(ARROWS) == []


@pytest.mark.parametrize("module", [name for name in ARROWS if name.split(".")[0] in ROOMS and "." in name])
def test_imports_between_the_rooms_of_a_floor_go_down_only(module):
    assert arrows_up(module, ARROWS[module]) == []


def test_rules_of_rooms_notice_a_breach():
    tree = ast.parse("if TYPE_CHECKING:\n    from a import b\ndef f():\n    import a.c\n    from a.d import E")
    assert arrows_of(tree, {"a", "a.b", "a.c", "a.d", "a.e"}) == {"a.b", "a.c", "a.d"}
    assert set(circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
    assert arrows_up("orchestrator.run.folder", {"orchestrator.base.files", "domains.registry"}) == []
    assert arrows_up("orchestrator.run.folder", {"orchestrator.runner"}) == ["orchestrator.runner"]


@pytest.mark.parametrize("floor", ROOMS)
def test_the_order_of_rooms_names_each_of_them_once(floor):
    there = {room_of(name) for name in ARROWS if name.startswith(f"{floor}.")}
    assert sorted(ROOMS[floor]) == sorted(there)


@pytest.mark.parametrize("floor", ROOMS)
def test_no_room_is_crowded(floor):
    folders = {(ROOT / module).parent for module in MODULES if module.parts[0] == floor}
    for folder in folders:
        files = [path.name for path in folder.iterdir() if path.is_file()]
        assert len(files) <= FILES_OF_A_ROOM, f"{folder.relative_to(ROOT)} holds {len(files)} files"
