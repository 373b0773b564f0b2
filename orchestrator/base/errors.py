"""What goes wrong, sorted by who can mend it."""

from __future__ import annotations

import signal

from domains.base.errors import DataError


class UserError(ValueError):
    """A mistake in the input. Shown as it is, without a traceback; the command exits with code 2.

    Args:
        headline: one sentence that names the thing and, where it fits, the fix.
        details: further lines, shown as a list.
    """

    def __init__(self, headline: str, *details: str) -> None:
        self.headline = headline
        self.details = details
        super().__init__("\n".join([headline, *(f"  - {line}" for line in details)]))


class StageFailed(RuntimeError):
    """A stage could not finish; what it had done is kept. The command exits with code 1."""


class Lost(Exception):
    """A group of workers ended for its `__cause__`, which need not come again, such as a lost machine."""


class TooLate(Lost):
    """The workers of a group did not come in the time that they are waited for."""


class Interrupted(Exception):
    """The command was asked to stop; progress is saved. It exits with 128 and the number of the signal.

    Args:
        number: of the signal; Ctrl-C where there was none, as in a trial that a search stops.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


class Abandoned(Exception):
    """A dry run could not be carried out to its end; nothing is kept. The command exits with the code given."""

    def __init__(self, message: str, code: int) -> None:
        self.code = code
        super().__init__(message)


def failure(name: str, cause: BaseException) -> UserError | StageFailed:
    """How a stage, or its tasks, fail for what went wrong in them."""
    if isinstance(cause, DataError):
        return UserError(str(cause))
    return StageFailed(f"{name}: {type(cause).__name__}: {cause}")
