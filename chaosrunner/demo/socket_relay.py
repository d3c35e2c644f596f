"""The gateway's WebSockets: relayed message by message to a replica."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web

from chaosrunner.demo.rotation import Condition
from chaosrunner.demo.sockets import SEND_BUFFER_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosrunner.demo.rotation import Replica

SEND_TIMEOUT_S = 2.0
"""A user who does not read for so long is sent away: the replica must not be held up by one who is slow."""

COME_BACK = (None, WSCloseCode.GOING_AWAY, WSCloseCode.ABNORMAL_CLOSURE, WSCloseCode.SERVICE_RESTART)
"""Ends of a replica that mean to its users: come back, and another replica will answer."""

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
    user = web.WebSocketResponse(heartbeat=20, timeout=SEND_TIMEOUT_S, compress=False)
    if request.transport is not None:
        sock = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    code: int = WSCloseCode.SERVICE_RESTART
    try:
        await user.prepare(request)
        directions = [asyncio.create_task(_copy(user, upstream)), asyncio.create_task(_copy(upstream, user))]
        try:
            done, _ = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            if any(isinstance(direction.exception(), TimeoutError) for direction in done):
                code = WSCloseCode.TRY_AGAIN_LATER
            elif upstream.closed and upstream.close_code not in COME_BACK:
                code = upstream.close_code or code
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
    finally:
        await asyncio.gather(upstream.close(), user.close(code=code), return_exceptions=True)
    return user


async def _copy(source: _Socket, sink: _Socket) -> None:
    """Pass messages on until the source ends. Raises TimeoutError when the sink does not take one."""
    async for message in source:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            if message.type is WSMsgType.TEXT:
                await sink.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await sink.send_bytes(message.data)
