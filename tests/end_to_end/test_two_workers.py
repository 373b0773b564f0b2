"""Several workers are one training: the same steps as one worker that accumulates, and none that trains alone."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
import time
from pathlib import Path

import psutil
import pytest
import ray
import torch
from ray.train.torch import TorchTrainer
from rich.console import Console
from safetensors.torch import load_file

from orchestrator.base.progress import Progress
from orchestrator.cluster.ray_backend import RayBackend
from orchestrator.contract.config import read_file, read_settings
from orchestrator.contract.settings import ComputeSettings
from orchestrator.run.context import Context, open_domains
from orchestrator.run.fingerprint import fingerprints_of
from orchestrator.train import loop
from orchestrator.train import stage as training
from pipelines.drsl import Drsl

WEIGHTS = ("model/model.safetensors", "networks/mmdl.safetensors")


@pytest.fixture(scope="module")
def adapt(cluster, finished):
    """Carry out the finished run's adaptation once more, with other compute settings."""
    flags = read_file(finished.folder / "config.yaml")
    flags.pop("method")
    settings = read_settings(Drsl, flags)
    batchnorm = dataclasses.replace(settings.adapt, batchnorm="eval", source_batch=1, target_batch=1, steps=8)
    settings = dataclasses.replace(settings, adapt=batchnorm)

    def run(folder: Path, workers: int, accumulation: int) -> Path:
        compute = ComputeSettings(
            workers=workers, cpus_per_worker=1, tasks=2, precision="fp32", accumulation=accumulation
        )
        method = dataclasses.replace(settings, compute=compute)
        context = Context(method, open_domains(method), folder, Progress(Console(file=io.StringIO())))
        stages = method.stages(context.domains.sizes)
        context.fingerprints.update(fingerprints_of(stages, method))
        (stage,) = (stage for stage in stages if stage.name == "adapt-0")
        context.folders.update({s.name: finished.folder / "stages" / f"{n:02d}-{s.name}" for n, s in enumerate(stages)})
        context.folders["adapt-0"] = folder
        folder.mkdir()
        training.run(stage, context)
        return folder

    return run


@pytest.fixture(scope="module")
def connected(cluster):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def pair(adapt, connected, tmp_path_factory):
    """Two workers, undisturbed."""
    return adapt(tmp_path_factory.mktemp("two") / "run", workers=2, accumulation=1)


def terms_of(folder: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "stage"} for line in lines]


def test_worker_that_would_train_alone_is_refused(monkeypatch):
    class Group:
        @staticmethod
        def get_world_size() -> int:
            return 2

    monkeypatch.setattr(ray.train, "get_context", Group)
    with pytest.raises(RuntimeError, match="2 workers were started but only 1 would train together"):
        loop.make_accelerator(ComputeSettings(workers=2, precision="fp32"))


def test_processors_join_their_group_only_when_told(connected, tmp_path):
    def worker() -> None:
        import accelerate
        from accelerate.state import AcceleratorState

        from orchestrator.train import loop

        compute = ComputeSettings(workers=2, precision="fp32")
        loop.Accelerator = lambda **options: accelerate.Accelerator(**{**options, "cpu": False})
        told = tmp_path / f"{ray.train.get_context().get_world_rank()}.txt"
        try:
            loop.make_accelerator(compute)
        except RuntimeError as error:
            told.write_text(f"{error}\n")
        AcceleratorState._reset_state(reset_partial_state=True)
        loop.Accelerator = accelerate.Accelerator
        with told.open("a") as file:
            file.write(f"{loop.make_accelerator(compute).num_processes}\n")

    TorchTrainer(
        worker,
        scaling_config=ray.train.ScalingConfig(num_workers=2),
        run_config=ray.train.RunConfig(name="guard", storage_path=str(tmp_path / "ray")),
    ).fit()
    said = "2 workers were started but only 1 would train together\n2\n"
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)] == [said, said]


def test_two_workers_take_the_steps_of_one_that_accumulates(pair, adapt, finished, tmp_path):
    one = adapt(tmp_path / "one", workers=1, accumulation=2)
    start = finished.folder / "stages" / "02-source-mmdl"
    for name in WEIGHTS:
        found, expected, before = (load_file(folder / name) for folder in (pair, one, start))
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)
        assert max(float((expected[key] - before[key]).abs().max()) for key in expected) > 1e-3
    for line, other in zip(*(terms_of(folder) for folder in (pair, one)), strict=True):
        assert line == pytest.approx(other, rel=1e-4)


def test_group_that_loses_a_worker_ends_with_the_same_bits(pair, adapt, cluster, tmp_path):
    folder = tmp_path / "hunted"
    killed: list[psutil.Process] = []

    def kill_one() -> None:
        while not list(folder.glob("checkpoints/step-*/COMPLETE")):
            time.sleep(0.01)
        *_, worker = (process for process in cluster.processes() if "TrainWorker" in process.name())
        worker.kill()
        killed.append(worker)

    hunter = threading.Thread(target=kill_one, daemon=True)
    hunter.start()
    adapt(folder, workers=2, accumulation=1)
    hunter.join()
    assert len(killed) == 1
    for name in (*WEIGHTS, "metrics.jsonl"):
        assert (folder / name).read_bytes() == (pair / name).read_bytes()


def test_ray_lists_a_stage_that_trains_by_its_name(cluster, connected, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with RayBackend().label("tracked: adapt-0"):
        assert "tracked: adapt-0" in ray.util.list_named_actors()
    with RayBackend().label("tracked: adapt-0"):  # also where the one before is not gone yet
        pass
    monkeypatch.delenv("RAY_ADDRESS")
    with RayBackend().label("alone: adapt-0"):
        assert "alone: adapt-0" not in ray.util.list_named_actors()
