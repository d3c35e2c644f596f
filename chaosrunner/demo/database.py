"""The demo's database as a part of its own, for a container: `python -m chaosrunner.demo.database`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import TYPE_CHECKING

from chaosrunner.demo.options import HOST
from chaosrunner.demo.postgres import PostgresOptions, launch_postgres
from chaosrunner.demo.schema import create_schema
from chaosrunner.errors import ChaosrunnerError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Serve a fresh database with the demo's tables and users until SIGTERM, or until it ends by itself (1)."""
    parser = argparse.ArgumentParser(prog="chaosrunner.demo.database", description=__doc__)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(argv)
    try:
        return asyncio.run(_serve(PostgresOptions(host=options.host, port=options.port)))
    except ChaosrunnerError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)


async def _serve(options: PostgresOptions) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with launch_postgres(options) as server:
        await create_schema(server.dsn)
        stopped, ended = asyncio.create_task(stop.wait()), asyncio.create_task(server.child.ended())
        await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        stopped.cancel()
        return 0 if stop.is_set() else 1


if __name__ == "__main__":
    raise SystemExit(main())
