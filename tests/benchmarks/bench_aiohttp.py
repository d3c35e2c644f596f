"""What one writes without a load generator: so many aiohttp tasks in a loop, on uvloop, and a list of times.

`python bench_aiohttp.py URL TASKS SECONDS` prints the number of answers, of failures, and p50 and p99 in ms, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp
import uvloop


async def main(url: str, tasks: int, seconds: float) -> None:
    """Ask for so long."""
    took: list[float] = []
    failed = 0
    end = time.monotonic() + seconds

    async def ask(session: aiohttp.ClientSession) -> None:
        nonlocal failed
        while (start := time.monotonic()) < end:
            try:
                async with session.get(url) as answer:
                    await answer.read()
                    answer.raise_for_status()
            except aiohttp.ClientError:
                failed += 1
            else:
                took.append(time.monotonic() - start)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=tasks)) as session:
        await asyncio.gather(*(ask(session) for _ in range(tasks)))
    took.sort()
    p50, p99 = (took[int(share * len(took))] * 1000 for share in (0.5, 0.99))
    print(json.dumps({"answers": len(took), "failed": failed, "p50_ms": p50, "p99_ms": p99}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
