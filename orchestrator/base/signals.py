"""How a command is asked to end: by Ctrl-C, or by what schedulers and machines send before they take it away.

The first signal is answered by what the command is doing just then: a training saves a checkpoint, anything else is
left where it stands. A second signal leaves at once, and so does the end of the grace.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C; spot machines, Slurm, Kubernetes and `kill`; a terminal that is closed."""
GRACE_S = 25.0
"""Seconds in which a command that is told to end saves what it has, unless it says otherwise: Kubernetes and Slurm
allow 30."""
CLEANING_S = 15.0
"""Seconds in which a command that cleans up after itself is not disturbed by further signals."""

IMPORTING_S = 0.05
"""Seconds until a signal that came amid an import is looked at again."""


class Stopped(KeyboardInterrupt):
    """A signal asked this command to end. Like Ctrl-C it is no `Exception`, so libraries let it pass.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


class Note:
    """The first signal that came while somebody was ready to answer it."""

    def __init__(self, answer: Callable[[], None], grace_s: float) -> None:
        self.number: int | None = None
        self._answer, self._grace_s = answer, grace_s
        self._timer: threading.Timer | None = None

    def write(self, number: int) -> None:
        """The first signal came: answer it. Whoever sent another one than Ctrl-C does not wait for ever."""
        self.number = number
        if number != signal.SIGINT:
            self._timer = _send_later(number, self._grace_s)
        self._answer()

    def close(self) -> None:
        """It has been answered."""
        if self._timer:
            self._timer.cancel()


class _Listener:
    """The one handler of a process."""

    def __init__(self) -> None:
        self.heard: list[signal.Signals] = []
        self.notes: list[Note] = []
        self.cleaning_since = -CLEANING_S

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _let_go_of_terminal()
        if time.monotonic() - self.cleaning_since < CLEANING_S:
            return
        if _importing(frame):  # cut off there, it may leave a module half made and a lock held for ever
            _send_later(number, IMPORTING_S)
            return
        if self.notes and self.notes[-1].number is None:
            self.notes[-1].write(number)
            return
        self.cleaning_since = time.monotonic()
        raise Stopped(number)


_listener = _Listener()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Turn signals into `Stopped` while a command is carried out, where this is the main thread of the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, heard = {number: signal.getsignal(number) for number in ENDING}, _listener.heard
    # One that is ignored was set so by whoever started this command, such as nohup.
    _listener.heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    _listener.cleaning_since = -CLEANING_S
    listen()
    try:
        yield
    finally:
        for number in _listener.heard:
            signal.signal(number, before[number])
        _listener.heard = heard


def listen() -> None:
    """Take the signals back from a library that put its own handlers in place."""
    for number in _listener.heard:
        signal.signal(number, _listener)


@contextlib.contextmanager
def noted(answer: Callable[[], None], grace_s: float) -> Iterator[Note]:
    """Have the first signal answered and written down; the second one raises `Stopped`.

    Args:
        answer: called in the main thread when the first one comes.
        grace_s: seconds after which one that was not Ctrl-C counts as two.
    """
    note = Note(answer, grace_s)
    _listener.notes.append(note)
    try:
        yield note
    finally:
        _listener.notes.remove(note)
        note.close()


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Have the first signal wait for the end of this, or for the usual grace; a second one does not wait.

    Raises:
        Stopped: a signal came.
    """
    with noted(lambda: None, GRACE_S) as note:
        try:
            yield
        finally:
            if note.number:
                raise Stopped(note.number)


def cleaning_up() -> None:
    """Called before a command cleans up after itself: a signal that came now would leave things behind."""
    _listener.cleaning_since = time.monotonic()


def _send_later(number: int, delay_s: float) -> threading.Timer:
    """Send this process a signal after some time; returns what can call it off."""
    timer = threading.Timer(delay_s, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()
    return timer


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported in what a signal interrupts."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _let_go_of_terminal() -> None:
    """Print into nothing where the terminal is gone: a print that fails must not keep a checkpoint from being saved."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            poll = select.poll()
            poll.register(stream.fileno(), select.POLLOUT)
            if any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0)):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
