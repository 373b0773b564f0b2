"""Settings from the command line: preset, then file, then flags; every mistake is found before anything starts.

tyro writes the help from the settings' types and docstrings; pydantic checks the values, all of them at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import shlex
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from orchestrator.base.errors import UserError
from orchestrator.contract.method import Method

Settings = TypeVar("Settings")
Presets = Mapping[str, Callable[[], Any]]


def read_settings(cls: type[Settings], flags: Mapping[str, Any], base: Settings | None = None) -> Settings:
    """Settings of a class from dotted flags over a base.

    Args:
        cls: frozen dataclass, possibly nested.
        flags: values (text from the command line, or plain data) by dotted name.
        base: what the flags change; None where the flags say it all.

    Raises:
        UserError: unknown names (with the nearest known one), wrong types and values out of range, all of them.
    """
    settings, problems = usable_settings(cls, flags, base)
    if problems or settings is None:
        raise UserError("The settings cannot be used:", *problems)
    return settings


def usable_settings(
    cls: type[Settings], flags: Mapping[str, Any], base: Settings | None = None
) -> tuple[Settings | None, list[str]]:
    """Settings from those flags that can be used, and a sentence on each that cannot.

    What depends on several settings can so be checked beside a mistake in one of them. None: one is missing that has
    no default.
    """
    known = flatten(cls)
    problems = [_unknown(name, known) for name in flags if name not in known]
    usable = {name: value for name, value in flags.items() if name in known}
    while True:
        try:
            settings = TypeAdapter(cls).validate_python(_tree(usable, base))
            details = _not_finite(settings)
            if not details:
                return settings, problems
        except ValidationError as error:
            details = error.errors()
        problems += [sentence for sentence in map(_sentence, details) if sentence not in problems]
        bad = {name for name in usable for detail in details if _concerns(detail["loc"], name)}
        if not bad:
            return None, problems
        usable = {name: value for name, value in usable.items() if name not in bad}


def read_file(path: Path) -> dict[str, Any]:
    """Settings of a YAML file by dotted name.

    Raises:
        UserError: it does not exist or does not hold settings.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise UserError(f"--config {path} must hold settings by name, like a run's config.yaml.")
    return dotted(content)


def parse_flags(arguments: Sequence[str], names: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Split `--dotted.name value` arguments into known flags and what is not understood.

    Args:
        arguments: command-line words.
        names: known dotted names and their types.

    Returns:
        Values by name (text; a list for tuples; True for a bool flag without a value), and complaints.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        spellings = {f"--{name}", f"--{name.replace('_', '-')}"}
        # Files and names that are given one a flag add up; any other flag given again replaces what it said before.
        action = "extend" if names[name] == tuple[str, ...] else "store"
        parser.add_argument(*spellings, dest=name, nargs="*", action=action, default=argparse.SUPPRESS)
    found, rest = parser.parse_known_args(arguments)
    values: dict[str, Any] = {}
    complaints = []
    for name, words in vars(found).items():
        if get_origin(names[name]) is tuple:
            values[name] = words
        elif len(words) == 1 or (names[name] is bool and not words):
            values[name] = chosen(words[0], names[name]) if words else True
        else:
            complaints.append(f"{name}: takes one value, got {shlex.join(words) if words else 'none'}")
    # An unknown flag's own value follows it; only a word that follows no flag is a mistake of its own.
    for before, word in zip(["", *rest], rest, strict=False):
        if word.startswith("--"):
            complaints.append(_unknown(word.split("=")[0].removeprefix("--"), names))
        elif not before.startswith("--"):
            complaints.append(f"{word!r} belongs to no flag")
    return values, complaints


def chosen(word: str, kind: Any) -> Any:
    """A command-line word, as the choice that is written so where the choices are not text."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return next((choice for choice in choices if str(choice) == word), word)


def flatten(cls: type, prefix: str = "") -> dict[str, Any]:
    """Dotted names and types of all settings of a nested dataclass."""
    names: dict[str, Any] = {}
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            names |= flatten(kind, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        else:
            names[prefix + field.name] = kind
    return names


def config_of(method: Method) -> dict[str, Any]:
    """What a run is decided by: a method's settings as plain data, for config.yaml; who computes is not part of it."""
    config = {"method": method.name, **_plain(dataclasses.asdict(method))}
    del config["compute"]["backend"]
    return config


def _tree(flags: Mapping[str, Any], base: object | None) -> dict[str, Any]:
    tree: dict[str, Any] = dataclasses.asdict(base) if base else {}  # type: ignore[call-overload]
    # First the kinds: what the base says of another kind of domain means nothing for this one.
    for name, value in sorted(flags.items(), key=lambda flag: not flag[0].endswith(".kind")):
        *path, leaf = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        if path and leaf == "kind" and node.get("kind") != value:
            node.clear()
        node[leaf] = value
    return tree


def _concerns(place: tuple[int | str, ...], name: str) -> bool:
    """Whether a mistake at this place lies in the setting of this name, or in the group that it belongs to."""
    parts = tuple(name.split("."))
    shorter = min(len(place), len(parts))
    return place[:shorter] == parts[:shorter]


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _not_finite(settings: object) -> list[dict[str, Any]]:
    """The numbers of valid settings that are NaN or infinite, described as pydantic describes what is invalid."""

    def bad(value: object) -> bool:
        return any(map(bad, value)) if isinstance(value, tuple) else isinstance(value, float) and not isfinite(value)

    values = dotted(dataclasses.asdict(settings))  # type: ignore[call-overload]
    message = "Input should be a finite number"
    return [
        {"loc": tuple(name.split(".")), "msg": message, "type": "finite_number", "input": value}
        for name, value in values.items()
        if bad(value)
    ]


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    spelt = name.replace("-", "_")
    near = difflib.get_close_matches(spelt, known, n=1, cutoff=0.5)
    if not near:
        leaves = {key.rsplit(".", 1)[-1]: key for key in known}
        near = [leaves[leaf] for leaf in difflib.get_close_matches(spelt.rsplit(".", 1)[-1], leaves, n=1)]
    return f"{name}: no such setting" + (f"; did you mean {near[0]}?" if near else "; see --help")


def _sentence(detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    shown = detail["input"]
    if detail["type"] == "missing":
        return f"{name}: has no default, give it a value"
    if isinstance(shown, dict):  # a rule over several values of a group, which names them itself
        return f"{name}: {message}"
    return f"{name}: {message[0].lower()}{message[1:]}, got {shown!r}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(inner) for inner in value]
    return value
