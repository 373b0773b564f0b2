"""Compare methods on a preset over seeds: source-only, target oracle, self-training without MMDL, DRSL, DRSL+, others.

    python benchmarks/compare.py --preset toy-camvid --root DIR --seeds 0 1 2

Runs the real command line for every arm and seed (finished runs are not repeated, shared stages are taken over) and
prints a Markdown table: mean and standard deviation of the mIoU, the gain over source-only, and the share of the gap
between source-only and oracle that was closed.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"

ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "DRSL+": ("drsl", ()),
    "DRSL": ("drsl", ("--loss.consistency", "0")),
    "self-training": ("drsl", ("--loss.triplet", "0", "--loss.mixture", "0", "--loss.consistency", "0")),
    "target oracle": ("oracle", ()),
    "CBST": ("cbst", ()),
    "CRST (MRKLD)": ("crst", ()),
    "CRST (MRENT)": ("crst", ("--regulariser", "mrent")),
    "MinEnt": ("minent", ()),
    "AdvEnt": ("advent", ()),
    "AdaptSegNet": ("adaptsegnet", ()),
    "Structure Enhancement": ("structure", ()),
}
"""Pipeline and flags of each arm."""
USUAL = ("self-training", "DRSL", "DRSL+", "target oracle")


def folder(options: argparse.Namespace, arm: str, seed: int) -> Path:
    """The run folder of one arm and seed."""
    name = re.sub(r"[^a-z]+", "-", arm.lower().replace("+", "-plus")).strip("-")
    return Path(options.runs).resolve() / f"{options.preset}-{name}-{seed}"


def run(options: argparse.Namespace, extra: list[str], seed: int) -> None:
    """Run the arms of one seed; each takes over what those before it have trained alike."""
    before: list[str] = []
    for arm in options.arms:
        pipeline, flags = ARMS[arm]
        own = folder(options, arm, seed)
        command = [sys.executable, str(PIPELINES / f"{pipeline}.py"), "--preset", options.preset, "--seed", str(seed)]
        command += ["--runs", str(own.parent), "--name", own.name, *flags, *extra]
        command += ["--root", options.root] if options.root else []
        command += ["--reuse", *before] if before else []
        before.append(str(own))
        print(f"seed {seed}: {arm}", file=sys.stderr, flush=True)
        with (own.parent / f"{own.name}.log").open("w") as log:
            subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)


def results(options: argparse.Namespace) -> dict[str, list[float]]:
    """The mIoU of every arm, one value a seed, over the classes that the evaluation images show.

    A run's own mIoU also counts a class that no image shows, as 0, once the network predicts it anywhere: fair for one
    network, but arms that are averaged over different classes do not compare.
    """
    found: dict[str, list[float]] = {"source-only": []}
    for seed in options.seeds:
        folders = [folder(options, arm, seed) for arm in options.arms]
        summaries = [json.loads((path / "summary.json").read_text()) for path in folders]
        measured = json.loads(next(folders[0].glob("stages/*/evaluation.json")).read_text())
        classes = [name for name, row in zip(measured["iou"], measured["confusion"], strict=True) if any(row)]
        before = next(summary["source_only"] for summary in summaries if "source_only" in summary)
        found["source-only"].append(mean_over(classes, before))
        for arm, summary in zip(options.arms, summaries, strict=True):
            found.setdefault(arm, []).append(mean_over(classes, summary["adapted"]))
    return found


def mean_over(classes: list[str], result: dict[str, Any]) -> float:
    """Mean IoU over these classes."""
    return statistics.mean(result["iou"][name] for name in classes)


def table(found: dict[str, list[float]]) -> str:
    """The Markdown table."""
    source = found["source-only"]
    gap = statistics.mean(found["target oracle"]) - statistics.mean(source) if "target oracle" in found else None
    lines = [
        "| arm | mIoU, mean ± sd | each seed | gain over source-only | share of the gap closed |",
        "|---|---|---|---|---|",
    ]
    for arm, values in found.items():
        mean, spread = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
        gains = [value - before for value, before in zip(values, source, strict=True)]
        gain = statistics.mean(gains)
        each = ", ".join(f"{value:.3f}" for value in values)
        gained = "" if arm == "source-only" else f"{gain:+.3f}"
        closed = f"{gain / gap:.0%}" if gap and arm not in ("source-only", "target oracle") else ""
        lines.append(f"| {arm} | {mean:.3f} ± {spread:.3f} | {each} | {gained} | {closed} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--root", default="", help="folder of the data set, for presets that need one")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=USUAL, metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--parallel", type=int, default=1, help="seeds run side by side, each on its own Ray")
    options, extra = parser.parse_known_args()
    Path(options.runs).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.parallel) as pool:
        for future in [pool.submit(run, options, extra, seed) for seed in options.seeds]:
            future.result()
    print(table(results(options)))


if __name__ == "__main__":
    main()
