"""An application that keeps a page in Redis: `python cached_page.py PORT REDIS_URL careful|fragile`.

The page can always be made anew. The careful one gives the cache a tenth of a second, and after a failure leaves it
alone for a second; the fragile one asks and waits, until all connections of its pool are waiting.
"""

from __future__ import annotations

import asyncio
import sys
import time

from aiohttp import web
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

DEADLINE_S = 0.1
ALONE_S = 1.0
CONNECTIONS = 20
REST_S = 0.05
"""What the page takes apart from the cache: beside it a busy host's milliseconds are no drift."""


class Page:
    """One page and its cache."""

    def __init__(self, url: str, careful: bool) -> None:
        self.careful = careful
        self.trust_again = 0.0
        wait_s = DEADLINE_S if careful else None
        self.cache = Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=wait_s, max_connections=CONNECTIONS
        )

    async def get(self, request: web.Request) -> web.Response:
        """From the cache, or made."""
        await asyncio.sleep(REST_S)
        try:
            return web.Response(text=await (self.with_care() if self.careful else self.cached()))
        except RedisError as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from None

    async def with_care(self) -> str:
        """Within a deadline, or without the cache."""
        if time.monotonic() < self.trust_again:
            return await self.made()
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self.cached()
        except (RedisError, TimeoutError, OSError):
            self.trust_again = time.monotonic() + ALONE_S
            return await self.made()

    async def cached(self) -> str:
        """From the cache, which keeps it for a second."""
        found = await self.cache.get("page")
        if found is None:
            found = (await self.made()).encode()
            await self.cache.set("page", found, px=1000)
        return found.decode()

    async def made(self) -> str:
        """What it costs without a cache."""
        await asyncio.sleep(0.02)
        return "hello\n"


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/", Page(sys.argv[2], sys.argv[3] == "careful").get)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
