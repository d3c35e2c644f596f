"""SIGINT, SIGTERM and SIGHUP: whoever has something to put back answers them; otherwise they stop the work in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def like_ctrl_c() -> None:
    """Before and after there is a loop: SIGTERM and SIGHUP end the program the way Ctrl-C does, with its exit code."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for one in wanted():
        if signal.getsignal(one) is signal.SIG_DFL:
            signal.signal(one, interrupt)


def wanted() -> list[signal.Signals]:
    """The signals to catch: all three, but under `nohup` no hang-up, which is what the user asked for."""
    return [one for one in CAUGHT if one is not signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN]


class Interrupts:
    """Who answers a signal now."""

    def __init__(self, answer: Callable[[str], object]) -> None:
        self._answer = answer

    def arrived(self, name: str) -> None:
        """A signal has arrived."""
        self._answer(name)

    @contextmanager
    def answered_by(self, answer: Callable[[str], object]) -> Iterator[None]:
        """Have them answered by somebody else for as long as the body lasts."""
        before, self._answer = self._answer, answer
        try:
            yield
        finally:
            self._answer = before


def run_interruptibly(work: Callable[[Interrupts], Coroutine[Any, Any, int]]) -> int:
    """Run work that may have something to put back; while nobody answers them, signals cancel it, once.

    Raises:
        KeyboardInterrupt: it was cancelled, and everything it had begun is closed.
    """
    try:
        return asyncio.run(_run(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _run(work: Callable[[Interrupts], Coroutine[Any, Any, int]]) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    asked: list[str] = []

    def cancel(name: str) -> None:
        if not asked:
            task.cancel()
        asked.append(name)

    interrupts = Interrupts(cancel)
    caught = wanted()
    for one in caught:
        loop.add_signal_handler(one, interrupts.arrived, one.name)
    try:
        return await work(interrupts)
    finally:
        _be_deaf(loop, caught)


def _be_deaf(loop: asyncio.AbstractEventLoop, caught: list[signal.Signals]) -> None:
    """The exit code is decided: a signal that comes while the program ends must not replace it by its own."""
    signal.pthread_sigmask(signal.SIG_BLOCK, caught)
    for one in caught:
        loop.remove_signal_handler(one)
        signal.signal(one, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, caught)
