"""A stage trained by real processes that talk by gloo, without Ray: `train` starts them, the rest is what they run."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.contract.settings import ComputeSettings
from orchestrator.run.fingerprint import Fingerprint
from orchestrator.train import loop
from tests.orchestrator.train.methods import Numbers, method_named

MICRO_BATCHES = 2
MEETING = "MEETING"
"""Environment variable: the file that the processes of a group meet in."""


def train(folder: Path, workers: int, method: str, code: int = 0, **how: Any) -> tuple[dict[str, Tensor], str]:
    """Train a stage whose steps have two micro-batches, with one worker or two.

    Args:
        folder: of the stage.
        workers: processes.
        method: name of a method of `tests.orchestrator.train.methods`.
        code: that the processes must end with.
        how: `steps`; what differs in the method (`changes`), in its `stage` and in the `settings` of that; `start`:
            folder of the stage whose weights it begins with; `stop`: step in whose end the processes are killed;
            `precision`; `scaled`: losses are scaled as in fp16.

    Returns:
        What the stage hands on, by network and tensor, and what the first process printed.
    """
    # Processes meet in a file. Accelerate asks for an address nevertheless, and then does not use it.
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "WORLD_SIZE": str(workers), "OMP_NUM_THREADS": "1"}
    told[MEETING] = (folder.parent / f"meeting-{uuid.uuid4().hex}").as_uri()
    words = [sys.executable, "-m", "tests.orchestrator.train.group", str(folder), method, json.dumps(how)]
    alone = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    group = {**alone, **told, "ACCELERATE_USE_CPU": "1"} if workers > 1 else {**alone, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            words,
            env={**group, **({"RANK": str(rank), "LOCAL_RANK": str(rank)} if workers > 1 else {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(workers)
    ]
    printed = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [code] * workers, printed[0]
    return handed_on(folder), printed[0]


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Hold that tensors are the same but for the order of sums."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=lambda text, at=name: f"{at}: {text}")


def handed_on(folder: Path) -> dict[str, Tensor]:
    """The tensors that a stage hands on, by network and name."""
    found = {}
    for path in sorted((folder / loop.NETWORKS).glob("*.safetensors")):
        found |= {f"{path.stem}/{name}": value for name, value in load_file(path).items()}
    return found


def _work(folder: Path, name: str, how: dict[str, Any]) -> None:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        rank = int(os.environ["RANK"])
        torch.distributed.init_process_group("gloo", init_method=os.environ[MEETING], rank=rank, world_size=world)
    loop.backend_of = lambda _compute: SimpleNamespace(world_size=lambda: world, notice=lambda: None)  # type: ignore[assignment]
    method = method_named(name, **how.get("changes", {}))
    compute = ComputeSettings(
        workers=world, accumulation=MICRO_BATCHES // world, cpus_per_worker=1, precision=how.get("precision", "fp32")
    )
    (stage,) = method.stages(None)  # type: ignore[arg-type]
    settings = dataclasses.replace(stage.settings, **how.get("settings", {}))
    stage = dataclasses.replace(stage, settings=settings, **how.get("stage", {}))
    if how.get("scaled"):
        _scale_losses()
    job = loop.TrainJob(
        method=dataclasses.replace(method, compute=compute),
        stage=stage,
        identity=Fingerprint.of({}, {}),
        num_classes=2,
        steps=how["steps"],
        feed=Numbers(),  # type: ignore[arg-type]
        folder=folder,
        start=Path(how["start"]) if "start" in how else None,
        description={},
        validation=None,
    )
    trained = loop.Loop(job)
    if "stop" in how:
        end_of_step = trained._end_of_step

        def stopped() -> bool:
            if trained.step == how["stop"]:
                os._exit(0)  # as a kill would
            return end_of_step()

        trained._end_of_step = stopped  # type: ignore[method-assign]
    trained.run()


def _scale_losses() -> None:
    """Let the losses be scaled as in fp16, in the arithmetic of fp32, so that the result must be the same."""
    make = loop.make_accelerator

    def make_scaled(compute: ComputeSettings) -> loop.Accelerator:
        accelerator = make(compute)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=5)
        return accelerator

    loop.make_accelerator = make_scaled


if __name__ == "__main__":
    _work(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
