"""Consoles whose reader may go away: that is no reason to end the program, or to change its exit code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType


class GonePipeConsole(Console):
    """Raises BrokenPipeError where rich would end the program."""

    def on_broken_pipe(self) -> None:
        """Raise, for the caller to fall silent."""
        raise BrokenPipeError


def console_for(stream: TextIO) -> Console:
    """A console on a stream: colour only if it is a terminal and NO_COLOR is not set; no text is markup."""
    return GonePipeConsole(file=stream, highlight=False, markup=False, emoji=False)


def show(renderable: RenderableType, stream: TextIO | None) -> bool:
    """Print on a stream that may be closed or whose reader may be gone; True if it was written.

    What Python would still try to write to such a stream when it exits is sent nowhere, because its complaint would
    replace the published exit code.
    """
    if stream is None:
        return False
    try:
        console_for(stream).print(renderable)
        stream.flush()
    except (OSError, ValueError):
        _silence(stream)
        return False
    return True


def _silence(stream: TextIO) -> None:
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass  # it has no descriptor: nothing is flushed there at exit
