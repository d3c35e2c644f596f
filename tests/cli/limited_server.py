"""An HTTP server that serves so many requests a second and says 503 to all above; it prints its port.

usage: limited_server.py PER_SECOND
"""

from __future__ import annotations

import asyncio
import sys
import time

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


async def main(per_s: float) -> None:
    """Serve on a free port of this host."""
    tokens, at, most = per_s / 5, time.monotonic(), per_s / 5

    async def answer(reader, writer):
        """A token for each request, as many a second as may be served."""
        nonlocal tokens, at
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                now = time.monotonic()
                tokens, at = min(most, tokens + (now - at) * per_s), now
                writer.write(OK if tokens >= 1 else BUSY)
                tokens -= tokens >= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with asyncio.timeout(300):
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
