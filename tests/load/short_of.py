"""A load on a host that runs short of something, against a target in a process of its own.

usage: short_of.py ports|files   (prints what became of the hits, and what was counted beside them)

The target answers after 0.3 s and closes: every hit needs a connection of its own. `ports`: the network that this is
run in has few local ports. `files`: once the load has begun this process may open no more files than it has.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections import Counter

from load_rig import Books, profile, work

from chaosrunner.load.selfwatch import open_files

TARGET = """
import asyncio

async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    await asyncio.sleep(0.3)
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with asyncio.timeout(60):
        await server.serve_forever()

asyncio.run(main())
"""


async def main(what: str) -> None:
    target = await asyncio.create_subprocess_exec(sys.executable, "-c", TARGET, stdout=asyncio.subprocess.PIPE)
    try:
        assert target.stdout is not None
        url = f"http://127.0.0.1:{int(await target.stdout.readline())}"

        def until(books: Books) -> bool:
            if what == "files":
                _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (open_files(), hard))
            return books.all.finished >= 100

        books = await work(profile(rate=100, lasts_s=1), url, until=until)
    finally:
        target.kill()
        await target.wait()
    counts: Counter[str] = Counter()
    for frame in books.frames:
        counts.update(frame.counts)
    print(json.dumps({"done": books.done, "counts": counts}))


asyncio.run(main(sys.argv[1]))
