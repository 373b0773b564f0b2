"""Read ray_cluster.yaml as a user would change it: one provider's block active, the others comments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROVIDERS = ("aws", "gcp", "azure", "local")
_BLOCK = re.compile(r"^# --- (\w+) ---\n(.*?)^# --- end ---\n", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, str]:
    """The lines of each provider's block, by its name."""
    return dict(_BLOCK.findall(text()))


def text() -> str:
    return (ROOT / "ray_cluster.yaml").read_text(encoding="utf-8")


def variant(provider: str) -> dict[str, Any]:
    """The cluster file with this provider's block active and no other."""

    def rewritten(match: re.Match[str]) -> str:
        if match[1] != provider:
            return ""
        lines = match[2].splitlines(keepends=True)
        return "".join(line.removeprefix("# ") for line in lines) if lines[0].startswith("# ") else match[2]

    return yaml.safe_load(_BLOCK.sub(rewritten, text()))
