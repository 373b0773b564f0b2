"""The search space: what `--search NAME=DISTRIBUTION` says, checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.contract.config import chosen

_DIMENSION = re.compile(r"\s*([\w.]+)\s*=\s*(\w+)\s*\((.*)\)\s*")
_RANGES = {"uniform": float, "loguniform": float, "randint": int}
_LISTS = ("choice", "grid")


@dataclass(frozen=True)
class Dimension:
    """One dimension of a search space: a setting and the values that it may take.

    Attributes:
        setting: dotted name.
        kind: uniform, loguniform, randint (the upper bound excluded, as in Ray Tune), choice or grid.
        values: the bounds, or the values to choose from as they are written on the command line.
    """

    setting: str
    kind: str
    values: tuple[Any, ...]

    @property
    def listed(self) -> bool:
        """Whether its values are named one by one."""
        return self.kind in _LISTS

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that must all be possible for the search to be."""
        return (self.values[0], self.values[1] - 1) if self.kind == "randint" else self.values

    def domain(self) -> Any:
        """The search space as Ray Tune knows it."""
        from ray import tune

        if self.listed:
            return tune.choice(list(self.values)) if self.kind == "choice" else tune.grid_search(list(self.values))
        return getattr(tune, self.kind)(*self.values)


def parse_search_space(texts: Sequence[str], known: Mapping[str, Any]) -> tuple[list[Dimension], list[str]]:
    """Searched settings from the words of `--search`, and a sentence on each word that is none.

    Args:
        texts: such as "adapt.lr=loguniform(1e-5,1e-3)" or "mmdl.modes=choice(1,3,5)".
        known: dotted names and types of the settings there are.
    """
    space, complaints = [], []
    for text in texts:
        match = _DIMENSION.fullmatch(text)
        if not match:
            kinds = ", ".join([*_RANGES, *_LISTS])
            complaints.append(f"search {text}: write SETTING=KIND(VALUE,VALUE,...), KIND one of {kinds}")
            continue
        setting, kind, inner = match.groups()
        dimension, problem = _dimension(
            setting, kind, [chosen(word.strip(), known.get(setting)) for word in inner.split(",")]
        )
        if dimension.setting not in known:
            problem = "no such setting; see --help"
        elif dimension.setting.startswith("compute."):
            problem = "trials share the cluster evenly; set --compute for all of them"
        elif dimension.setting in (other.setting for other in space):
            problem = "is searched twice"
        space.append(dimension)
        complaints += [f"search {dimension.setting}: {problem}"] if problem else []
    return space, complaints


def _dimension(setting: str, kind: str, values: list[Any]) -> tuple[Dimension, str]:
    """The dimension, and what is wrong with it."""
    as_written = Dimension(setting, kind, tuple(values))
    if kind in _LISTS:
        return as_written, "has an empty value" if "" in values else ""
    if kind not in _RANGES:
        return as_written, f"no such kind {kind}; there are {', '.join([*_RANGES, *_LISTS])}"
    try:
        low, high = (_RANGES[kind](value) for value in values)
    except ValueError:
        return as_written, f"{kind} takes two numbers, got {len(values)}: {', '.join(map(str, values))}"
    if kind == "loguniform" and low <= 0:
        return as_written, f"loguniform needs bounds above 0, got {low}"
    return Dimension(setting, kind, (low, high)), "" if low < high else f"{kind} needs the lower bound first"
