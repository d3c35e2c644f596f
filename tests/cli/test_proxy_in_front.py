"""`chaosrunner proxy --system`: the ports that a system file asks for are opened, and faults find them."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest

from chaosrunner.cli.proxy import asked_for
from chaosrunner.errors import Mistakes
from chaosrunner.logic.parse import load_system
from chaosrunner.model.fault import Context, Fault, Target
from chaosrunner.world.files import around_here
from chaosrunner.world.injectors import RealTools
from fault_injectors import http

if TYPE_CHECKING:
    from pathlib import Path

    from chaosrunner.model.system import System

SYSTEM = """\
fault_proxy: http://127.0.0.1:{api}
shop:
  at: [127.0.0.1:{behind}]
  proxy: at 127.0.0.1:{port} as http
"""


def free() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_a_port_is_opened_in_front_and_a_fault_of_requests_acts_there(tmp_path: Path) -> None:
    """The file alone says what is opened where; `http.status` on its component answers through that port."""
    api, port, path = free(), free(), tmp_path / "shop.yaml"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path.write_text(SYSTEM.format(api=api, port=port, behind=silent.getsockname()[1]))
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "chaosrunner", "proxy", "--system", str(path)],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        try:
            assert await process.stdout.readline() == b"ready http://127.0.0.1:%d\n" % api
            await see_418(load_system(path, around_here()), f"http://127.0.0.1:{port}/")
        finally:
            process.terminate()
            await process.wait()


async def see_418(system: System, url: str) -> None:
    """Have `http.status` answer at a URL, and stop it."""
    injector, tools = http.HttpStatus(), RealTools()
    context = Context(run="r1", system=system, tools=tools, rng=random.Random(1), spare=frozenset)
    params = injector.Params(status=418)
    recipe = await injector.prepare(
        Fault(index=0, injector=injector.name, target=Target(component="shop"), params=params), context
    )
    await injector.inject(recipe, tools)
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 418
    assert (await injector.verify(recipe, tools)).ok
    await injector.undo(recipe, tools)
    assert (await injector.absent(recipe, tools)).ok


@pytest.mark.parametrize(
    ("text", "problem"),
    [("shop: {at: 'h:1'}\n", "no component says 'proxy: at"), ("shop: {at: 'h:1', proxy: 'at h:2'}\n", "fault_proxy")],
)
def test_a_system_that_asks_for_none_is_a_mistake(tmp_path: Path, text: str, problem: str) -> None:
    """Without a port to open, or a place for the control API, nothing is started."""
    (tmp_path / "shop.yaml").write_text(text)
    with pytest.raises(Mistakes, match=problem):
        asked_for(load_system(tmp_path / "shop.yaml", around_here()))
