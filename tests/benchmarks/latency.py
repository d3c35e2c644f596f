"""How long injecting and undoing a fault takes, beside the plain tool that does the same: one table, in Markdown.

`python tests/benchmarks/latency.py --times 100`. A family is a function that yields its faults, each with the ways in
which it can be made: add yours to `FAMILIES`. A way's inject ends when the fault is there, its undo when it is gone, by
its own account; ours have read both back, and have looked for their targets beforehand, which is not timed.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1] / "contract"), str(HERE.parents[1] / "proxy")]

from contract_rig import fault_of, system_of  # noqa: E402
from proxy_bench import echo  # noqa: E402
from toxiproxy_peer import PEERS, our_server, their_server  # noqa: E402

from chaosrunner.model.fault import Context, Injector, Target  # noqa: E402
from chaosrunner.model.system import Component, OwnProxy, System  # noqa: E402
from chaosrunner.world.injectors import RealTools  # noqa: E402
from fault_injectors import proxy as family  # noqa: E402
from fault_injectors import proxy_front  # noqa: E402

TURNS_OF_THE_SLOW = 10
"""A slow way has every tenth turn."""

Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to make a fault.

    Attributes:
        tool: What makes it.
        inject: Makes it.
        undo: Takes it back.
        ready: What comes before an inject and is not timed.
        slow: Whether a tenth of the turns must do.
    """

    tool: str
    inject: Step
    undo: Step
    ready: Step
    slow: bool = False


Faults = Mapping[str, list[Way]]
PROXY: dict[str, tuple[type[Injector], dict[str, object], str]] = {
    "proxy.latency": (family.ProxyLatency, {"add": 0.1}, "--type latency --attribute latency=100"),
    "proxy.jitter": (family.ProxyJitter, {"spread": 0.1}, "--type latency --attribute jitter=100"),
    "proxy.bandwidth": (family.ProxyBandwidth, {"rate": 64_000.0}, "--type bandwidth --attribute rate=64"),
    "proxy.reset": (family.ProxyReset, {}, "--type reset_peer --attribute timeout=0"),
    "proxy.timeout": (family.ProxyTimeout, {"after": 0.1}, "--type timeout --attribute timeout=100"),
    "proxy.slice": (family.ProxySlice, {"size": 10, "pause": 0.001}, "--type slicer --attribute average_size=10"),
    "proxy.limit": (family.ProxyLimit, {"after": 100}, "--type limit_data --attribute bytes=100"),
    "proxy.down": (family.ProxyDown, {}, ""),
}


def ours(tool: str, injector: Injector, system: System, *, slow: bool = False, **params: object) -> Way:
    """An injector of ours at the system's component `target`, prepared anew each time."""
    tools, kept = RealTools({}), {}
    fault = fault_of(injector, Target(component="target"), **params)
    prepared = iter(range(10**6))

    async def ready() -> None:
        run = f"bench{next(prepared)}"
        context = Context(run=run, system=system, tools=tools, rng=random.Random(1), spare=frozenset)
        kept["recipe"] = await injector.prepare(fault, context)

    async def inject() -> None:
        await injector.inject(kept["recipe"], tools)

    async def undo() -> None:
        await injector.undo(kept["recipe"], tools)
        assert (await injector.absent(kept["recipe"], tools)).ok

    return Way(tool, inject, undo, ready, slow)


async def nothing() -> None:
    """A plain tool looks for nothing."""


def program(*words: str) -> Step:
    """Run a program to its end."""

    async def run() -> None:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, complaint = await process.communicate()
        assert process.returncode == 0, f"{words}: {complaint.decode()}"

    return run


@asynccontextmanager
async def proxy_faults() -> AsyncIterator[Faults]:
    """Faults of a fault proxy: ours, Toxiproxy's by us, Toxiproxy's by its own command line; and one put in front."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession() as c:
        upstream = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with our_server() as embedded, their_server() as theirs:
            for url in (embedded.url, theirs.url):
                await c.post(f"{url}/proxies", json={"name": "target", "listen": "127.0.0.1:0", "upstream": upstream})
            at = {url: system_of(Component(name="target", proxies=("target",)), fault_proxy=url)
                  for url in (embedded.url, theirs.url)}  # fmt: skip
            faults = {
                name: [
                    ours("chaosrunner, its own proxy", kind(), at[embedded.url], **params),
                    ours("chaosrunner, toxiproxy-server", kind(), at[theirs.url], **params),
                    _by_cli(theirs.url, words),
                ]
                for name, (kind, params, words) in PROXY.items()
            }
            if not proxy_front.missing():
                front = system_of(Component(name="target", proxy=OwnProxy(behind=(upstream,))))
                way = ours("chaosrunner, a proxy put in front", family.ProxyLatency(), front, slow=True, add=0.1)
                faults["proxy.latency"].append(way)
            yield faults


def _by_cli(url: str, words: str) -> Way:
    cli = [str(PEERS / "toxiproxy-cli"), "--host", url]
    if not words:
        return Way("toxiproxy-cli", program(*cli, "toggle", "target"), program(*cli, "toggle", "target"), nothing)
    add = program(*cli, "toxic", "add", "--toxicName", "cli", *words.split(), "target")
    return Way("toxiproxy-cli", add, program(*cli, "toxic", "remove", "--toxicName", "cli", "target"), nothing)


FAMILIES: dict[str, Callable[[], AbstractAsyncContextManager[Faults]]] = {"proxy": proxy_faults}


async def timed(step: Step) -> float:
    """Milliseconds that a step takes."""
    began = time.perf_counter()
    await step()
    return (time.perf_counter() - began) * 1000


async def measure(ways: list[Way], times: int) -> list[str]:
    """A row for each way: median and 99th percentile (nearest rank) of both steps, in milliseconds, and how often.

    The ways take turns, so that whatever else the machine does hits all of them alike.
    """
    found: list[tuple[list[float], list[float]]] = [([], []) for _ in ways]
    for turn in range(-1, times):  # one more, first, for what only the first time costs
        for way, (there, back) in zip(ways, found, strict=True):
            if way.slow and turn % TURNS_OF_THE_SLOW:
                continue
            await way.ready()
            took = await timed(way.inject), await timed(way.undo)
            if turn >= 0:
                there.append(took[0])
                back.append(took[1])
    return [
        " | ".join([way.tool, *(f"{number:.3g}" for step in steps for number in ranks(step)), str(len(steps[0]))])
        for way, steps in zip(ways, found, strict=True)
    ]


def ranks(found: list[float]) -> list[float]:
    """Median and 99th percentile."""
    return [sorted(found)[math.ceil(part * len(found)) - 1] for part in (0.5, 0.99)]


async def main(families: list[str], times: int) -> None:
    """Print the table."""
    print("| fault | by | inject, median ms | p99 | undo, median ms | p99 | times |\n|---|---|---|---|---|---|---|")
    for name in families:
        async with FAMILIES[name]() as faults:
            for fault, ways in faults.items():
                for row in await measure(ways, times):
                    print(f"| `{fault}` | {row} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("families", nargs="*", choices=[*FAMILIES, []], default=[])
    options = parser.parse_args()
    if shutil.which("go") is None and not (PEERS / "toxiproxy-cli").exists():
        sys.exit("toxiproxy-cli is not built: make peers")
    asyncio.run(main(options.families or list(FAMILIES), options.times))
