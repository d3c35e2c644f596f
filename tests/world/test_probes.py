"""Probes: an error is an answer, and every question has an end."""

from __future__ import annotations

import asyncio
import itertools
import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from aiohttp import web
from world_rig import eventually

from chaosrunner.model.events import ProbeAnswered
from chaosrunner.model.hypothesis import Probe
from chaosrunner.model.units import NANOS
from chaosrunner.testing import FakeClock
from chaosrunner.world.probes import Answer, ask, ask_on_schedule


@pytest.fixture
async def entry() -> AsyncIterator[str]:
    """A server with a healthy page, a sick one, numbers, and one that never answers."""

    async def well(_request: web.Request) -> web.Response:
        return web.Response()

    async def sick(_request: web.Request) -> web.Response:
        return web.Response(status=503)

    async def numbers(_request: web.Request) -> web.Response:
        return web.json_response({"pool": [{"free": 3}, {"free": 4.5}], "word": "many", "endless": math.inf})

    async def never(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application()
    app.router.add_get("/well", well)
    app.router.add_get("/sick", sick)
    app.router.add_get("/numbers", numbers)
    app.router.add_get("/never", never)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


def probe(kind: str, *, timeout_s: float = 5.0, **args: object) -> Probe:
    return Probe(name="p", kind=kind, args=args, timeout_s=timeout_s)


HTTP = [
    ({"url": "/well"}, True, 1.0),
    ({"url": "/sick"}, False, 0.0),
    ({"url": "/sick", "expect": 503}, True, 1.0),
    ({"url": "/well", "expect": 503}, False, 0.0),
    ({"url": "/numbers", "value": "$.pool.1.free"}, True, 4.5),
    ({"url": "/numbers", "value": "$.word"}, False, 0.0),
    ({"url": "/numbers", "value": "$.pool.7.free"}, False, 0.0),
    ({"url": "/numbers", "value": "$.nothing"}, False, 0.0),
    ({"url": "/numbers", "value": "$.endless"}, False, 0.0),
    ({"url": "/well", "value": "$.pool"}, False, 0.0),
    ({"url": "/sick", "value": "$.pool"}, False, 0.0),
]


@pytest.mark.parametrize(("args", "ok", "value"), HTTP, ids=[str(args) for args, _, _ in HTTP])
async def test_http(entry: str, args: dict[str, object], ok: bool, value: float) -> None:
    """A status below 400 (or the one expected) is well; a JSON path gives a number; anything else is not well."""
    answer = await ask(probe("http", **args), entry)
    assert (answer.ok, answer.value) == (ok, value)
    assert answer.says


async def test_a_slow_answer_is_none(entry: str) -> None:
    """A question ends at its timeout, and that is its answer."""
    assert await ask(probe("http", url="/never", timeout_s=0.1), entry) == Answer(False, 0.0, "no answer in 0.1 s")


async def test_tcp(entry: str) -> None:
    """A port that accepts is well; one that refuses is not, and says why."""
    place = entry.removeprefix("http://")
    assert await ask(probe("tcp", at=place), "") == Answer(True, 1.0, "accepted")
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    refused = await ask(probe("tcp", at=f"127.0.0.1:{port}"), "")
    assert (refused.ok, refused.value) == (False, 0.0)
    assert "ConnectionRefusedError" in refused.says


PROCESS = [
    ("print('nan')", False, 0.0),
    ("print(7.5)", True, 7.5),
    ("pass", True, 1.0),
    ("print('fine')", True, 1.0),
    ("raise SystemExit(3)", False, 0.0),
    ("print(12); raise SystemExit(3)", False, 12.0),
]


@pytest.mark.parametrize(("code", "ok", "value"), PROCESS, ids=[code for code, _, _ in PROCESS])
async def test_process(code: str, ok: bool, value: float) -> None:
    """A command is well when it exits with 0; its value is the number it prints, else whether it is well."""
    answer = await ask(probe("process", command=[sys.executable, "-c", code], timeout_s=30.0), "")
    assert (answer.ok, answer.value) == (ok, value)


async def test_a_command_that_hangs_is_killed(tmp_path: Path) -> None:
    """A command that outlives its timeout is not left behind."""
    pid = tmp_path / "pid"
    answer = await ask(
        probe("process", command=["/bin/sh", "-c", f"echo $$ > '{pid}'; exec sleep 600"], timeout_s=3.0), ""
    )
    assert (answer.ok, answer.says) == (False, "no answer in 3 s")
    assert not psutil.pid_exists(int(pid.read_text()))


async def test_a_command_that_does_not_exist_is_an_answer() -> None:
    """A program that is missing is not well, and says so."""
    answer = await ask(probe("process", command=["/nowhere/at/all"]), "")
    assert (answer.ok, answer.value) == (False, 0.0)
    assert "FileNotFoundError" in answer.says


async def test_each_probe_has_its_own_pace(entry: str) -> None:
    """Every probe is asked at its own interval, and one that hangs delays no other."""
    clock, facts = FakeClock(), []
    probes = [
        Probe(name="quick", kind="http", args={"url": "/well"}, every_s=0.5),
        Probe(name="slow", kind="http", args={"url": "/well"}, every_s=5.0),
        Probe(name="hanging", kind="http", args={"url": "/never"}, every_s=0.5, timeout_s=60.0),
    ]
    asking = asyncio.create_task(ask_on_schedule(probes, entry=entry, clock=clock, report=facts.append))
    await eventually(lambda: len([fact for fact in facts if fact.probe == "quick"]) >= 4)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert all(isinstance(fact, ProbeAnswered) and fact.ok for fact in facts)
    quick = [fact.at_ns for fact in facts if fact.probe == "quick"]
    assert all(later - earlier >= NANOS // 2 for earlier, later in itertools.pairwise(quick))
    assert not [fact for fact in facts if fact.probe == "hanging"]
