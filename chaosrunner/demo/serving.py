"""Run one aiohttp application as a process: lean, and drained before it ends."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from chaosrunner.demo.options import HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

DRAIN_S = 2.0
"""How long running requests may take after SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An application and how it wants to be served.

    Attributes:
        app: The application.
        cancel_abandoned: Whether a handler is cancelled when its client goes away.
        on_stop: Called once, when the stop signal comes, before the listener closes.
    """

    app: web.Application
    cancel_abandoned: bool = False
    on_stop: Callable[[], None] | None = None


def serve_until_stopped(
    build: Callable[[], AbstractAsyncContextManager[Served]], *, port: int, host: str = HOST
) -> int:
    """Serve until SIGTERM or SIGINT, then finish what is running for up to `DRAIN_S`.

    Args:
        build: Makes the application inside the running loop, and takes it down.
        port: Where to listen.
        host: On which address; a container listens on all of its own.

    Returns:
        0, after a stop that was asked for.
    """
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(_serve(build, host, port))
    return 0


async def _serve(build: Callable[[], AbstractAsyncContextManager[Served]], host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with build() as served:
        runner = web.AppRunner(
            served.app, access_log=None, shutdown_timeout=DRAIN_S, handler_cancellation=served.cancel_abandoned
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
            await stop.wait()
            if served.on_stop is not None:
                served.on_stop()
        finally:
            await runner.cleanup()


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None  # where it has no wheel; all works without, a little slower
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
