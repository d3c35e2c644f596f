"""An HTTP server that is as good as its one database session, and says to the nanosecond when it had none.

Run as `python needy_app.py DSN REACTION_S`: it prints `port N`, then `back NS` and `away NS` (CLOCK_BOOTTIME) as they
happen, and ends when its standard input does. It tries to reconnect every millisecond or so, whether asked or not, and
serves again REACTION_S after it could: what it prints does not depend on any request.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import asyncpg
from aiohttp import web

RETRY_EVERY_S = 0.001
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class NeedyApp:
    """Serves while it has its session, and answers 503 while it has none."""

    def __init__(self, dsn: str, reaction_s: float) -> None:
        self._dsn = dsn
        self._reaction_s = reaction_s
        self._session: asyncpg.Connection | None = None

    async def keep_session(self) -> None:
        """Have a session for ever, and say when it is lost and when there is one again."""
        while True:
            lost = asyncio.Event()
            session = await self._connect()
            session.add_termination_listener(lambda _, lost=lost: self._away(lost))
            await asyncio.sleep(self._reaction_s)
            if not lost.is_set():
                self._session = session
                _say("back", time.clock_gettime_ns(time.CLOCK_BOOTTIME))
            await lost.wait()

    async def answer(self, request: web.Request) -> web.Response:
        """No page without the database."""
        # Not one query a page: pages that queue for the only session would fail before it is lost, and blur the truth.
        return web.Response(text="here") if self._session else web.Response(status=503)

    def _away(self, lost: asyncio.Event) -> None:
        if self._session is not None:
            self._session = None
            _say("away", time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        lost.set()

    async def _connect(self) -> asyncpg.Connection:
        while True:
            try:
                return await asyncpg.connect(self._dsn, ssl=False, timeout=1)
            except (*AWAY, TimeoutError):
                await asyncio.sleep(RETRY_EVERY_S)


def _say(what: str, number: int) -> None:
    print(what, number, flush=True)


async def main(dsn: str, reaction_s: float) -> None:
    """Serve on a free port until standard input ends."""
    app = NeedyApp(dsn, reaction_s)
    pages = web.Application()
    pages.router.add_get("/", app.answer)
    runner = web.AppRunner(pages, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    _say("port", site._server.sockets[0].getsockname()[1])
    keeping = asyncio.create_task(app.keep_session())
    await asyncio.to_thread(sys.stdin.read)
    keeping.cancel()
    await runner.cleanup()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1], float(sys.argv[2])))
