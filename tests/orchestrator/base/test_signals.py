"""Signals: raised where nobody answers, answered where somebody does, and no disturbance of what cleans up."""

from __future__ import annotations

import importlib
import os
import signal
import time

import pytest

from orchestrator.base import signals
from orchestrator.base.signals import ENDING, Stopped, cleaning_up, handled, held_back, noted

FOREVER_S = 1000.0


def send(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # Python runs handlers between two instructions


@pytest.fixture(autouse=True)
def _handled():
    before = [signal.getsignal(number) for number in ENDING]
    with handled():
        yield
    assert [signal.getsignal(number) for number in ENDING] == before


@pytest.mark.parametrize("number", ENDING)
def test_signal_that_nobody_answers_is_raised_with_its_number(number):
    with pytest.raises(Stopped) as stopped:
        send(number)
    assert stopped.value.number == number
    assert isinstance(stopped.value, KeyboardInterrupt)


@pytest.mark.parametrize("number", ENDING)
def test_first_signal_is_answered_and_the_second_is_raised(number):
    answered = []
    with noted(lambda: answered.append(True), FOREVER_S) as note:
        assert note.number is None
        send(number)
        assert note.number == number
        with pytest.raises(Stopped):
            send(signal.SIGINT)
    assert answered == [True]


def test_grace_ends_what_a_machine_asked_to_end_and_not_what_a_person_did():
    with noted(lambda: None, 0.01):
        send(signal.SIGINT)
        time.sleep(0.2)

    def saves_too_long() -> None:
        with noted(lambda: None, 0.01):
            send(signal.SIGTERM)
            time.sleep(FOREVER_S)

    with pytest.raises(Stopped) as stopped:
        saves_too_long()
    assert stopped.value.number == signal.SIGTERM


def test_grace_that_is_over_after_the_answer_does_nothing():
    with noted(lambda: None, 0.05):
        send(signal.SIGTERM)
    time.sleep(0.2)


@pytest.mark.parametrize("fails", [False, True])
def test_signal_that_is_held_back_is_raised_at_the_end(fails):
    reached = []

    @held_back()
    def start() -> None:
        send(signal.SIGHUP)
        reached.append(True)
        if fails:
            raise RuntimeError("what would be tried again")

    with pytest.raises(Stopped) as stopped:
        start()
    assert reached
    assert stopped.value.number == signal.SIGHUP


def test_second_signal_does_not_wait_for_what_held_the_first_one_back():
    @held_back()
    def start() -> None:
        send()
        send()
        pytest.fail("it went on")

    with pytest.raises(Stopped):
        start()


def test_what_cleans_up_is_not_disturbed_unless_it_takes_too_long(monkeypatch):
    cleaning_up()
    send()
    monkeypatch.setattr(signals, "CLEANING_S", 0.0)
    with pytest.raises(Stopped):
        send()


def test_signal_amid_an_import_waits_until_it_is_done(tmp_path, monkeypatch):
    (tmp_path / "slow_module.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.2)\nDONE = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("slow_module")
    assert module.DONE
    with pytest.raises(Stopped):
        time.sleep(FOREVER_S)


def test_signal_that_the_shell_had_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handled():
            send(signal.SIGHUP)
            signals.listen()
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_terminal_that_is_gone_does_not_stop_what_is_said(monkeypatch):
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        os.close(ours)
        with noted(lambda: None, FOREVER_S):
            send(signal.SIGHUP)
            print("saving", flush=True)
