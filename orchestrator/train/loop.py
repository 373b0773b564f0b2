"""The training loop: the only one in the project, run by every worker of a group.

It knows no method. A step of the method yields (network names, loss, terms); the loop does backward, clipping,
optimiser steps, logging, checkpoints and resuming between the yields.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from safetensors.torch import load
from torch import Tensor, nn
from torch.utils.data import DataLoader

from domains.base.files import open_itself
from domains.batches.microbatches import MicroBatches
from domains.batches.order import seed_of
from domains.metrics.transfer_score import transfer_score
from models.segmenter import Segmenter, set_train_mode
from models.weights import WEIGHTS, load_tensors, save_model
from orchestrator.base.files import append, read_json, read_lines, write_json, write_tensors, write_text
from orchestrator.cluster.backend import backend_of
from orchestrator.contract.method import Method
from orchestrator.contract.settings import ComputeSettings
from orchestrator.contract.stages import Train
from orchestrator.run.fingerprint import Fingerprint
from orchestrator.run.folder import CHECKPOINTS, MODEL, handed_on
from orchestrator.run.profile import Meter
from orchestrator.train import checkpoints
from orchestrator.train.agreement import Agreement
from orchestrator.train.batchnorm import BatchNormSync
from orchestrator.train.finite import Diverged, Look, Watch
from orchestrator.train.optim import Updates, make_optimiser, make_schedule
from orchestrator.train.passes import average_gradients
from orchestrator.train.replicas import require_same
from orchestrator.train.validation import METRIC, Validation

STOP = "STOP"
"""A file of this name in the stage's folder asks the workers to finish their step, save and leave."""
WORKERS = "workers.json"
"""In the stage's folder: how many workers trained it, one number for each time that this changed."""
DIVERGED = "diverged-{}.json"
"""In the stage's folder: the numbers of the step that a worker, by rank, stopped at because they were not finite."""
NETWORKS = "networks"


@dataclass(frozen=True)
class TrainJob:
    """Everything a worker needs to know; small and picklable."""

    method: Method
    stage: Train
    identity: Fingerprint
    """What decides the stage; its checkpoints know it."""
    num_classes: int
    steps: int
    feed: MicroBatches
    folder: Path
    """Folder of this stage, on storage that all workers share."""
    start: Path | None
    """Folder of the stage whose weights the networks begin with."""
    description: dict[str, Any]
    """Label space, protocol and first weights, stored with the model."""
    validation: Validation | None
    """How the exported network is judged on the way; None: not at all."""
    measured: bool = False
    """Whether the first worker writes down what its steps cost."""


def train_worker(config: dict[str, TrainJob]) -> None:
    """Entry point of a worker. Its lock on the stage goes with its process, or here where that goes on."""
    loop = Loop(config["job"])
    with loop._writer or contextlib.nullcontext():
        loop.run()


def make_accelerator(compute: ComputeSettings) -> Accelerator:
    """Accelerate over the group's processes.

    On CPU, Accelerate joins the group only when told `cpu=True`; otherwise every worker silently trains alone. The
    check keeps that, and any other cause of the same, from going unnoticed.
    """
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="no" if compute.precision == "fp32" else compute.precision,
        gradient_accumulation_steps=compute.accumulation,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
    )
    world = backend_of(compute).world_size()
    if accelerator.num_processes != world:
        raise RuntimeError(f"{world} workers were started but only {accelerator.num_processes} would train together")
    return accelerator


class Loop:
    """One stage of training on one worker."""

    def __init__(self, job: TrainJob) -> None:
        self.job, self.stage, self.settings = job, job.stage, job.stage.settings
        compute = job.method.compute
        torch.set_num_threads(max(1, int(compute.cpus_per_worker)))
        self.accelerator = make_accelerator(compute)
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        built = job.method.networks(job.num_classes)
        self.networks: dict[str, nn.Module] = {name: built[name] for name in self.stage.networks}
        self.saved = {name: built[name] for name in self.stage.saved}
        self.all = self.saved | {name: built[name] for name in self.stage.fixed}
        self._begin()
        learning = dict.fromkeys(self.networks, self.settings) | dict(self.stage.optimisers)
        raw = {name: make_optimiser(job.method, name, net, learning[name]) for name, net in self.networks.items()}
        span = self.settings.schedule_steps or job.steps
        self.schedules = {name: make_schedule(raw[name], learning[name], span) for name in raw}
        self._terms: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._writer = hold(job.folder / CHECKPOINTS) if self.accelerator.is_main_process else None
        self.step = self._resume(raw)
        self.several = self.stage.passes == "several"
        self.wrapped = {name: self._wrapped(name, net) for name, net in self.all.items()}
        self.optimisers = raw
        self.updates = Updates(self.networks, raw, self.accelerator.scaler, self.settings.clip)
        self.averages = BatchNormSync(self.saved.values(), self.accelerator)
        self.watch = Watch(self.accelerator.device, self._diverged)
        self.agreement = Agreement(self.accelerator)
        self._source_counts: Tensor | None = None
        self._notice: object = None

    def _begin(self) -> None:
        """Bring all networks to the weights, the device and the mode that the stage begins with."""
        if self.job.start:
            load_start(self.all, self.job.method.exported, self.job.start)
        for name, network in self.all.items():
            network.to(self.accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            if name in self.networks:
                set_train_mode(network, self.settings.batchnorm, self.settings.affine)
            else:
                network.eval().requires_grad_(False)
        torch.manual_seed(seed_of(self.job.method.seed, self.stage.name, "begin"))  # the same for all workers
        with torch.no_grad():
            self.job.method.begin(self.stage, self.all)

    def _wrapped(self, name: str, network: nn.Module) -> nn.Module:
        """A network as a step calls it.

        With one pass an update, the gradients of one that learns are averaged within that. With several, nothing but
        the forward is wrapped, for autocast, and `average_gradients` does it before the update.
        """
        if not _has_weights(network):
            return network
        if self.several or name not in self.networks:
            return self.accelerator.prepare_model(network, evaluation_mode=True)
        return self.accelerator.prepare(network)

    def run(self) -> None:
        """Train from the newest verified checkpoint to the last step, then write what the stage hands on."""
        accumulation = self.job.method.compute.accumulation
        micros = [
            (step * accumulation + part) * self.world + self.rank
            for step in range(self.step, self.job.steps)
            for part in range(accumulation)
        ]
        loader = DataLoader(
            self.job.feed,
            batch_size=None,
            sampler=micros,
            num_workers=self.job.method.compute.loader_workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        meter = Meter(self.accelerator.device) if self.job.measured else None
        for position, batch in zip(micros, loader, strict=True):
            with self.accelerator.accumulate(*self.wrapped.values()):
                self._micro_step(position, batch.to(self.accelerator.device))
            if self.accelerator.sync_gradients:
                self.step += 1
                with torch.no_grad():
                    self.job.method.after_step(self.stage, self.all, self.step)
                if meter:
                    meter.tick()
                if self._end_of_step():
                    return
        if meter and self.accelerator.is_main_process:
            meter.write(self.job.folder)
        self._write_outputs()

    def _micro_step(self, position: int, batch: Any) -> None:
        seed = seed_of(self.job.method.seed, self.stage.name, "step", position)
        torch.manual_seed(seed)  # for layers that draw by themselves, such as dropout
        # On the host whatever the device is, so that a step draws the same everywhere.
        draw = torch.Generator().manual_seed(seed)
        step = getattr(self.job.method, self.stage.step)
        self.averages.remember()
        number, whole = self.step + 1, self.accelerator.sync_gradients
        for names, loss, terms in step(self.wrapped, batch, draw):
            self._require_update(names)
            self.accelerator.backward(loss)
            if whole and self.several:
                average_gradients([self.networks[name] for name in names], self.world)
            gradients = self.updates.prepare(names) if whole else {}
            self.watch.look(number, position, {"loss": loss, **terms, **gradients})
            if whole:
                self.updates.apply(names)
            for term, value in terms.items():
                self._terms[term] = self._terms.get(term, torch.zeros((), device=loss.device)) + value.detach()
                self._counts[term] = self._counts.get(term, 0) + 1
        if whole:
            self.updates.renew_scale()
        self.averages.merge()

    def _require_update(self, names: tuple[str, ...]) -> None:
        """Refuse a pass without an update where gradients are averaged within each pass: the workers would part."""
        if not names and not self.several:
            raise ValueError(
                f"{self.stage.name}: {self.stage.step} yields a loss that updates no network, "
                'which only a stage with passes="several" may do'
            )

    def _end_of_step(self) -> bool:
        """Schedules, log line, checkpoint. True when the user asked to stop."""
        for schedule in self.schedules.values():
            schedule.step()
        last = self.step == self.job.steps
        save = last or self.step % self.settings.checkpoint_every == 0
        validation = self.job.validation
        judged = validation is not None and validation.due(self.step, self.job.steps)
        if save or judged or self.step % self.settings.log_every == 0:
            self.watch.settle()
            require_same(self.saved, self.accelerator)
            self._log({METRIC: self._validate(validation)} if validation and judged else {})
        if not (self.agreement.due() or save):
            return False
        stop = self.agreement.ask((self.job.folder / STOP).exists())
        if self._node_ends() or save or stop:
            self.watch.settle()
            self._save()
        return stop and not last

    def _node_ends(self) -> bool:
        """Whether a node of the group has announced its end, since this was last asked of all workers.

        On Ray they agree on it by way of the cluster, which takes milliseconds: not at every step.
        """
        known, self._notice = self._notice, backend_of(self.job.method.compute).notice()
        return self._notice not in (known, None)

    def _validate(self, validation: Validation) -> float:
        """The score of the exported network as it is now; training goes on as if nothing had been."""
        network = self.saved[self.job.method.exported]
        if self._source_counts is None:
            self._source_counts = self._sum(validation.source_counts(self.rank, self.world))
        modes = [(layer, layer.training) for layer in network.modules()]
        network.eval()
        sums = self._sum(validation.prediction_sums(network, self.rank, self.world, self.accelerator.device))
        for layer, training in modes:
            layer.training = training
        return transfer_score(sums, self._source_counts)

    def _sum(self, part: Tensor) -> Tensor:
        """The sum over the workers, on the host."""
        total = self.accelerator.reduce(part.to(self.accelerator.device), "sum")
        assert isinstance(total, Tensor)
        return total.cpu()

    def _log(self, measured: dict[str, float]) -> None:
        """Write the mean of every term since the last line, and what was measured at this step."""
        means = torch.stack([self._terms[name] / self._counts[name] for name in self._terms])
        reduced = self.accelerator.reduce(means, "mean")
        assert isinstance(reduced, Tensor)
        terms = dict(zip(self._terms, reduced.tolist(), strict=True))
        self._terms, self._counts = {}, {}
        if self.accelerator.is_main_process:
            lr = next(iter(self.schedules.values())).get_last_lr()[0]
            line = {"stage": self.stage.name, "step": self.step, "lr": lr, **terms, **measured}
            append(self.job.folder / "metrics.jsonl", json.dumps(line) + "\n")

    def _diverged(self, look: Look) -> Diverged:
        """Write down what led to a bad number, for people; returns the error to stop with."""
        source, target = self.job.feed.ids(look.micro)
        path = self.job.folder / DIVERGED.format(self.rank)
        told = {"stage": self.stage.name, "step": look.step, "rank": self.rank, "micro_batch": look.micro}
        values = {name: value if math.isfinite(value) else str(value) for name, value in look.values().items()}
        rates = {name: schedule.get_last_lr() for name, schedule in self.schedules.items()}
        write_json(path, {**told, "values": values, "lr": rates, "source": source, "target": target})
        return Diverged(
            f"step {look.step}: {', '.join(look.bad())} not finite; nothing of this step is kept. {path} has its "
            f"images and numbers. A lower learning rate may help, with --allow-change."
        )

    def _save(self) -> None:
        """Save everything that the next step depends on; every worker takes part."""
        began = [{name: [self._terms[name].item(), self._counts[name]] for name in self._terms}]
        unlogged = gather_object(began)  # of each worker, by rank
        if self.accelerator.is_main_process:
            tensors: dict[str, dict[str, Tensor]] = {NETWORKS: {}, "optimisers": {}}
            state: dict[str, Any] = {"optimisers": {}, "schedules": {}, "scaler": None, "unlogged": unlogged}
            for name, network in self.saved.items():
                tensors[NETWORKS] |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
            for name in self.networks:
                values, rest = checkpoints.optimiser_tensors(name, self.optimisers[name])
                tensors["optimisers"] |= values
                state["optimisers"][name] = rest
                state["schedules"][name] = self.schedules[name].state_dict()
            if self.accelerator.scaler is not None:
                state["scaler"] = self.accelerator.scaler.state_dict()
            checkpoints.save(self.job.folder / CHECKPOINTS, self.step, tensors, state, self.job.identity)
        self.accelerator.wait_for_everyone()

    def _resume(self, optimisers: dict[str, torch.optim.Optimizer]) -> int:
        """Load the newest verified checkpoint, if any, and cut the log back to it; returns its step."""
        folder = self.job.folder
        step = 0
        if self.accelerator.is_main_process:
            newest = checkpoints.newest_verified(folder / CHECKPOINTS, self.job.identity)
            step = newest.step if newest else 0
            lines = [line for line in read_lines(folder / "metrics.jsonl") if line["step"] <= step]
            write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
            for path in folder.glob(DIVERGED.format("*")):
                path.unlink()
            path = folder / WORKERS
            before = read_json(path) if path.exists() and step else []
            write_json(path, before if before[-1:] == [self.world] else [*before, self.world])
        # One worker verifies, which reads all of it, and the others are told.
        step = int(self._sum(torch.tensor(step, dtype=torch.float64)).item())
        if not step:
            return 0
        found = checkpoints.at(folder / CHECKPOINTS, step)
        tensors, state = found.tensors(NETWORKS), found.state()
        optimiser_tensors = found.tensors("optimisers")
        for name, network in self.saved.items():
            own = {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}
            network.load_state_dict(own)
        for name in self.networks:
            checkpoints.restore_optimiser(name, optimisers[name], optimiser_tensors, state["optimisers"][name])
            self.schedules[name].load_state_dict(state["schedules"][name])
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self._begin_line(state["unlogged"][self.rank :: self.world])
        return found.step

    def _begin_line(self, shares: list[dict[str, list[float]]]) -> None:
        """Go on with the line of the log that was begun when a checkpoint was saved.

        Args:
            shares: sum and count of each term, of the workers then whose part this one takes.
        """
        for share in shares:
            for name, (total, count) in share.items():
                self._terms[name] = self._terms.get(name, 0) + torch.tensor(total, device=self.accelerator.device)
                self._counts[name] = self._counts.get(name, 0) + int(count)

    def _write_outputs(self) -> None:
        """Hand on the weights: the exported network as a model folder, the others as plain tensors."""
        if self.accelerator.is_main_process:
            for name, network in self.saved.items():
                if name == self.job.method.exported:
                    assert isinstance(network, Segmenter)
                    save_model(self.job.folder / MODEL, network, self.job.method.model, **self.job.description)
                elif _has_weights(network) or name in self.stage.kept:
                    write_tensors(self.job.folder / NETWORKS / f"{name}.safetensors", network.state_dict())
        self.accelerator.wait_for_everyone()


def _has_weights(network: nn.Module) -> bool:
    """Whether it learns at all: one of buffers alone, a memory of the training, is neither wrapped nor handed on."""
    return any(True for _ in network.parameters())


def hold(folder: Path) -> IO[str]:
    """Wait until no worker of a run that was killed writes to a stage any more, and keep others waiting.

    Such a worker lives on for seconds; the kernel takes its lock away with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = open_itself(folder / ".writer", "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def load_start(networks: dict[str, nn.Module], exported: str, folder: Path) -> None:
    """Load the weights that another stage handed on; networks that it did not train keep their fresh ones.

    Raises:
        StageFailed: they are not what they were when that stage finished.
    """
    for name, network in networks.items():
        path = f"{MODEL}/{WEIGHTS}" if name == exported else f"{NETWORKS}/{name}.safetensors"
        if (folder / path).exists():
            load_tensors(network, load(handed_on(folder, path)))
