"""How many workers a stage gets of a cluster, with the cluster's own answers replaced."""

from __future__ import annotations

import pytest
import ray

from orchestrator.base.errors import UserError
from orchestrator.cluster import elastic
from orchestrator.cluster.elastic import fitting, largest_share, micro_batches
from orchestrator.contract.settings import ComputeSettings


@pytest.fixture
def cluster(monkeypatch):
    """Say what the living nodes have and, over time, what is free of it in all; time passes by sleeping alone."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def say(nodes: list[dict[str, float]], *free: dict[str, float], dead: dict[str, float] | None = None) -> None:
        total = {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
        answers = list(free or (total,))
        listed = [{"Alive": True, "Resources": node} for node in nodes]
        monkeypatch.setattr(ray, "nodes", lambda: [*listed, *([{"Alive": False, "Resources": dead}] if dead else [])])
        monkeypatch.setattr(ray, "available_resources", lambda: answers.pop(0) if len(answers) > 1 else answers[0])
        monkeypatch.setattr(elastic.time, "sleep", sleep)
        monkeypatch.setattr(elastic.time, "monotonic", lambda: now)

    say.slept = lambda: now  # type: ignore[attr-defined]
    return say


def of(workers: int, accumulation: int = 1, cpus: float = 1.0, gpus: float = 0.0) -> ComputeSettings:
    return ComputeSettings(workers=workers, accumulation=accumulation, cpus_per_worker=cpus, gpus_per_worker=gpus)


def group(compute: ComputeSettings, most: int = 99) -> tuple[int, int]:
    found = fitting(compute, most)
    return found.workers, found.accumulation


@pytest.mark.parametrize(
    ("micros", "most", "share"),
    [(8, 8, 8), (8, 7, 4), (8, 3, 2), (7, 6, 1), (12, 5, 4), (64, 56, 32), (1, 9, 1), (4, 0, 0)],
)
def test_workers_share_micro_batches_evenly(micros, most, share):
    assert largest_share(micros, most) == share


def test_all_workers_are_there_where_they_fit(cluster):
    cluster([{"CPU": 2.0}, {"CPU": 2.0}])
    assert group(of(4, 3)) == (4, 3)


@pytest.mark.parametrize("nodes", range(1, 9))
@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_step_has_the_same_micro_batches_whatever_fits(nodes, accumulation, cluster):
    cluster([{"CPU": 1.0}] * nodes)
    asked = of(8, accumulation)
    found = fitting(asked, asked.workers)
    assert micro_batches(found) == micro_batches(asked) == 8 * accumulation
    assert 1 <= found.workers <= nodes


def test_cluster_that_has_more_changes_nothing(cluster):
    cluster([{"CPU": 64.0, "GPU": 8.0}])
    assert group(of(2, 4, gpus=1.0)) == (2, 4)


def test_lost_nodes_do_not_count(cluster):
    cluster([{"CPU": 1.0}], dead={"CPU": 9.0})
    assert group(of(2)) == (1, 2)


def test_worker_lies_on_one_node_as_a_whole(cluster):
    cluster([{"CPU": 3.0}, {"CPU": 3.0}, {"CPU": 1.0}])
    assert group(of(3, cpus=2.0)) == (1, 3)
    cluster([{"CPU": 16.0, "GPU": 1.0}, {"CPU": 16.0}])
    assert group(of(2, cpus=4.0, gpus=1.0)) == (1, 2)


def test_shares_of_a_core_add_up(cluster):
    cluster([{"CPU": 1.0}])
    assert group(of(10, cpus=0.1)) == (10, 1)


def test_workers_that_came_too_late_are_not_asked_for_again(cluster):
    cluster([{"CPU": 8.0}])
    assert group(of(8), most=7) == (4, 2)


def test_busy_nodes_are_waited_for(cluster):
    cluster([{"CPU": 2.0}], {"CPU": 0.0}, {"CPU": 1.0}, {"CPU": 2.0})
    assert group(of(2)) == (2, 1)
    assert cluster.slept() > 0


def test_nodes_that_stay_busy_are_gone_without(cluster):
    cluster([{"CPU": 2.0}], {"CPU": 1.0})
    assert group(of(2)) == (1, 2)
    assert cluster.slept() >= elastic.PATIENCE_S


def test_what_is_not_there_is_not_waited_for(cluster):
    cluster([{"CPU": 1.0}])
    assert group(of(8)) == (1, 8)
    assert cluster.slept() == 0


def test_no_room_at_all_is_told(cluster):
    cluster([{"CPU": 1.0}])
    with pytest.raises(UserError, match="no room for a training worker of 2 CPU and 1 GPU: 0 would fit, 0 now"):
        fitting(of(1, cpus=2.0, gpus=1.0), 1)
