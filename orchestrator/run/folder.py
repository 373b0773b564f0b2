"""The run folder: where everything of a run lies, who may write to it, and what is already done."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import yaml

from domains.base.files import links_below, open_itself, refuse_link, refuse_links
from orchestrator.base.errors import StageFailed, UserError
from orchestrator.base.files import (
    append,
    copy_folder,
    digest_of,
    digests_below,
    drop_cut_line,
    read_json,
    read_lines,
    read_text,
    remove,
    remove_unfinished,
    sync_folder,
    try_lock,
    write_json,
    write_text,
)

POLL_S = 0.2
CHECKPOINTS = "checkpoints"
MODEL = "model"
"""Folder of the network that a training stage, and at last the run, hands on."""
DONE = "done.json"
"""Last file of a finished stage: its fingerprint, result, the digest of every file it made, and a digest of these."""


@dataclass(frozen=True)
class Finished:
    """A stage that is done and whose files are what they were when it finished."""

    fingerprint: str
    result: dict[str, Any]


class RunFolder:
    """One run's folder, locked for this process while it lives.

    Args:
        path: the folder; made where it is missing.
        patience_s: how long to wait, in seconds, for another process to let go of it.

    Raises:
        UserError: another process holds the lock, or nothing can be written there.
        DataError: a symbolic link leads out of it (`domains.base.files.refuse_links`).
    """

    def __init__(self, path: Path, patience_s: float = 0.0) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            # Once, for all that is read and written below from now on, by whatever library.
            refuse_links(path)
            self._lock = _lock(path / ".lock", patience_s)
        except OSError as error:
            raise UserError(f"The run folder {path} cannot be written ({error.strerror}); see --runs.") from error
        for place in (path, path / "stages"):
            remove_unfinished(place)
        drop_cut_line(path / "ledger.jsonl")

    def close(self) -> None:
        """Let another process use the folder."""
        self._lock.close()

    def stage(self, number: int, name: str) -> Path:
        """The folder of a stage."""
        return self.path / "stages" / f"{number:02d}-{name}"

    def record(self, event: str, **details: Any) -> None:
        """Append one line to the ledger; times are UTC and nothing depends on them."""
        line = {"utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "event": event, **details}
        append(self.path / "ledger.jsonl", json.dumps(line) + "\n")

    def recorded_config(self) -> dict[str, Any] | None:
        """The settings that the run in this folder was begun with, None where there is no run yet.

        Raises:
            UserError: config.yaml is damaged.
        """
        path = self.path / "config.yaml"
        return _read_config(path) if path.exists() else None

    def adopt_config(
        self, config: dict[str, Any], allowed: Sequence[str] = (), neutral: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Write config.yaml, or check that the folder's own says the same.

        Args:
            config: settings of this run.
            allowed: settings, or groups of them, that may differ. What the folder holds is then set aside, and its
                finished stages can be taken over from there (`earlier`).
            neutral: by dotted name, what a setting means that the folder's config.yaml is too old to know.

        Raises:
            UserError: the folder belongs to a run with other settings; the differences are listed.
        """
        recorded = self.recorded_config()
        changes = differences(recorded, config) if recorded else {}
        for name in changes.keys() & neutral.keys():
            was, now = changes[name]
            if was is None and now == neutral[name]:
                del changes[name]
        if any(not f"{key}.".startswith(tuple(f"{name}." for name in allowed)) for key in changes):
            raise UserError(
                f"{self.path} holds a run with other settings, which would mix with this one:",
                *(f"{key}: there {was!r}, now {now!r}" for key, (was, now) in changes.items()),
                "Give this run a --name of its own, start a new one beside it with --fresh, or name what may change "
                "with --allow-change.",
            )
        if changes:
            self._set_aside()
            self.record("changed", settings={key: [was, now] for key, (was, now) in changes.items()})
        if changes or not recorded:
            write_text(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))

    def earlier(self) -> list[Path]:
        """What the folder held before its settings were changed, newest first."""
        return sorted(self.path.glob("before-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)

    def _set_aside(self) -> None:
        """Move all but the ledger into a folder of its own."""
        kept = {".lock", "ledger.jsonl", *(path.name for path in self.earlier())}
        moved = [path for path in self.path.iterdir() if path.name not in kept]
        place = self.path / f"before-{len(self.earlier()) + 1}"
        place.mkdir()
        # The configuration last: a folder that lost it in a crash would pass for one without a run.
        for path in sorted(moved, key=lambda path: path.name == "config.yaml"):
            path.replace(place / path.name)

    def collect_metrics(self) -> None:
        """Gather the stages' metrics, in stage order, into metrics.jsonl."""
        parts = sorted(self.path.glob("stages/*/metrics.jsonl"))
        write_text(self.path / "metrics.jsonl", "".join(map(read_text, parts)))


def runs_at(folder: Path) -> list[Path]:
    """The run that this folder is, or those of the sweep that it is; none where it is neither.

    Raises:
        DataError: a symbolic link leads out of the folder.
    """
    alone = (folder / "stages").is_dir()
    runs = [folder] if alone else [path.parent for path in sorted(folder.glob("*/stages"))]
    for run in runs:
        refuse_link(run, folder)
        refuse_links(run)
    return runs


def finish_stage(folder: Path, fingerprint: str, result: dict[str, Any]) -> None:
    """Record that a stage is done, with the digest of each of its files."""
    sync_folder(folder)
    done = {"fingerprint": fingerprint, "result": result, "files": _outputs(folder)}
    write_json(folder / DONE, {**done, "digest": digest_of(done)})
    remove(folder / CHECKPOINTS)


def finished_stage(folder: Path, fingerprint: str) -> Finished | None:
    """The result of a stage if it is done with this fingerprint and every file still has its digest, else None.

    A stage makes no symbolic links: with one in it, it is not as it was.
    """
    done = _noted(folder)
    if done is None or done["fingerprint"] != fingerprint or any(links_below(folder)):
        return None
    if _outputs(folder) != done["files"]:
        return None
    return Finished(fingerprint, done["result"])


def handed_on(folder: Path, name: str) -> bytes:
    """The content of a file of a finished stage.

    It is checked as it is read: a run goes on for days after it has looked at what was done.

    Raises:
        StageFailed: it is not what it was when the stage finished.
    """
    path, done = folder / name, _noted(folder)
    content = path.read_bytes() if path.is_file() else b""
    if done is None or hashlib.sha256(content).hexdigest() != done["files"].get(name):
        raise StageFailed(
            f"{path} was damaged or changed after its stage had finished; that stage is to be done again."
        )
    return content


def reuse_stage(runs: list[Path], fingerprint: str, folder: Path) -> Path | None:
    """Take over a finished stage with this fingerprint from another run; returns where it came from."""
    for run in runs:
        for marker in sorted(run.glob(f"stages/*/{DONE}")):
            if finished_stage(marker.parent, fingerprint):
                copy_folder(marker.parent, folder)
                return marker.parent
    return None


def differences(was: dict[str, Any], now: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Settings that differ between two nested configurations, by dotted name."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*was, *now}):
        a, b = was.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found[prefix + key] = (a, b)
    return found


def ledger(run: Path) -> list[dict[str, Any]]:
    """The events of a run, oldest first."""
    return read_lines(run / "ledger.jsonl")


def _noted(folder: Path) -> dict[str, Any] | None:
    """What a finished stage noted of itself; None where there is nothing, or nothing whole."""
    try:
        done = read_json(folder / DONE)
        whole = done.pop("digest") == digest_of(done) and done.keys() == {"fingerprint", "result", "files"}
        return done if whole else None
    except (FileNotFoundError, ValueError, LookupError, AttributeError, TypeError):
        return None


def _outputs(folder: Path) -> dict[str, str]:
    """Digests of what a stage hands on: all its files but the marker and what was on the way there."""
    files = digests_below(folder)
    return {name: value for name, value in files.items() if name != DONE and not name.startswith(f"{CHECKPOINTS}/")}


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, UnicodeDecodeError):
        config = None
    if not isinstance(config, dict):
        raise UserError(f"{path} is damaged; restore it, or start a new run beside it with --fresh.")
    return config


def _lock(path: Path, patience_s: float) -> IO[str]:
    file = open_itself(path, "a+")
    deadline = time.monotonic() + patience_s
    while not try_lock(file):
        if time.monotonic() > deadline:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise UserError(f"{path.parent} is in use by process {holder}; wait for it or choose another --name.")
        time.sleep(POLL_S)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
