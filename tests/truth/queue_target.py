"""A target with a known queue: M/M/c by script, first come, first served; and what theory says of it.

usage: queue_target.py SERVERS MEAN_S SEED   (prints its port; answers every GET once the queue has served it)
"""

from __future__ import annotations

import asyncio
import heapq
import math
import sys
from dataclasses import dataclass
from random import Random


@dataclass
class Queue:
    """c servers, exponential service times, one line before them."""

    servers: int
    mean_s: float
    chance: Random

    def __post_init__(self) -> None:
        self._free_at = [0.0] * self.servers

    def done_at(self, now: float) -> float:
        """When somebody who comes now is served; call it in the order of coming."""
        begins = max(now, heapq.heappop(self._free_at))
        ends = begins + self.chance.expovariate(1 / self.mean_s)
        heapq.heappush(self._free_at, ends)
        return ends


def beyond(rate: float, servers: int, mean_s: float, t: float) -> float:
    """The share of responses above `t` seconds in an M/M/c queue at rest (Erlang C; waiting + service)."""
    mu, offered = 1 / mean_s, rate * mean_s
    spare = servers * mu - rate
    if spare <= 0:
        return 1.0
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    waits = last / (sum(terms) + last)
    alone = math.exp(-mu * t)
    if abs(spare - mu) < 1e-9:
        return (1 - waits) * alone + waits * (1 + mu * t) * alone
    return (1 - waits) * alone + waits * (spare * alone - mu * math.exp(-spare * t)) / (spare - mu)


def capacity(servers: int, mean_s: float, share: float, bound_s: float) -> float:
    """The highest rate at which the quantile `share` of the response is within a bound (by bisection)."""
    low, high = 0.0, servers / mean_s
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle, servers, mean_s, bound_s) <= 1 - share else (low, middle)
    return low


async def main(servers: int, mean_s: float, seed: int) -> None:
    queue = Queue(servers, mean_s, Random(seed))
    loop = asyncio.get_running_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(max(0.0, queue.done_at(loop.time()) - loop.time()))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with asyncio.timeout(3600):
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
