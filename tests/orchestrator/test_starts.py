"""A start that fails or is interrupted, of something that starts processes as Ray does."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

import psutil
import pytest

from orchestrator.starts import ctrl_c_held_back, nothing_left_of_a_failure


def started_by(action: Callable[[], object]) -> None:
    with nothing_left_of_a_failure(), ctrl_c_held_back():
        action()


class Stopped(BaseException):
    """As raised by a signal."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stopped, RuntimeError])
def test_what_a_start_that_fails_has_started_ends_with_it(error):
    others = subprocess.Popen(["sleep", "1000"])
    started = []

    def fail() -> None:
        process = subprocess.Popen(["sh", "-c", "sleep 1001 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        started.extend(psutil.Process(pid) for pid in (process.pid, int(process.stdout.readline())))
        raise error

    with pytest.raises(error):
        started_by(fail)
    assert [process.is_running() for process in started] == [False, False]
    assert others.poll() is None
    others.kill()


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_waits_until_ray_has_started_unless_it_is_pressed_again(times):
    gone_on = []

    def slowly() -> None:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        gone_on.append(True)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        started_by(slowly)
    assert bool(gone_on) == (times == 1)
    assert signal.getsignal(signal.SIGINT) is handler
