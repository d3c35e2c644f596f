"""The gateway's WebSockets: relayed message by message to a replica."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web

from chaosrunner.demo.rotation import Condition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosrunner.demo.rotation import Replica

_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def relay_socket(
    request: web.Request, order: Sequence[Replica], client: aiohttp.ClientSession, *, timeout_s: float
) -> web.StreamResponse:
    """Connect a WebSocket to the first replica in `order` that takes it, and relay until either side leaves.

    Args:
        request: The user's request to upgrade.
        order: Replicas to try, best first.
        client: Client session towards them.
        timeout_s: Seconds one of them may take to answer the upgrade.

    Returns:
        The relayed socket after it closed; the replica's own status when it refused; 502 when none answered.
    """
    for replica in order:
        try:
            async with asyncio.timeout(timeout_s):
                upstream = await client.ws_connect(f"{replica.url}{request.rel_url.raw_path_qs}", compress=0)
        except aiohttp.WSServerHandshakeError as refusal:
            return web.json_response({"error": refusal.message}, status=refusal.status)
        except (aiohttp.ClientError, TimeoutError):
            replica.condition = Condition.GONE
        else:
            return await _relay(request, upstream)
    return web.json_response({"error": "no replica answered"}, status=502)


async def _relay(request: web.Request, upstream: aiohttp.ClientWebSocketResponse) -> web.WebSocketResponse:
    user = web.WebSocketResponse(heartbeat=20, compress=False)
    try:
        await user.prepare(request)
        directions = [asyncio.create_task(_copy(user, upstream)), asyncio.create_task(_copy(upstream, user))]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
    finally:
        await upstream.close()
        # Whatever the replica's reason was: to the user it is "come back", and another replica will answer.
        await user.close(code=WSCloseCode.SERVICE_RESTART)
    return user


async def _copy(source: _Socket, sink: _Socket) -> None:
    async for message in source:
        if message.type is WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await sink.send_bytes(message.data)
