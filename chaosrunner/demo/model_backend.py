"""A slow back end that answers prompts: what an application depends on and does not own."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from chaosrunner.demo.options import HOST
from chaosrunner.demo.serving import Served, serve_until_stopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

THINKING_S = 0.03


async def answer(request: web.Request) -> web.Response:
    """`POST /answer {text, tone}` → `{answer}` after `THINKING_S`."""
    question = await request.json()
    await asyncio.sleep(THINKING_S)  # the work of the model, not a wait for something
    return web.json_response({"answer": f"({question['tone']}) You said: {question['text']}"})


async def live(_: web.Request) -> web.Response:
    """`GET /health/live` → 200 while the process answers."""
    return web.Response(text="live\n")


def application() -> web.Application:
    """The back end's routes."""
    app = web.Application()
    app.add_routes([web.post("/answer", answer), web.get("/health/live", live)])
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; the main of `python -m chaosrunner.demo.model_backend`."""
    parser = argparse.ArgumentParser(prog="chaosrunner.demo.model_backend", description=__doc__)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(argv)
    return serve_until_stopped(_served, port=options.port, host=options.host)


@asynccontextmanager
async def _served() -> AsyncIterator[Served]:
    yield Served(app=application())


if __name__ == "__main__":
    raise SystemExit(main())
