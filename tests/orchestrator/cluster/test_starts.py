"""A start that fails or is interrupted, of something that starts processes as Ray does."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import psutil
import pytest

from orchestrator.base.signals import Stopped
from orchestrator.cluster.starts import nothing_left_of_a_failure


def started_by(action: Callable[[], object]) -> None:
    with nothing_left_of_a_failure():
        action()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stopped(signal.SIGTERM), RuntimeError()])
def test_what_a_start_that_fails_has_started_ends_with_it(error):
    others = subprocess.Popen(["sleep", "1000"])
    started = []

    def fail() -> None:
        process = subprocess.Popen(["sh", "-c", "sleep 1001 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        started.extend(psutil.Process(pid) for pid in (process.pid, int(process.stdout.readline())))
        raise error

    with pytest.raises(type(error)):
        started_by(fail)
    assert [process.is_running() for process in started] == [False, False]
    assert others.poll() is None
    others.kill()
