"""Settings that came later: at the value that leaves everything as it was before them, they are as if not there.

Else each new setting would have every finished stage of every user carried out again.
"""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints


def deciding(value: Any) -> Any:
    """Settings as plain data, as by `dataclasses.asdict`, without those that are at their neutral value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field for field in dataclasses.fields(value) if not _is_neutral(field, getattr(value, field.name))]
        return {field.name: deciding(getattr(value, field.name)) for field in fields}
    if isinstance(value, dict):
        return {key: deciding(inner) for key, inner in value.items()}
    return type(value)(map(deciding, value)) if isinstance(value, tuple | list) else value


def neutral_values(cls: type, prefix: str = "") -> dict[str, Any]:
    """Dotted names and neutral values of the settings of a nested dataclass that have one."""
    found: dict[str, Any] = {}
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            found |= neutral_values(hints[field.name], f"{prefix}{field.name}.")
        elif field.metadata.get("neutral"):
            found[prefix + field.name] = field.default
    return found


def _is_neutral(field: dataclasses.Field[Any], value: object) -> bool:
    return bool(field.metadata.get("neutral")) and value == field.default
