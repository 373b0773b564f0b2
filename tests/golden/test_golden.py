"""Golden digests: a change that is meant to alter no number alters no bit of any method.

A change that is meant to says so: `python -m tests.golden RUN ...` rewrites the files of the runs concerned, and the
commit that holds them gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.golden import digests, expected
from tests.golden.expected import Result
from tests.golden.pinned import installed, pinned, unpinnable
from tests.golden.runs import RUNS, SMALL, words_of

ROOT = Path(__file__).parents[2]
PIPELINES = {path.stem for path in (ROOT / "pipelines").glob("*.py") if 'if __name__ == "__main__"' in path.read_text()}


@pytest.fixture(scope="module")
def result_of() -> Iterator[Callable]:
    if unpinnable():
        pytest.skip(unpinnable())
    with pinned() as carry_out:
        yield carry_out


@pytest.mark.parametrize("name", RUNS)
def test_a_run_comes_to_the_same_bits_as_ever(name, result_of):
    wanted, versions = expected.read(name), installed()
    other = {package for package, version in wanted.versions.items() if versions[package] != version}
    if other:
        pytest.skip(f"the digests are of other versions of {', '.join(sorted(other))}: constraints.txt has them")
    found = expected.differences(Result(*result_of(name), versions), wanted)
    assert not found, "\n".join([f"{name} is not what it was:", *found, f"meant? python -m tests.golden {name}"])


@pytest.mark.parametrize("name", RUNS)
def test_golden_files_are_of_the_pinned_versions(name):
    pinned_lines = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {package.lower().replace("_", "-"): version.split()[0] for package, version in pinned_lines}
    versions = expected.read(name).versions
    assert versions == {package: pins[package] for package in versions}, f"renew: python -m tests.golden {name}"


def test_every_pipeline_has_a_golden_run_and_every_run_its_files():
    assert {run.pipeline for run in RUNS.values()} == PIPELINES
    assert {folder.name for folder in expected.FOLDER.iterdir()} == set(RUNS)


def test_settings_that_no_method_knows_are_not_kept():
    used = {word for name in RUNS for word in words_of(RUNS[name], Path()) if word.startswith("--")}
    assert {f"--{name}" for name in SMALL} <= used


def result(metrics: str = '{"step": 1, "seg": 0.5}\n{"step": 2, "seg": 0.25}\n', **digests: str) -> Result:
    return Result(metrics, digests, {})


def test_what_differs_is_named_and_of_metrics_by_how_much():
    assert expected.differences(result(a="1", b="2"), result(a="1", b="2")) == []
    assert expected.differences(result(a="1", b="2"), result(b="3", c="4")) == ["a is new", "b differs", "c is missing"]
    other = result('{"step": 1, "seg": 0.5}\n{"step": 2, "seg": 0.375, "new": 1.0}\n')
    (line,) = expected.differences(other, result())
    assert line == "metrics.jsonl, line 2: seg is 0.375, was 0.25 (by +1.25e-01), new is 1.0, was None"
    (line,) = expected.differences(result('{"step": 1, "seg": 0.5}\n'), result())
    assert line == "metrics.jsonl, line 2: step is None, was 2, seg is None, was 0.25"


def test_a_digest_follows_the_numbers_of_a_file_and_not_what_it_says_of_itself(tmp_path):
    def of(value: torch.Tensor, **metadata: str) -> str:
        save_file({"weight": value}, tmp_path / "a.safetensors", metadata)
        return digests.digest(tmp_path / "a.safetensors")

    value = torch.tensor([1.0, 2.0])
    assert of(value) == of(value, made="yesterday")
    assert len({of(value), of(value.double()), of(value[:, None]), of(torch.nextafter(value, value + 1))}) == 4
