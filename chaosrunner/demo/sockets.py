"""The WebSocket end of a replica: echo by id, broadcast to everyone here."""

from __future__ import annotations

import asyncio
import json

from aiohttp import WSCloseCode, WSMsgType, web

MAX_MESSAGE_BYTES = 64 * 1024
SEND_TIMEOUT_S = 2.0


class Hub:
    """All WebSocket clients of one replica."""

    def __init__(self) -> None:
        self._clients: set[web.WebSocketResponse] = set()

    def __len__(self) -> int:
        return len(self._clients)

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one client until it leaves.

        A JSON object with `id` comes back as it is; one with `broadcast` goes to every client here, as
        `{"broadcast": …}`. Anything else is answered `{"error": …}`, never with a close: one bad message is no reason
        to lose a client.
        """
        client = web.WebSocketResponse(heartbeat=20, max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        await client.prepare(request)
        self._clients.add(client)
        try:
            async for message in client:
                if message.type is WSMsgType.TEXT:
                    await self._answer(client, message.data)
        finally:
            self._clients.discard(client)
        return client

    async def close(self) -> None:
        """Tell every client to come back later."""
        farewell = [
            client.close(code=WSCloseCode.SERVICE_RESTART, message=b"draining") for client in list(self._clients)
        ]
        await asyncio.gather(*farewell, return_exceptions=True)

    async def _answer(self, client: web.WebSocketResponse, text: str) -> None:
        match _parsed(text):
            case {"broadcast": said}:
                await self._broadcast(json.dumps({"broadcast": said}))
            case {"id": _}:
                await client.send_str(text)
            case _:
                await client.send_json({"error": "expected a JSON object with id or broadcast"})

    async def _broadcast(self, text: str) -> None:
        await asyncio.gather(*(self._send(client, text) for client in list(self._clients)))

    async def _send(self, client: web.WebSocketResponse, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await client.send_str(text)
        except (TimeoutError, ConnectionError):
            self._clients.discard(client)  # it does not read: the others shall not wait for it again
            await client.close(code=WSCloseCode.TRY_AGAIN_LATER)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None
