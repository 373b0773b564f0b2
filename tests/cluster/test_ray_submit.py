"""`ray up`, `ray submit` and `ray job submit` with the project's cluster file, for real, on this machine."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request

import pytest

from tests.cluster.cluster_file import ROOT
from tests.cluster.machine import machine, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"needs {', '.join(missing())}: openssh-server and rsync")


@pytest.fixture(scope="module")
def node():
    """A machine that the cluster file has been carried out on, with packages in its home that are called like ours."""
    with machine() as place:
        for package in ("losses", "models", "orchestrator"):
            (place.home / package).mkdir()
            (place.home / package / "__init__.py").write_text("import os\nos._exit(77)\n")
        place.ray("up", "--yes", str(place.file))
        yield place


@pytest.fixture(scope="module")
def submitted(node, tiny):
    """A tiny run by `ray submit`; what it printed."""
    words = tiny(source__steps=1, adapt__steps=1, loss__triplet=0, loss__mixture=0, loss__consistency=0, panels=0)
    name = ["--runs", str(node.folder / "shared"), "--name", "'two words'"]
    return node.ray("submit", str(node.file), "pipelines/drsl.py", "--", *words, *name)


def test_submitted_script_runs_to_its_end(node, submitted):
    run = node.folder / "shared" / "two words"
    assert f"report: {run / 'report.html'}" in submitted
    assert json.loads((run / "summary.json").read_text())["method"] == "drsl"


def test_submitted_script_joins_the_cluster(node, submitted):
    (session,) = (path for path in (node.temp / "ray").glob("session_*") if not path.is_symlink())
    # A driver, and the workers that it has, write their logs where the cluster does.
    assert list((session / "logs").glob("python-core-driver-*"))
    assert not list(node.temp.glob("segadapt-*"))


def test_packages_come_from_the_installation(node, submitted):
    where = "import models, orchestrator; print(models.__file__, orchestrator.__file__)"
    printed = node.ray("exec", str(node.file), f'python -c "{where}"')
    assert printed.count(f"{node.home}/segadapt-env/lib/") == 2


def test_token_lies_on_the_node_for_its_owner_alone(node):
    token = node.home / ".ray" / "auth_token"
    assert token.read_text() == node.token
    assert [oct(path.stat().st_mode)[-3:] for path in (token, token.parent)] == ["600", "700"]


@pytest.mark.parametrize("words", [["--sead", "1"], ["--name", "two words"]])
def test_mistake_comes_back_in_words_with_code_1(node, words):
    # Ray's launcher knows no other code than 0 and 1, and does not quote for the shell of the node.
    printed = node.ray("submit", str(node.file), "pipelines/drsl.py", "--", *words, code=1)
    assert "The settings cannot be used" in printed
    assert words[-1].split()[-1] in printed


def status_of(node, path: str, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{node.dashboard}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_dashboard_asks_for_the_token(node):
    assert status_of(node, "/api/jobs/") == 401
    assert status_of(node, "/api/jobs/", "0" * 64) == 403
    assert status_of(node, "/api/jobs/", node.token) == 200


def test_job_gets_its_words_as_they_are_and_fails_with_code_1(node):
    work = node.folder / "work"
    work.mkdir()
    shutil.copy(ROOT / "pipelines" / "drsl.py", work)
    address = ["--address", f"http://127.0.0.1:{node.dashboard}", "--working-dir", str(work)]
    printed = node.ray(
        "job", "submit", *address, "--", "python", "drsl.py", "--sead", "two words", auth_mode="token", code=1
    )
    assert "sead" in printed
    assert "two words" in printed


def test_cluster_is_taken_down(node):
    node.ray("down", "--yes", str(node.file))
    assert node.processes() == []
