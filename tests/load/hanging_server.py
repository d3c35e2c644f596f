"""Answers at once, but for one stretch of time, in which it answers nobody until the stretch is over.

usage: hanging_server.py SECONDS   (prints its port; hangs from one second after the first request on)
"""

from __future__ import annotations

import asyncio
import sys


async def main(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    first: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                first.append(loop.time())
                since = loop.time() - first[0] - 1
                if 0 <= since < seconds:
                    await asyncio.sleep(seconds - since)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with asyncio.timeout(120):
        await server.serve_forever()


asyncio.run(main(float(sys.argv[1])))
