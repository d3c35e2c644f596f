"""Become a command that cannot outlive its parent: `python leash.py PARENT SIGNAL UID COMMAND...`.

Run as a file by a fresh interpreter, it imports nothing of the package. The kernel forgets the request when the user
changes and keeps it over exec, hence the order: user, request, check, exec.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
KEEP_USER = -1


def leashed(command: list[str], *, death_signal: int, uid: int = KEEP_USER) -> list[str]:
    """The command line that runs `command` on a leash held by this very process.

    Args:
        command: Program and arguments.
        death_signal: What the kernel sends to the command when this process ends, however it ends.
        uid: User (and group) to run as; the current one when `KEEP_USER`.

    Returns:
        A command line; the process keeps its pid when it becomes the command.
    """
    here = str(Path(__file__).resolve())
    return [sys.executable, "-I", "-S", here, str(os.getpid()), str(death_signal), str(uid), *command]


def main(argv: list[str]) -> None:
    """Take on the user, ask for the signal, then become the command; exit at once if the parent is gone already."""
    parent, death_signal, uid, command = int(argv[0]), int(argv[1]), int(argv[2]), argv[3:]
    if uid != KEEP_USER:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before we asked: nobody would ever end us
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
