"""A command in the process of the tests, by the backend that computes there: Ray takes most of the time of a short run.

What runs on Ray is held against it: which worker or task computes something must not show in a single bit. It is also
much quicker, where what a method does is looked at and not who does it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

LOCAL = ("--compute.backend", "local")


def carry_out(pipeline: str, words: Sequence[str], folder: Path, temp: Path, code: int = 0) -> str:
    """Carry out a command to its end; returns what it printed.

    Args:
        pipeline: name of its script.
        words: of the command.
        folder: where the command is given.
        temp: for temporary files.
        code: that it must end with.
    """
    script = importlib.import_module(f"pipelines.{pipeline}")
    printed = io.StringIO()
    with (
        environment_kept(),
        _given([*words, *LOCAL], temp),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        pytest.raises(SystemExit) as ended,
    ):
        script.main()
    assert ended.value.code == code, printed.getvalue()
    return printed.getvalue()


@contextlib.contextmanager
def environment_kept() -> Iterator[None]:
    """Leave the environment as it was: a command carried out in this process prepares it for a cluster with a token.

    A later driver in this process would then turn away a cluster without one, and every actor that it starts dies.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _given(words: Sequence[str], temp: Path) -> Iterator[None]:
    """What else a process of its own would have: words, a temporary folder, and a log that nobody has silenced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["", *words])
        patch.setattr(tempfile, "tempdir", str(temp))
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
