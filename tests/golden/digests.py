"""What a run made, by the sha256 of its contents: how a file is packed and what it says of itself does not count."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
from safetensors.numpy import load_file

PATTERNS = ("model/*.safetensors", "stages/**/*.safetensors", "stages/*/*.arrow", "stages/*/evaluation.json")


def digests(run: Path) -> dict[str, str]:
    """Digests of weights, labels, translations, counts and evaluations, by path within the run folder."""
    paths = sorted({path for pattern in PATTERNS for path in run.glob(pattern)})
    return {str(path.relative_to(run)): digest(path) for path in paths if "checkpoints" not in path.parts}


def digest(path: Path) -> str:
    """Digest of the tensors, the rows or the numbers of a file."""
    found = hashlib.sha256()
    if path.suffix == ".safetensors":
        for name, value in sorted(load_file(path).items()):
            found.update(f"{name} {value.dtype} {value.shape}\n".encode())
            found.update(value.tobytes())
    elif path.suffix == ".arrow":
        for row in pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist():
            found.update(repr(row).encode())
    else:
        values = json.loads(path.read_text(encoding="utf-8"))
        del values["protocol"]
        found.update(json.dumps(values, sort_keys=True).encode())
    return found.hexdigest()
