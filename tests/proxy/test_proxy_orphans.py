"""Changes outlive nobody: a client that is killed leaves no fault behind, and what its faults held back arrives."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from proxy_processes import own_process
from proxy_rig import Api, Client, EchoServer, api_at, connected, eventually, free_port, port_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# The proxy is a process with a loop of its own; which one the clients use makes no difference.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

TTL_S = 1.5
GRACE_S = 0.1
# Fifty toxics that hold everything back for good, and lose nothing: ten of each, five on either stream.
HOLDING: dict[str, dict[str, float]] = {
    "latency": {"latency": 600_000},
    "bandwidth": {"rate": 0},
    "slicer": {"average_size": 1, "delay": 600_000_000},
    "slow_close": {"delay": 600_000},
    "delay_connect": {"latency": 600_000},
}
DYING_CLIENT = """
import json, sys, time, urllib.request
url, ttl, kinds = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for number in range(50):
    kind = list(kinds)[number % 5]
    body = {"name": f"t{number}", "type": kind, "attributes": kinds[kind], "ttl": ttl, "owner": "dying",
            "stream": "upstream" if number < 25 else "downstream"}
    request = urllib.request.Request(url + f"/proxies/p{number % 2}/toxics", json.dumps(body).encode(), method="POST")
    opener.open(request).close()
print("set", flush=True)
time.sleep(600)
"""


@asynccontextmanager
async def running(audit: Path) -> AsyncIterator[Api]:
    """A proxy process of ours; its API."""
    with own_process(audit) as ours:
        async with api_at(ours.url) as api:
            yield api


async def kill_a_client(api: Api, ttl_s: float) -> None:
    """Have another process set 50 leased toxics on two proxies, and kill it as soon as it has."""
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING_CLIENT, api.proxy.url, str(ttl_s), json.dumps(HOLDING), stdout=subprocess.PIPE
    )
    assert client.stdout is not None
    assert await asyncio.wait_for(client.stdout.readline(), 20) == b"set\n"
    client.kill()
    assert await client.wait() == -signal.SIGKILL


@dataclass(frozen=True)
class Look:
    """What was there when we looked.

    Attributes:
        began: Monotonic clock before we asked, in seconds.
        ended: And once we knew.
        ages: Seconds for which each toxic that was there had been there, on the proxy's own clock.
    """

    began: float
    ended: float
    ages: dict[str, float]


async def look(api: Api) -> Look:
    """Look at the toxics of both proxies."""
    began, found = time.monotonic(), dict[str, float]()
    for proxy in ("p0", "p1"):
        toxics = (await api.stats(proxy))["toxics"]
        found |= {name: toxic["added_seconds_ago"] for name, toxic in toxics.items()}
    return Look(began, time.monotonic(), found)


async def test_what_a_killed_client_has_set_is_gone_in_time(tmp_path: Path, echo: EchoServer) -> None:
    """Of 50 leased toxics none goes early or is seen 100 ms late; what they held, also connects and ends, arrives."""
    async with running(tmp_path / "audit") as api, AsyncExitStack() as stack:
        ports = [await api.proxy_to(echo.port, name) for name in ("p0", "p1")]
        clients = [await stack.enter_async_context(connected(port)) for port in ports for _ in range(5)]
        await asyncio.gather(*(client.ask() for client in clients))
        await kill_a_client(api, TTL_S)
        latecomers = [await stack.enter_async_context(connected(port)) for port in ports]
        asking = [asyncio.create_task(ask_and_finish(client)) for client in (*clients, *latecomers)]
        before = await look(api)
        assert len(before.ages) == 50
        while before.ages:
            now = await look(api)
            assert max(now.ages.values(), default=0) <= TTL_S + GRACE_S
            gone = before.ages.keys() - now.ages.keys()
            assert all(before.ages[name] + now.ended - before.began >= TTL_S for name in gone)
            before = now
        assert await asyncio.gather(*asking) == ["fin"] * 12
        proxies = await api.ok("GET", "/proxies")
        assert {name: proxy["toxics"] for name, proxy in proxies.items()} == {"p0": [], "p1": []}
        assert await api.ok("GET", "/owners") == {}


async def ask_and_finish(client: Client) -> str:
    """Ask, finish, and wait for the end."""
    await client.ask(b"held back")
    client.writer.write_eof()
    return await client.end()


async def test_an_owner_can_be_ended_for_it(tmp_path: Path, echo: EchoServer) -> None:
    """One DELETE of the owner takes all 50 away long before their time, and what they held arrives."""
    async with running(tmp_path / "audit") as api, AsyncExitStack() as stack:
        ports = [await api.proxy_to(echo.port, name) for name in ("p0", "p1")]
        clients = [await stack.enter_async_context(connected(port)) for port in ports]
        await kill_a_client(api, 3600)
        asking = [asyncio.create_task(ask_and_finish(client)) for client in clients]

        async def held() -> bool:
            return (await api.stats("p1"))["toxics"]["t1"]["bytes"] > 0

        await eventually(held)
        assert len((await look(api)).ages) == 50
        assert len(await api.ok("DELETE", "/owners/dying")) == 50
        assert (await look(api)).ages == {}
        assert await asyncio.gather(*asking) == ["fin", "fin"]


async def everything(api: Api) -> Any:
    """All that can be seen of all proxies."""
    return await api.ok("GET", "/proxies")


async def back_to(api: Api, before: Any) -> None:
    """Wait until all that can be seen is as it was."""

    async def as_before() -> bool:
        return bool(await everything(api) == before)

    await eventually(as_before)


async def test_a_leased_proxy_ends_itself_with_all_that_came_after(api: Api, echo: EchoServer) -> None:
    """A proxy created for a time is gone when it ends, with its toxics, its connections and its port; others stay."""
    await api.proxy_to(echo.port, "stays")
    before = await everything(api)
    port = await api.proxy_to(echo.port, "leased", ttl=0.4, owner="run-1")
    await api.toxic("latency", "leased", {"ttl": 3600, "owner": "run-2"}, latency=1)
    await api.ok("PATCH", "/proxies/leased", {"upstream": f"127.0.0.1:{echo.port}"})
    async with connected(port) as client:
        await client.ask()
        await back_to(api, before)
        assert await client.end() == "reset"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    assert await api.ok("GET", "/owners") == {}


@pytest.mark.parametrize(
    "change", [{"enabled": False}, {"listen": "127.0.0.1:0"}, {"listen": "127.0.0.1:0", "enabled": False}]
)
async def test_a_leased_change_of_a_proxy_undoes_itself_exactly(
    api: Api, echo: EchoServer, change: dict[str, Any]
) -> None:
    """Disabled or moved for a time, a proxy is afterwards what it was to the letter, and serves where it did."""
    port = await api.proxy_to(echo.port)
    await api.toxic("latency", more={"toxicity": 0.25, "seed": 4}, latency=3, jitter=2)
    before = await everything(api)
    await api.ok("PATCH", "/proxies/p", {**change, "ttl": 0.3, "owner": "run-1"})
    assert await everything(api) != before
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await back_to(api, before)
    async with connected(port) as client:
        await client.ask()


async def test_leased_changes_on_top_of_each_other_all_go_back(api: Api, echo: EchoServer) -> None:
    """A disable, then a move, then a toxic's change, each for a time: at the end everything is as it was."""
    port = await api.proxy_to(echo.port)
    await api.toxic("latency", latency=3)
    before, elsewhere = await everything(api), free_port()
    await api.ok("PATCH", "/proxies/p", {"enabled": False, "ttl": 0.2, "owner": "run-1"})
    await api.ok("PATCH", "/proxies/p", {"listen": f"127.0.0.1:{elsewhere}", "ttl": 0.4, "owner": "run-1"})
    await api.ok("PATCH", "/proxies/p/toxics/latency_downstream", {"attributes": {"latency": 900}, "ttl": 0.3})
    await api.toxic("slicer", more={"ttl": 0.1}, average_size=7)
    assert port_of((await everything(api))["p"]) == elsewhere
    await back_to(api, before)
    async with connected(port) as client:
        await client.ask()
    assert await api.ok("GET", "/owners") == {}
