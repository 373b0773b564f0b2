"""Time what a run costs on one worker and on several of this machine: starting up, a step, an image to label.

    python benchmarks/scale.py --workers 1 2 --repeats 3
    python benchmarks/scale.py --workers                     only what needs no Ray

Each number of workers trains the same batch (the others' micro-batches are accumulated) and labels with as many tasks.
A run of few steps and images and one of many take turns; the line through both gives the cost of starting and of one
more. Wall time, so it holds for the load of the moment, which is printed too. Before that, what labelling an image of
1024x512 in 19 classes costs one core beside the network, in processor time. Prints Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from domains.pseudo.scores import score_strips
from domains.pseudo.selection import ConfidenceHistogram, confidence_log_odds, pseudo_label, self_entropy, thresholds
from domains.stores.pseudo_labels import LabelRow, ScoreRow, write_scores, write_shard

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


def cost(work: Callable[[], object], times: int = 5) -> float:
    """Median processor time of something, in milliseconds, once it has been done before."""
    found = []
    for _ in range(times + 1):
        began = time.process_time()
        work()
        found.append(1000 * (time.process_time() - began))
    return statistics.median(found[1:])


def image_costs() -> dict[str, float]:
    """What labelling one image costs a core beside the network, and how much of it is written."""
    size, histogram = (512, 1024), ConfidenceHistogram.empty(19)
    noise_Khw = torch.randn(19, 70, 134, generator=torch.Generator().manual_seed(0))
    views = [20 * torch.nn.functional.avg_pool2d(noise_Khw, 7, 1).half()]

    def count() -> None:
        for _, scores in score_strips(views, size):
            histogram.add(*confidence_log_odds(scores))
            self_entropy(scores)

    found = {"counts confidences, ms": cost(count)}
    cut = thresholds(histogram, 0.2)
    found["cuts labels, ms"] = cost(lambda: pseudo_label(views, size, cut))
    label = pseudo_label(views, size, cut)
    with tempfile.TemporaryDirectory() as folder:
        shards = [Path(folder, name) for name in ("scores.arrow", "labels.arrow")]
        write_scores(shards[0], (ScoreRow(str(k), k, *size, views) for k in range(20)), {})
        write_shard(shards[1], (LabelRow(str(k), k, label) for k in range(20)), {})
        found["writes, KB"] = sum(shard.stat().st_size for shard in shards) / 20e3
    content = os.urandom(1 << 26)
    found["sha256, GB/s"] = len(content) / 1e6 / cost(lambda: hashlib.sha256(content).digest())
    return found


def main() -> None:
    """Run, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(", ".join(f"{name} {value:.3g}" for name, value in image_costs().items()), flush=True)
    if not options.workers:
        return
    micros, found = max(options.workers), {count: [] for count in options.workers}
    for _ in range(options.repeats):
        for count in options.workers:
            with tempfile.TemporaryDirectory() as folder:
                short, long = (seconds(Path(folder), count, micros, length) for length in (SHORT, LONG))
            steps = line(short["source"], long["source"], (SHORT[0], LONG[0]))
            images = line(short["label-0"], long["label-0"], (SHORT[1], LONG[1]))
            found[count].append((*steps, *images))
            print(f"load {os.getloadavg()[0]:.1f}, {count}: {found[count][-1]}", file=sys.stderr, flush=True)
    print(f"Load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; medians of {options.repeats}.\n")
    print("| Workers, tasks | A stage of training starts, s | A step, ms | Labelling starts, s | An image, ms |")
    print("|---|---|---|---|---|")
    for count, rows in found.items():
        start, step, begin, image = (statistics.median(values) for values in zip(*rows, strict=True))
        print(f"| {count} | {start:.1f} | {1000 * step:.0f} | {begin:.1f} | {1000 * image:.0f} |")


if __name__ == "__main__":
    main()
