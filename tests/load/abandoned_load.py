"""A runner that starts two load workers, prints their pids, and waits to be killed.

usage: abandoned_load.py URL
"""

from __future__ import annotations

import asyncio
import sys

from load_rig import Books, BootClock, Keys, profile

from chaosrunner.load.driver import LoadDriver


async def main(url: str) -> None:
    books = Books()
    load = LoadDriver(
        profile(lasts_s=None, workers=2), entry=url, seed=1, longest_s=100, clock=BootClock(), tools=Keys()
    )
    async with asyncio.timeout(100):
        running = asyncio.create_task(load.run(books.report))
        await books.until(lambda books: {frame.worker for frame in books.frames} == {0, 1})
        print(*load.pids(), flush=True)
        await running


asyncio.run(main(sys.argv[1]))
