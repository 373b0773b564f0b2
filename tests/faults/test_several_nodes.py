"""Several nodes are one machine: a run trains and labels across them, and nodes that come and go cost no result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipelines.cbst import Cbst
from pipelines.source_only import SourceOnly
from tests.conftest import digests
from tests.faults.nodes import Nodes

SCORE = "label-0: score"
PLAIN = {"source__optimiser": "sgd", "source__lr": 5e-3}
"""Adam would turn the last digit of a gradient next to zero into a step of full length."""


@dataclass(frozen=True)
class Story:
    """What became of a run, and of the nodes that were lost meanwhile."""

    run: Path
    printed: str
    lost: dict[str, str]
    """Node by the stage that lost it."""
    workers: tuple[str, ...] = ()
    """Node of each training worker."""
    tasks: tuple[tuple[str, int], ...] = ()
    """Node and number of each attempt to score a part of the target."""

    @property
    def summary(self) -> dict[str, Any]:
        """What the run found, without its name and how long it took."""
        found = json.loads((self.run / "summary.json").read_text())
        return {name: value for name, value in found.items() if name not in ("name", "seconds")}

    def groups(self, stage: str) -> list[int]:
        """How many workers trained a stage, one number for each time that this changed."""
        (done,) = self.run.glob(f"stages/*-{stage}/done.json")
        return json.loads(done.read_text())["result"]["workers"]

    def weights(self, stage: str) -> dict[str, torch.Tensor]:
        (path,) = self.run.glob(f"stages/*-{stage}/model/model.safetensors")
        return load_file(path)


def steps_saved(run: Path, stage: str) -> list[Path]:
    return list(run.glob(f"stages/*-{stage}/checkpoints/step-*/COMPLETE"))


@pytest.fixture(scope="module")
def nodes(desk) -> Iterator[Nodes]:
    """Three nodes; what happens to them follows the order of the fixtures below."""
    nodes = Nodes.begin(desk)
    try:
        for _ in range(3):
            nodes.add()
        yield nodes
    finally:
        nodes.close()


@pytest.fixture(scope="module")
def words(tiny) -> list[str]:
    # Long enough for a node to be lost before the training has ended.
    return tiny(Cbst, **PLAIN, compute__workers=2, compute__tasks=8, adapt__steps=24)


@pytest.fixture(scope="module")
def alone(desk, cluster, words) -> Story:
    """One node with both workers, undisturbed."""
    printed = desk.start("cbst", *words, "--name", "one-node", env={"RAY_ADDRESS": cluster.address}).ends()
    return Story(desk.runs / "one-node", printed, {})


@pytest.fixture(scope="module")
def three(desk, nodes, tiny) -> Story:
    """Three workers on three nodes."""
    own = [*tiny(SourceOnly, **PLAIN, compute__workers=3), "--name", "three-nodes"]
    printed = desk.start("source_only", *own, env={"RAY_ADDRESS": nodes.address}).ends()
    return Story(desk.runs / "three-nodes", printed, {}, tuple(nodes.ran_workers()))


@pytest.fixture(scope="module")
def accumulated(desk, tiny) -> Story:
    """One worker with all three micro-batches."""
    printed = desk.carry_out("source_only", *tiny(SourceOnly, **PLAIN, compute__workers=3), "--name", "one-of-three")
    return Story(desk.runs / "one-of-three", printed, {})


@pytest.fixture(scope="module")
def hunted(desk, nodes, words, three) -> Story:
    """Begun on three nodes; one is lost in labelling, another in training, which then waits for one to come back."""
    before, run = len(nodes.ran_workers()), desk.runs / "hunted-nodes"
    # Far longer than a node takes to start.
    env = {"RAY_ADDRESS": nodes.address, "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "400"}
    command = desk.start("cbst", *words, "--name", run.name, env=env)
    lost: dict[str, str] = {}

    def lost_in_labelling() -> bool:
        if list(run.glob("stages/*-label-0/scores-*.safetensors")) and (name := nodes.lose_one_at(SCORE)):
            lost["label-0"] = name
        return bool(lost)

    command.until(lost_in_labelling)
    command.until(lambda: steps_saved(run, "adapt-0"))
    lost["adapt-0"] = nodes.alive()[-1]
    nodes.lose(lost["adapt-0"])
    nodes.add()
    printed = command.ends()
    return Story(run, printed, lost, tuple(nodes.ran_workers()[before:]), tuple(nodes.ran_tasks(SCORE)))


@pytest.fixture(scope="module")
def changing(desk, nodes, words, hunted) -> Story:
    """Begun on one node and killed, continued on two, of which one is lost for good."""
    run = desk.runs / "changing-nodes"
    lost = {"before": nodes.alive()[0]}
    nodes.lose(lost["before"])
    env = {"RAY_ADDRESS": nodes.address, "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "6"}
    command = desk.start("cbst", *words, "--name", run.name, env=env)
    command.until(lambda: steps_saved(run, "source"))
    command.interrupt()
    first = command.ends(130)
    nodes.add()
    command = desk.start("cbst", *words, "--name", run.name, env=env)
    command.until(lambda: steps_saved(run, "adapt-0"))
    lost["adapt-0"] = nodes.alive()[-1]
    nodes.lose(lost["adapt-0"])
    return Story(run, first + command.ends(), lost)


@pytest.fixture(scope="module")
def warned(desk, nodes, tiny, changing) -> tuple[Story, list[Path]]:
    """A node announces its end, long before the next checkpoint is due; and what was saved when it was lost."""
    nodes.add()
    run = desk.runs / "warned-nodes"
    long = {"source__steps": 600, "source__checkpoint_every": 1000}
    words = tiny(SourceOnly, **PLAIN, **long, compute__workers=2)
    env = {"RAY_ADDRESS": nodes.address, "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.2"}
    command = desk.start("source_only", *words, "--name", run.name, env=env)
    command.until(lambda: any(path.stat().st_size for path in run.glob("stages/*-source/metrics.jsonl")))
    name = nodes.alive()[-1]
    nodes.announce_end(name)
    command.until(lambda: steps_saved(run, "source"))
    saved = steps_saved(run, "source")
    nodes.lose(name)
    nodes.add()
    return Story(run, command.ends(), {"source": name}), saved


def test_workers_lie_on_nodes_of_their_own(three, hunted):
    assert len(set(three.workers)) == 3
    assert len(three.workers) == 3
    assert "of 3 workers" not in three.printed
    # Two trainings, the second of them twice.
    assert len(hunted.workers) == 6
    assert len(set(hunted.workers)) > 2


def test_three_nodes_train_what_one_node_accumulates(three, accumulated):
    assert "source: 1 of 3 workers, with 3 micro-batches each: a step still has 3" in accumulated.printed
    assert (three.groups("source"), accumulated.groups("source")) == ([3], [1])
    found, expected = three.weights("source"), accumulated.weights("source")
    assert any("running_mean" in name for name in expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    assert three.summary["source_only"]["miou"] == pytest.approx(accumulated.summary["source_only"]["miou"], abs=0.01)


def test_labels_are_made_on_several_nodes_and_again_where_one_was_lost(hunted):
    assert len({node for node, _ in hunted.tasks}) == 3
    assert hunted.lost["label-0"] in {node for node, attempt in hunted.tasks if attempt == 0}
    again = {node for node, attempt in hunted.tasks if attempt > 0}  # Ray may have lost the record of an attempt
    assert hunted.lost["label-0"] not in again


def test_run_that_loses_nodes_ends_as_on_one_machine_bit_for_bit(hunted, alone):
    assert len(set(hunted.lost.values())) == 2
    assert hunted.groups("adapt-0") == [2]
    assert digests(hunted.run) == digests(alone.run)
    assert len([name for name in digests(alone.run) if name.endswith(".arrow")]) == 8
    assert hunted.summary == alone.summary


def test_group_grows_with_its_cluster_and_shrinks_with_it(changing):
    assert changing.groups("source") == [1, 2]
    assert changing.groups("adapt-0") == [2, 1]
    for stage in ("source", "adapt-0"):
        assert f"{stage}: 1 of 2 workers, with 2 micro-batches each: a step still has 2" in changing.printed


def test_changing_number_of_workers_changes_last_digits_alone_and_is_told(changing, alone):
    for stage in ("source", "adapt-0"):
        found, expected = changing.weights(stage), alone.weights(stage)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)
    found, expected = changing.summary, alone.summary
    for role in ("source_only", "adapted"):
        assert found[role]["miou"] == pytest.approx(expected[role]["miou"], abs=0.01)
    assert [warning for warning in found["warnings"] if warning not in expected["warnings"]] == [
        "source: trained by 1, then 2 of 2 workers; the batch stayed the same, the last digits may differ",
        "adapt-0: trained by 2, then 1 of 2 workers; the batch stayed the same, the last digits may differ",
    ]


def test_what_a_node_has_done_is_saved_when_it_announces_its_end(warned):
    story, (saved,) = warned
    step = int(saved.parent.name.removeprefix("step-"))
    assert 0 < step < 600
    (log,) = story.run.glob("stages/*-source/metrics.jsonl")
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 601))
    assert story.groups("source") == [2]
