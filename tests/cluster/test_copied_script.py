"""A script that was copied alone, as `ray submit` does, beside packages that are called like ours."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from pipelines.source_only import SourceOnly
from tests.cluster.cluster_file import ROOT
from tests.conftest import Command

SCRIPTS = sorted(path for path in (ROOT / "pipelines").glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))
HANDOVER = """\
if __name__ == "__main__":
    # As the installed module: what lies beside a copied script must not hide our packages, and workers would not find
    # the classes of a script.
    import sys

    sys.path[:] = sys.path[not sys.flags.safe_path :]
    from pipelines import {name}

    {name}.main()

"""


@pytest.fixture
def home(tmp_path):
    """A home folder with packages of the user's own; importing one ends a process with code 77."""
    for package in ("losses", "models", "domains", "orchestrator", "pipelines"):
        (tmp_path / "home" / package).mkdir(parents=True)
        (tmp_path / "home" / package / "__init__.py").write_text("import os\nos._exit(77)\n")
    return tmp_path / "home"


def copied(home: Path, script: str) -> str:
    shutil.copy(ROOT / "pipelines" / script, home)
    return str(home / script)


def test_there_are_scripts():
    assert {"drsl.py", "structure.py", "oracle.py"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_hands_over_before_it_imports_anything_of_ours(script):
    source = script.read_text(encoding="utf-8")
    handover = HANDOVER.format(name=script.stem)
    assert source.count("__main__") == 1
    assert handover in source
    for package in ("losses", "models", "domains", "orchestrator"):
        assert f"from {package}" not in source.split(handover)[0]


@pytest.mark.parametrize("safe", ["", "1"])
def test_copied_script_finds_the_installed_packages(safe, home, desk):
    words = [sys.executable, copied(home, "drsl.py"), "--help"]
    printed = Command(words, home, {**desk.env, "PYTHONSAFEPATH": safe}).ends(0)
    assert "--loss.consistency" in printed


def test_workers_of_a_copied_script_find_them_too(home, desk, tiny):
    words = [*tiny(SourceOnly, source__steps=1, panels=0), "--preset", "toy"]
    Command([sys.executable, copied(home, "source_only.py"), *words], home, desk.env).ends(0)
    summary = json.loads((home / "runs" / "source_only-toy-0" / "summary.json").read_text())
    assert summary["source_only"]["miou"] >= 0
