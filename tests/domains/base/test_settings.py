"""Settings are light, immutable and documented."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from domains.base import settings
from domains.base.settings import AugmentSettings, DomainSettings, IsaSettings, PairSettings


def test_importing_the_settings_imports_no_heavy_library():
    heavy = ("torch", "numpy", "PIL", "pyarrow")
    code = f"import sys, domains.base.settings; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_field_has_a_help_text():
    tree = ast.parse(Path(settings.__file__).read_text(encoding="utf-8"))
    for record in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        body = record.body[1:]
        for entry, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(entry, ast.AnnAssign):
                told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert told, f"{record.name}.{ast.unparse(entry.target)}"


def test_the_default_pair_is_the_toy_city_from_game_to_street():
    pair = PairSettings()
    assert [(d.kind, d.style, d.split) for d in (pair.source, pair.target, pair.evaluation)] == [
        ("toycity", "game", "train"),
        ("toycity", "street", "train"),
        ("toycity", "street", "val"),
    ]


def test_settings_cannot_be_changed():
    for record in (DomainSettings(), IsaSettings(), AugmentSettings(crop_height=4, crop_width=4)):
        with pytest.raises(FrozenInstanceError):
            record.count = 3  # pyright: ignore[reportAttributeAccessIssue]
