"""Folders that live as long as a command: nobody else may enter them, they are marked as ours, and go with it.

Ray opens everything that it makes to all users of the machine, so its folder lies inside one of these.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from orchestrator.base.files import try_lock

PREFIX = "segadapt-"
MARK = ".segadapt"
"""File in a scratch folder: says on which machine it was made, and is locked as long as its process lives."""
LONGEST_TEMP = 17 if sys.platform == "darwin" else 21
"""Longest name of the folder for temporary files: Ray's sockets lie 86 bytes deeper, and kernels limit them."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DEFERRED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextlib.contextmanager
def scratch_folder(place: str | Path) -> Iterator[Path]:
    """A folder for this command alone, removed at its end; those that killed commands left there are removed first.

    Args:
        place: existing folder that it is made in.
    """
    remove_abandoned(place)
    folder, mark = None, None
    try:
        with _deferred_signals():  # else one could come when the folder is made and nobody knows its name yet
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
            mark = _marked(folder)
        yield folder
    finally:
        if folder is not None:
            _remove(folder)
        if mark is not None:
            mark.close()


def temporary() -> str:
    """The folder for temporary files, or /tmp where its name is too long for sockets to lie in it."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= LONGEST_TEMP else "/tmp"


def remove_abandoned(place: str | Path) -> None:
    """Remove the scratch folders that processes which are gone left here.

    That is what this user owns and a mark of ours lies in, which no process has locked; whatever the name, nothing
    else. Containers and machines may share a folder for temporary files. Locks are seen by all containers of one
    kernel, therefore those of this kernel or of this machine's name count, and no others.
    """
    for folder in Path(place).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), _open_mark(folder, os.O_RDWR) as mark:
            # A mark is empty until it is locked: one that is just being made is left alone.
            if try_lock(mark) and _is_of_here(mark.read()):
                _remove(folder)


def _marked(folder: Path) -> IO[str] | None:
    """Mark a folder; returns the file that holds the lock. None where files cannot be locked: it counts as unmarked."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as closed_else:
        mark = closed_else.enter_context(_open_mark(folder, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        if try_lock(mark):
            mark.write("\n".join(_here()))
            mark.flush()
            closed_else.pop_all()
            return mark
    return None


def _open_mark(folder: Path, flags: int) -> IO[str]:
    """The mark of a folder of ours; one of another user, or a symbolic link in the place of either, is an error."""
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(inside).st_uid != os.geteuid():
            raise PermissionError(f"{folder} is another user's")
        return os.fdopen(os.open(MARK, flags | os.O_NOFOLLOW, 0o600, dir_fd=inside), "r+", encoding="utf-8")
    finally:
        os.close(inside)


def _here() -> tuple[str, str]:
    """This machine, and since which start."""
    return socket.gethostname(), BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""


def _is_of_here(marked: str) -> bool:
    host, _, boot = marked.partition("\n")
    our_host, our_boot = _here()
    return bool(host) and (host == our_host or (bool(boot) and boot == our_boot))


def _remove(folder: Path) -> None:
    """Remove a folder, its mark last: one that is removed by half is still known as ours."""
    for path in folder.glob("*"):
        if path.name != MARK:
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _deferred_signals() -> Iterator[None]:
    """Hold back what would end the process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEFERRED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
