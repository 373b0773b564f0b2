"""Time what a run costs on one worker and on several of this machine: starting up, a step, an image to label.

    python benchmarks/scale.py --workers 1 2 --repeats 2

Each number of workers trains the same batch (the others' micro-batches are accumulated) and labels with as many tasks.
A run of few steps and images and one of many take turns; the line through both gives the cost of starting and of one
more. Wall time, so it holds for the load of the moment, which is printed too. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHORT, LONG = (10, 8), (110, 72)
"""Steps of training and images to label."""
COMMON = {
    "preset": "toy",
    "pair.evaluation.kind": "none",
    "pseudo.rounds": 1,
    "adapt.steps": 1,
    "panels": 1,
    "compute.cpus_per_worker": 1,
    "compute.precision": "fp32",
}


def seconds(folder: Path, workers: int, micros: int, length: tuple[int, int]) -> dict[str, float]:
    """What the stages of one run took, by name."""
    steps, images = length
    name = f"{workers}-{steps}"
    own = {
        "source.steps": steps,
        "pair.target.count": images,
        "compute.workers": workers,
        "compute.accumulation": micros // workers,
        "compute.tasks": workers,
        "name": name,
        "runs": folder,
    }
    words = [word for key, value in {**COMMON, **own}.items() for word in (f"--{key}", str(value))]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "pipelines" / "cbst.py"), *words]
    subprocess.run(command, check=True, cwd=folder, env=env, stdout=subprocess.DEVNULL)
    return json.loads((folder / name / "summary.json").read_text())["seconds"]


def line(short: float, long: float, at: tuple[int, int]) -> tuple[float, float]:
    """Cost of starting and of one more, of the line through two measurements."""
    each = (long - short) / (at[1] - at[0])
    return short - each * at[0], each


def main() -> None:
    """Run, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    micros, found = max(options.workers), {count: [] for count in options.workers}
    for _ in range(options.repeats):
        for count in options.workers:
            with tempfile.TemporaryDirectory() as folder:
                short, long = (seconds(Path(folder), count, micros, length) for length in (SHORT, LONG))
            steps = line(short["source"], long["source"], (SHORT[0], LONG[0]))
            images = line(short["label-0"], long["label-0"], (SHORT[1], LONG[1]))
            found[count].append((*steps, *images))
    print(f"Load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; medians of {options.repeats}.\n")
    print("| Workers, tasks | A stage of training starts, s | A step, ms | Labelling starts, s | An image, ms |")
    print("|---|---|---|---|---|")
    for count, rows in found.items():
        start, step, begin, image = (statistics.median(values) for values in zip(*rows, strict=True))
        print(f"| {count} | {start:.1f} | {1000 * step:.0f} | {begin:.1f} | {1000 * image:.0f} |")


if __name__ == "__main__":
    main()
