"""A process whose arithmetic depends on the code and the pinned packages alone, for runs that are compared by the bit.

Libraries choose their kernels by what a processor can do, and sums come out differently in each. The process is kept to
what every x86-64 processor does alike. Leave out one of the pins, and runs on two processors part.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "kornia", "kornia-rs", "pillow", "pyarrow", "safetensors", "accelerate")
"""What the bits depend on beside our code."""

_OVERRIDES: list[Any] = []
"""Kernels that take the place of torch's for as long as the process lives."""


def unpinnable() -> str:
    """Why the arithmetic of this machine cannot be pinned; empty where it can be."""
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        return ""
    return f"the golden digests are of x86-64 and Linux, and this is {platform.machine()} and {platform.system()}"


def installed() -> dict[str, str]:
    """Versions of the packages that the bits depend on, without the part that names a build."""
    return {name: version(name).split("+")[0] for name in PACKAGES}


def pins() -> dict[str, str]:
    """Environment of the process."""
    import numpy as np

    extensions = np.show_config(mode="dicts")["SIMD Extensions"]["found"]  # type: ignore[index]
    return {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": " ".join(extensions),
        # Where it can, the C library rounds a product and a sum once, not twice (the second names: before 2.33).
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX_Usable,-AVX2_Usable,-FMA_Usable,-FMA4_Usable",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def prepare() -> None:
    """Pin what no variable can, before anything is computed."""
    import torch

    torch.set_num_threads(1)
    # oneDNN splits its sums by the size of the caches, NNPACK is there with AVX2 alone.
    torch.backends.mkldnn.set_flags(_enabled=False)
    torch.backends.nnpack.set_flags(_enabled=False)
    _OVERRIDES.append(torch.library.Library("aten", "IMPL"))
    with warnings.catch_warnings(action="ignore"):
        _OVERRIDES[0].impl("sqrt", _nearest_root, "CPU")


def _nearest_root(value: Any) -> Any:
    """The root as IEEE 754 has it: MKL's begins with an estimate that each make of processor tabulates differently."""
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(np.sqrt(value.detach().numpy())))


def result_of(name: str) -> tuple[str, dict[str, str]]:
    """Carry out a golden run in a folder of its own; returns its metrics and the digests of all else that it made."""
    from tests.golden.digests import digests
    from tests.golden.runs import carry_out

    folder = Path(tempfile.mkdtemp(prefix="sa-golden-"))
    try:
        run = carry_out(name, folder)
        return (run / "metrics.jsonl").read_text(encoding="utf-8"), digests(run)
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def pinned() -> Iterator[Callable[[str], tuple[str, dict[str, str]]]]:
    """While it lasts, carry out golden runs by name, one after the other in one such process."""
    before = dict(os.environ)
    os.environ.update(pins())
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=prepare) as pool:
            yield lambda name: pool.submit(result_of, name).result()
    finally:
        os.environ.clear()
        os.environ.update(before)
