"""Two workers that part are noticed, by every difference in their weights; two that agree go on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

WORKER = """
import sys
import torch
from accelerate import Accelerator
from torch import nn
from orchestrator.train.replicas import Parted, require_same

accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
torch.manual_seed(0)
networks = {"same": nn.Linear(3, 2), "other": nn.Linear(3, 2), "empty": nn.Identity()}
if accelerator.process_index == 1:
    if sys.argv[1] == "nudged":
        weight = networks["other"].weight.data
        weight[1, 2] = torch.nextafter(weight[1, 2], torch.tensor(9.0))
if sys.argv[1] == "exchanged":
    torch.manual_seed(1)
    networks["other"] = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    if accelerator.process_index == 1:
        networks["other"] = nn.ModuleList(reversed(networks["other"]))
try:
    require_same(networks, accelerator)
except Parted as error:
    print(error, flush=True)
"""


def group(what: str) -> list[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, what],
            env={**os.environ, **told, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    return printed


def test_workers_that_agree_go_on():
    assert group("equal") == ["", ""]


@pytest.mark.parametrize("what", ["nudged", "exchanged"])
def test_both_workers_notice_that_one_has_other_weights(what):
    for printed in group(what):
        assert "the 2 workers hold different weights of other;" in printed
