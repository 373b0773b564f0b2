"""The golden files: for each run a folder with its metrics, line by line, and the digests of all else that it made."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("expected")
METRICS, DIGESTS = "metrics.jsonl", "digests.json"


class Result(NamedTuple):
    """What a run came to."""

    metrics: str
    """Text of its metrics.jsonl."""
    digests: dict[str, str]
    """By path within the run folder."""
    versions: dict[str, str]
    """Of the packages that it was carried out with."""


def exists(name: str) -> bool:
    return (FOLDER / name / DIGESTS).exists()


def read(name: str) -> Result:
    folder = FOLDER / name
    stored = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
    return Result((folder / METRICS).read_text(encoding="utf-8"), stored["digests"], stored["versions"])


def write(name: str, result: Result) -> None:
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS).write_text(result.metrics, encoding="utf-8")
    stored = {"versions": result.versions, "digests": result.digests}
    (folder / DIGESTS).write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


def differences(found: Result, wanted: Result) -> list[str]:
    """What differs, one line a file, of the metrics the first line that does and by how much."""
    lines = [_metrics(found.metrics, wanted.metrics)] if found.metrics != wanted.metrics else []
    for path in sorted(found.digests.keys() | wanted.digests.keys()):
        if path not in found.digests:
            lines.append(f"{path} is missing")
        elif path not in wanted.digests:
            lines.append(f"{path} is new")
        elif found.digests[path] != wanted.digests[path]:
            lines.append(f"{path} differs")
    return lines


def _metrics(found: str, wanted: str) -> str:
    pairs = itertools.zip_longest(found.splitlines(), wanted.splitlines(), fillvalue="{}")
    number, (is_, was) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    new, old = json.loads(is_), json.loads(was)
    keys = [key for key in {**old, **new} if new.get(key) != old.get(key)]
    return f"{METRICS}, line {number}: " + ", ".join(_change(key, new.get(key), old.get(key)) for key in keys)


def _change(key: str, new: object, old: object) -> str:
    by = f" (by {new - old:+.2e})" if isinstance(new, float) and isinstance(old, float) else ""
    return f"{key} is {new}, was {old}{by}"
