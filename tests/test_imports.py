"""The rules of the house, read from the source: imports go down, heavy ones come late, and training sees no truth."""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from domains import batch, feed, samples, shards
from domains.batch import Images, LabelledImages, PseudoLabelledImages

ROOT = Path(__file__).parents[1]
PACKAGES = ("losses", "models", "domains", "orchestrator", "pipelines")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

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
PLAIN = {"domains.files", "domains.errors"}
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
    pseudo = {field.name for field in dataclasses.fields(shards.PseudoLabelledSample)}
    assert pseudo == {"image", "pseudo_label", "soft_label", "id"}
    target = typing.get_type_hints(batch.Batch)["target"]
    assert set(typing.get_args(target)) == {Images, PseudoLabelledImages, type(None)}
    assert LabelledImages not in typing.get_args(target)


def test_feed_takes_no_labelled_target():
    target = typing.get_type_hints(feed.Feed.__init__)["target"]
    assert set(typing.get_args(target)) == {samples.Unlabelled, shards.PseudoLabelled, type(None)}


def test_unlabelled_domain_offers_no_label_in_public():
    public = {name for name in dir(samples.Unlabelled) if not name.startswith("_")}
    assert not {name for name in public if "label" in name}


@pytest.mark.parametrize(
    "module", ["orchestrator/training.py", "orchestrator/loop.py", "domains/feed.py", "domains/batch.py"]
)
def test_training_never_mentions_the_truth(module):
    assert not FORBIDDEN_TO_TRAINING & words_in_code(tree_of(Path(module)))


@pytest.mark.parametrize("name", sorted(SHARED | METHODS - {"oracle"}))
def test_adapting_methods_never_mention_the_truth(name):
    module = f"pipelines/{name}.py"
    assert not {"truth", "open_reader", "Labelled"} & words_in_code(tree_of(Path(module)))
