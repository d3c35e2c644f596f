"""Answers each request after some work and some sleep, all on one CPU.

usage: crowded_target.py CPU   (prints its port; GET /<milliseconds of work>/<milliseconds of sleep>)
"""

from __future__ import annotations

import asyncio
import os
import sys
import time


async def main(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                work, sleep = (int(part) / 1000 for part in head.split(b" ")[1].strip(b"/").split(b"/"))
                began = time.thread_time()
                while time.thread_time() - began < work:
                    pass
                if sleep:
                    await asyncio.sleep(sleep)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with asyncio.timeout(120):
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
