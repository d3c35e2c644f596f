"""A bare WebSocket echo, both its ends, on picows.

`bench_picows.py serve PORT` is one end, `bench_picows.py ask PORT SOCKETS SECONDS` the other.

The client keeps one message of 12 bytes under way on each socket and counts the answers: no clock is read for them.
It runs in the venv of the other generators, since ours does not need picows.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import picows
import uvloop

MESSAGE = b'{"id": 1234}'


class Echo(picows.WSListener):  # type: ignore[misc]
    """The server's end of a socket."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class Ask(picows.WSListener):  # type: ignore[misc]
    """The client's end."""

    answers = 0

    def on_ws_connected(self, transport: Any) -> None:
        transport.send(picows.WSMsgType.TEXT, MESSAGE)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        Ask.answers += 1
        transport.send(frame.msg_type, MESSAGE)


async def serve(port: int) -> None:
    """Echo until cancelled."""
    server = await picows.ws_create_server(lambda _request: Echo(), "127.0.0.1", port)
    await server.serve_forever()


async def ask(port: int, sockets: int, seconds: float) -> None:
    """Print how many answers came in a second."""
    for _ in range(sockets):
        await picows.ws_connect(Ask, f"ws://127.0.0.1:{port}/")
    before, began = Ask.answers, time.monotonic()
    await asyncio.sleep(seconds)
    print(json.dumps({"per_s": (Ask.answers - before) / (time.monotonic() - began)}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve(int(sys.argv[2])))
    else:
        uvloop.run(ask(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
