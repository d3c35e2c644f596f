"""The WebSocket end of a replica: echo by id, broadcast to everyone here, numbered ticks, closing on request."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import TYPE_CHECKING

from aiohttp import WSCloseCode, WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import Coroutine

MAX_MESSAGE_BYTES = 64 * 1024
SEND_TIMEOUT_S = 2.0
"""A client that does not read for so long is sent away; careful servers only."""

SEND_BUFFER_BYTES = 32 * 1024
"""Of the kernel, for each client: with the megabytes it would grant, nobody would notice for minutes who is slow."""

TICKS_KEPT = 1_000
"""How many ticks a client may have missed and still resume."""

LEAST_MS, MOST_PAD = 10, 16_384


class Hub:
    """All WebSocket clients of one replica.

    Args:
        careful: Whether slow clients are sent away, and clients that come back get the ticks they missed.
    """

    def __init__(self, *, careful: bool = True) -> None:
        self._careful = careful
        self._clients: set[web.WebSocketResponse] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._clients)

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one client until it leaves.

        A JSON object with `id` comes back as it is; one with `broadcast` goes to every client here, as
        `{"broadcast": …}`; `{"subscribe": {"every_ms": 100, "after": 17, "pad": 0}}` starts ticks, see `_tick`;
        `{"close": 4000}` closes with that code. Anything else is answered `{"error": …}`, never with a close: one bad
        message is no reason to lose a client.
        """
        if request.transport is not None:
            sock = request.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        client = web.WebSocketResponse(
            heartbeat=20, timeout=SEND_TIMEOUT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False
        )
        await client.prepare(request)
        self._clients.add(client)
        ticking: list[asyncio.Task[None]] = []
        try:
            async for message in client:
                if message.type is WSMsgType.TEXT:
                    ticking += await self._answer(client, message.data)
        finally:
            self._clients.discard(client)
            for task in ticking:
                task.cancel()
        return client

    async def close(self) -> None:
        """Tell every client to come back later."""
        farewell = [
            client.close(code=WSCloseCode.SERVICE_RESTART, message=b"draining") for client in list(self._clients)
        ]
        await asyncio.gather(*farewell, return_exceptions=True)

    async def _answer(self, client: web.WebSocketResponse, text: str) -> list[asyncio.Task[None]]:
        match _parsed(text):
            case {"broadcast": said}:
                await self._broadcast(json.dumps({"broadcast": said}))
            case {"subscribe": dict() as wish}:
                return [self._start(self._tick(client, wish))]
            case {"close": int() as code} if 1000 <= code <= 4999:
                self._start(_close(client, code))
            case {"id": _}:
                await client.send_str(text)
            case _:
                await client.send_json({"error": "expected a JSON object with id, broadcast, subscribe or close"})
        return []

    async def _tick(self, client: web.WebSocketResponse, wish: dict[str, object]) -> None:
        """Send a numbered message every so often.

        Numbers are those of the clock, `now ÷ every_ms`: the same on every replica, so a client that comes back can
        say `after` which it wants to go on, and a careful replica sends what it missed first. The reply to the
        subscription is `{"subscribed": {"resumed": …}}`, a tick `{"n": …}`, filled up to `pad` bytes.
        """
        every_ms = max(LEAST_MS, _whole(wish.get("every_ms"), 100))
        padding = {"pad": "." * pad} if (pad := min(MOST_PAD, _whole(wish.get("pad"), 0))) else {}
        after = _whole(wish.get("after"), 0)
        number = _now(every_ms)
        resumed = self._careful and number - TICKS_KEPT <= after <= number
        if resumed:
            number = after
        await self._send(client, json.dumps({"subscribed": {"resumed": resumed}}))
        while client in self._clients:
            while number < _now(every_ms) and client in self._clients:
                number += 1
                await self._send(client, json.dumps({"n": number, **padding}))
            await asyncio.sleep(max(0.0, (number + 1) * every_ms / 1000 - time.time()))

    async def _broadcast(self, text: str) -> None:
        await asyncio.gather(*(self._send(client, text) for client in list(self._clients)))

    async def _send(self, client: web.WebSocketResponse, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S if self._careful else None):
                await client.send_str(text)
        except (TimeoutError, ConnectionError):
            self._clients.discard(client)  # it does not read: the others shall not wait for it again
            self._start(_close(client, WSCloseCode.TRY_AGAIN_LATER))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _close(client: web.WebSocketResponse, code: int) -> None:
    try:
        await client.close(code=code)
    except ConnectionError:
        pass  # it was faster


def _now(every_ms: int) -> int:
    return int(time.time() * 1000) // every_ms


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None
