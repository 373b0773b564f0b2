"""Compare methods on a preset over seeds: source-only, target oracle, self-training without MMDL, DRSL, DRSL+, others.

    python benchmarks/compare.py --preset toy-camvid --root DIR --seeds 0 1 2 --compute.backend local

Runs the real command line for every arm and seed (finished runs are not repeated, shared stages are taken over) and
prints a Markdown table: mean and standard deviation of the mIoU, the gain over source-only, and the share of the gap
between source-only and oracle that was closed. Settings of a run, such as the backend here, are those of every arm.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.report.tables import ORACLE, comparison, protocol_of, results_of, slug

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"

ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "DRSL+": ("drsl", ()),
    "DRSL": ("drsl", ("--loss.consistency", "0")),
    "self-training": ("drsl", ("--loss.triplet", "0", "--loss.mixture", "0", "--loss.consistency", "0")),
    ORACLE: ("oracle", ()),
    "CBST": ("cbst", ("--pseudo.spatial_prior", "false")),
    "CBST-SP": ("cbst", ("--pseudo.spatial_prior", "true")),
    "CRST (MRKLD)": ("crst", ()),
    "CRST (MRENT)": ("crst", ("--regulariser", "mrent")),
    "CRST (LRENT)": ("crst", ("--regulariser", "lrent")),
    "MinEnt": ("minent", ()),
    "AdvEnt": ("advent", ()),
    "AdaptSegNet": ("adaptsegnet", ()),
    "Structure Enhancement": ("structure", ()),
}
"""Pipeline and flags of each arm."""
USUAL = ("self-training", "DRSL", "DRSL+", ORACLE)


def folder(options: argparse.Namespace, arm: str, seed: int) -> Path:
    """The run folder of one arm and seed."""
    return Path(options.runs).resolve() / f"{options.preset}-{slug(arm)}-{seed}"


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


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--root", default="", help="folder of the data set, for presets that need one")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=USUAL, metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--parallel", type=int, default=1, help="seeds run side by side")
    options, extra = parser.parse_known_args()
    Path(options.runs).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.parallel) as pool:
        for future in [pool.submit(run, options, extra, seed) for seed in options.seeds]:
            future.result()
    measured = {arm: [results_of(folder(options, arm, seed)) for seed in options.seeds] for arm in options.arms}
    print(protocol_of(folder(options, options.arms[0], options.seeds[0])), comparison(measured), sep="\n\n")


if __name__ == "__main__":
    main()
