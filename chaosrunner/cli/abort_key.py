"""One key aborts everything: as long as a run owns its terminal, and not a moment longer."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "a"
HINT = f"press {KEY} to abort and put everything back"
LATER_S = 0.5
"""In the background the terminal is somebody else's; whether we are back is looked at this often."""
LOCAL = 3
"""Where the modes of a person's terminal stand among its settings, termios(3)."""


@contextmanager
def abort_key(pressed: Callable[[], object], *, fd: int = 0) -> Iterator[str]:
    """Call `pressed` for each press of the key while the body runs, inside a running event loop.

    The terminal's settings are those from before on every way out. Without a terminal, or in its background, there
    is no key and nothing is touched.

    Args:
        pressed: told of each press.
        fd: the terminal to read from.

    Yields:
        What to tell people; empty when there is no key.
    """
    if not _in_front(fd):
        yield ""
        return
    keyboard = _Keyboard(fd, pressed)
    keyboard.open()
    try:
        yield HINT
    finally:
        keyboard.close()


def seen_by_somebody() -> bool:
    """Whether a person could read what is said."""
    return any(stream is not None and not stream.closed and stream.isatty() for stream in (sys.stdout, sys.stderr))


class _Keyboard:
    """A terminal that gives each key at once and does not echo it; Ctrl-C and Ctrl-Z work as ever."""

    def __init__(self, fd: int, pressed: Callable[[], object]) -> None:
        self._fd = fd
        self._pressed = pressed
        self._before = termios.tcgetattr(fd)
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.TimerHandle | None = None

    def open(self) -> None:
        self._tend()

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        if self._next is not None:
            self._next.cancel()
        if _in_front(self._fd):  # in the background the terminal is somebody else's, and so are its settings
            with suppress(termios.error, OSError):
                termios.tcsetattr(self._fd, termios.TCSANOW, self._before)

    def _tend(self) -> None:
        """Take the terminal whenever it is ours.

        A shell gives it its own settings before it lets a stopped program go on, or one from the background come to
        the front; of the latter no signal tells.
        """
        if _in_front(self._fd):
            with suppress(termios.error, OSError):
                if termios.tcgetattr(self._fd)[LOCAL] & (termios.ICANON | termios.ECHO):
                    tty.setcbreak(self._fd, termios.TCSANOW)
            self._loop.add_reader(self._fd, self._read)
        self._next = self._loop.call_later(LATER_S, self._tend)

    def _read(self) -> None:
        if not _in_front(self._fd):  # reading now would stop us
            self._loop.remove_reader(self._fd)
            return
        try:
            said = os.read(self._fd, 256)
        except OSError:
            said = b""
        if not said:  # the terminal is gone
            self._loop.remove_reader(self._fd)
            if self._next is not None:
                self._next.cancel()
        for _ in range(said.decode(errors="replace").lower().count(KEY)):
            self._pressed()


def _in_front(fd: int) -> bool:
    """Whether a descriptor is a terminal, and we are the one it belongs to now."""
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False
