"""An HTTP server that says `ok` to everything; it prints its port. A file named by its argument makes it say 503."""

from __future__ import annotations

import asyncio
import os
import sys

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


async def answer(reader, writer):
    """Answer until the caller goes."""
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(BUSY if os.access(sys.argv[1], os.F_OK) else OK)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    """Serve on a free port of this host."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
