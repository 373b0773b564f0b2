"""Running averages of a group against those of one network that sees the micro-batches of all in turn."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import Tensor, nn

from orchestrator.train.batchnorm import BatchNormSync


class Worker:
    """What `BatchNormSync` asks of an accelerator; workers meet at every sum."""

    device = torch.device("cpu")

    def __init__(self, rank: int, sums: list[Tensor], barrier: threading.Barrier) -> None:
        self.process_index, self.num_processes = rank, barrier.parties
        self._sums, self._barrier = sums, barrier

    def reduce(self, value: Tensor, how: str) -> Tensor:
        assert how == "sum"
        self._sums[self.process_index] = value
        self._barrier.wait(30)
        total = torch.stack(self._sums).sum(0)
        self._barrier.wait(30)
        return total


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3))


def micro_batch(number: int) -> Tensor:
    draw = torch.Generator().manual_seed(number)
    return torch.randn(2, 2, 3, 3, generator=draw) * (number + 1)


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("passes", [1, 2])
def test_averages_are_those_of_one_worker_in_turn(workers, passes):
    alone = make_network()
    networks = [copy.deepcopy(alone) for _ in range(workers)]
    sums, barrier = [torch.empty(0)] * workers, threading.Barrier(workers)

    def forward(network: nn.Module, number: int) -> None:
        for part in range(passes):  # such as source and target one after the other
            network(micro_batch(passes * number + part))

    def work(rank: int) -> None:
        averages = BatchNormSync([networks[rank]], Worker(rank, sums, barrier))  # type: ignore[arg-type]
        for part in range(4):
            averages.remember()
            forward(networks[rank], part * workers + rank)
            averages.merge()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(workers)]
    for thread in threads:
        thread.start()
    for number in range(4 * workers):
        forward(alone, number)
    for thread in threads:
        thread.join()
    for network in networks:
        for (name, found), expected in zip(network.named_buffers(), alone.buffers(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, msg=name)
    assert not torch.equal(alone[1].running_mean, torch.zeros(3))


@pytest.mark.parametrize("kept", [True, False])
def test_averages_that_stay_and_a_worker_alone_are_left_as_they_are(kept):
    network = make_network()
    if kept:
        for layer in network:
            layer.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    averages = BatchNormSync([network], Worker(0, [], threading.Barrier(2 if kept else 1)))  # type: ignore[arg-type]
    averages.remember()
    network(micro_batch(0))
    moved = {name: value.clone() for name, value in network.state_dict().items()}
    averages.merge()
    after = network.state_dict()
    assert all(torch.equal(after[name], moved[name]) for name in after)
    assert all(torch.equal(after[name], before[name]) for name in after) == kept
