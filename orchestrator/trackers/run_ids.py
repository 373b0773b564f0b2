"""By which id a tool knows a run: kept in the run folder, so that the tool finds the same run again."""

from __future__ import annotations

from pathlib import Path

from orchestrator.base.files import read_json, write_json


def recall(run: Path, tool: str) -> str:
    """The id of a run with a tool, "" where it has none yet."""
    path = run / f"{tool}.json"
    return read_json(path)["id"] if path.exists() else ""


def remember(run: Path, tool: str, identity: str) -> None:
    """Keep the id of a run."""
    write_json(run / f"{tool}.json", {"id": identity})
