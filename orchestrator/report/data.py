"""What the report reads: the files of a run folder, checked and turned into plain typed values."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, Field, ValidationError

from domains.base.files import leads_out
from orchestrator.base.errors import UserError

UNPRINTABLE = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Number = Annotated[float | None, AfterValidator(_finite)]
Byte = Annotated[int, Field(ge=0, le=255)]


class Pair(BaseModel):
    """The data of the run, each side in words."""

    source: str = ""
    target: str = ""
    evaluation: str = ""


class Protocol(BaseModel):
    """How the mIoU was measured; numbers of two protocols do not compare."""

    name: str = ""
    classes: tuple[str, ...] = ()
    mean: str = "over classes present in truth or prediction"
    ignore: str = "255"
    resolution: str = "not recorded"
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    window: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    checkpoint: str = "last"


class Scores(BaseModel):
    """Intersection over union as fractions; None where a class is absent from truth and prediction."""

    miou: Number = None
    iou: dict[str, Number] = {}


class Round(BaseModel):
    """One round of self-labelling; all shares are fractions, entropy is in the unit of its paper."""

    round: int
    portion: Number = None
    coverage: Number = None
    self_entropy: Number = None
    adapted_miou: Number = None
    pseudo_label_miou: Number = None
    thresholds: dict[str, Number] | None = None
    selected: dict[str, Number] | None = None
    pseudo_label_accuracy: dict[str, Number] | None = None


class Colours(BaseModel):
    """Mean and standard deviation of red, green and blue over the pixels of a domain, in grey values of 0 to 255."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


class Translated(BaseModel):
    """What a translation of the source images did to their colours."""

    images: int
    colours: dict[str, Colours] = {}
    distance: dict[str, Number] = {}


class Summary(BaseModel):
    """`summary.json`, schema 1; unknown keys are left alone so that newer runs stay readable."""

    version: Literal[1] = Field(alias="schema")
    name: str
    method: str
    title: str = ""
    preset: str = ""
    seed: int | None = None
    oracle: bool = False
    pair: Pair = Pair()
    protocol: Protocol = Protocol()
    source_only: Scores | None = None
    adapted: Scores | None = Field(None, validation_alias=AliasChoices("adapted", "result"))
    translation: Translated | None = None
    rounds: tuple[Round, ...] = ()
    seconds: dict[str, Number] = {}
    palette: dict[str, tuple[Byte, Byte, Byte]] = {}
    warnings: tuple[str, ...] = ()

    @property
    def result(self) -> Scores | None:
        """What the run is judged by: the adapted network, or the source-only one where none was adapted."""
        return self.adapted or self.source_only

    @property
    def baseline(self) -> Scores | None:
        """The source-only network where the result is another one."""
        return self.source_only if self.adapted else None

    def classes(self) -> tuple[str, ...]:
        """Every class that a number speaks of, those of the protocol first and in its order."""
        measured = [name for scores in (self.baseline, self.result) if scores for name in scores.iou]
        return tuple(dict.fromkeys((*self.protocol.classes, *measured)))


@dataclass(frozen=True)
class Segment:
    """One logged value within one stage.

    Attributes:
        stage: name of the stage.
        steps: steps of the whole run, rising; each stage starts where the one before it ended.
        values: one finite number a step.
    """

    stage: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Metrics:
    """`metrics.jsonl` sorted into what a chart needs.

    Attributes:
        curves: for every logged value its segments, one a stage.
        ends: for every training stage, in order, the step of the whole run at which it ended.
        evaluations: mIoU as a fraction by evaluation stage, in order.
    """

    curves: Mapping[str, tuple[Segment, ...]] = field(default_factory=dict)
    ends: Mapping[str, float] = field(default_factory=dict)
    evaluations: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """One cell of the panel grid; `uri` is the PNG as a data URI, empty where the file cannot be shown."""

    title: str
    file: str
    uri: str


@dataclass(frozen=True)
class Panel:
    """One image of the target domain, seen through every column."""

    id: str
    pictures: tuple[Picture, ...]


def printable(text: str) -> str:
    """The text with control characters and lone surrogates, which no page can hold, replaced by U+FFFD."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def read_summary(path: Path) -> Summary:
    """Reads and checks `summary.json`.

    Raises:
        UserError: if the file is missing, lies elsewhere by a symbolic link, is no JSON, or does not follow schema 1.
    """
    if leads_out(path, path.parent):
        raise UserError(f"{path} is a symbolic link out of its run folder, which is not followed: put the file there")
    try:
        return Summary.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: a report needs a run that has ended; run it again") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise UserError(f"{path} does not follow summary schema 1: {where}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): run the last stage again") from None


def read_own(path: Path, run: Path, notes: list[str]) -> str:
    """Reads a text of a run folder, "" where there is none.

    Args:
        path: the file.
        run: the run folder; what lies outside it, by a symbolic link, is left out and noted.
        notes: receives a sentence for the reader of the report.
    """
    if leads_out(path, run):
        notes.append(f"{path.relative_to(run)} is a symbolic link out of the run folder: left out.")
        return ""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def read_metrics(path: Path, notes: list[str]) -> Metrics:
    """Reads `metrics.jsonl`; a line that is no JSON object (a write cut off) is left out and noted.

    A step that was logged twice, since the run was continued from a checkpoint before it, counts once.

    Args:
        path: the file; a missing one gives empty metrics.
        notes: receives a sentence for the reader of the report.
    """
    training: dict[str, dict[float, dict[str, float]]] = {}
    evaluations: dict[str, float] = {}
    for line in _json_lines(path, notes):
        stage, numbers = str(line.get("stage", "")), _numbers(line)
        if "miou" in line:
            evaluations |= {stage: numbers["miou"]} if "miou" in numbers else {}
        elif "step" in numbers:
            training.setdefault(stage, {})[numbers.pop("step")] = numbers
    return Metrics(*_curves(training), evaluations)


def _json_lines(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    bad = 0
    for line in read_own(path, path.parent, notes).splitlines():
        try:
            value = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            yield value
        else:
            bad += 1
    if bad:
        notes.append(f"{path.name}: {bad} unreadable line{'s' if bad > 1 else ''} left out of the curves.")


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    plain = {k: v for k, v in line.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {name: float(value) for name, value in plain.items() if math.isfinite(value)}


def _curves(
    training: Mapping[str, Mapping[float, Mapping[str, float]]],
) -> tuple[dict[str, tuple[Segment, ...]], dict[str, float]]:
    curves: dict[str, list[Segment]] = {}
    ends: dict[str, float] = {}
    start = 0.0
    for stage, by_step in training.items():
        for name in dict.fromkeys(name for numbers in by_step.values() for name in numbers):
            points = [(start + step, by_step[step][name]) for step in sorted(by_step) if name in by_step[step]]
            steps, values = zip(*points, strict=True)
            curves.setdefault(name, []).append(Segment(stage, steps, values))
        start += max(by_step)
        ends[stage] = start
    return {name: tuple(segments) for name, segments in curves.items()}, ends


def read_panels(run: Path, notes: list[str]) -> tuple[Panel, ...]:
    """Reads `index.json` and the PNG files beside it, from `panels/` or else from the last panel stage.

    Only PNG files that lie inside that folder are shown, wherever the index may point.

    Args:
        run: the run folder.
        notes: receives a sentence for the reader of the report.
    """
    folders = [run / "panels", *sorted((run / "stages").glob("*-panels"), reverse=True)]
    found = ((folder, text) for folder in folders if (text := read_own(folder / "index.json", run, notes)))
    folder, text = next(found, (run, "[]"))
    try:
        return tuple(
            Panel(str(row["id"]), tuple(_picture(folder, cell) for cell in row["columns"])) for row in json.loads(text)
        )
    except (ValueError, TypeError, KeyError) as error:
        notes.append(f"panels/index.json cannot be read ({type(error).__name__}: {error}): no pictures shown.")
        return ()


def _picture(folder: Path, cell: Mapping[str, Any]) -> Picture:
    title, file = str(cell["title"]), str(cell["file"])
    path = folder / file
    content = path.read_bytes() if path.is_file() and not leads_out(path, folder) else b""
    shown = content.startswith(PNG_SIGNATURE)
    uri = "data:image/png;base64," + base64.b64encode(content).decode("ascii") if shown else ""
    return Picture(title, file, uri)


def read_environment(path: Path, notes: list[str]) -> dict[str, str]:
    """Reads `environment.json` as a flat table: nested names are joined by dots, lists by commas."""
    text = read_own(path, path.parent, notes)
    try:
        return dict(_flat("", json.loads(text))) if text else {}
    except (ValueError, RecursionError) as error:
        notes.append(f"environment.json cannot be read ({error}): the table of versions is left out.")
        return {}


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list):
        yield prefix, ", ".join(item if isinstance(item, str) else json.dumps(item) for item in value)
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)
