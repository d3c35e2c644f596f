"""How long injecting and undoing a fault takes, beside the plain tool that does the same: one table, in Markdown.

`python tests/benchmarks/latency.py --times 100 network docker`. A family is a function that yields its faults, each
with the ways in which it can be made: add yours to `FAMILIES`. A way's inject ends when the fault is there, its undo
when it is gone, by its own account; ours have read both back, and have looked for their targets beforehand, which is
not timed.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "contract"), str(TESTS / "proxy")]

from latency_docker import docker_faults  # noqa: E402
from latency_host import network_faults, process_faults  # noqa: E402
from latency_proxy import proxy_faults  # noqa: E402
from latency_ways import Faults, Step, Way  # noqa: E402
from toxiproxy_peer import PEERS  # noqa: E402

TURNS_OF_THE_SLOW = 10
"""A slow way has every tenth turn."""
FAMILIES: dict[str, Callable[[], AbstractAsyncContextManager[Faults]]] = {
    "proxy": proxy_faults,
    "docker": docker_faults,
    "network": network_faults,
    "process": process_faults,
}
TOOLS = {
    "proxy": [str(PEERS / "toxiproxy-cli"), str(PEERS / "toxiproxy-server")],
    "docker": ["dockerd", "docker", "busybox", "iptables", "tc", "nsenter"],
    "network": ["iptables", "nft", "tc", "ip"],
    "process": ["/bin/kill", "renice", "prlimit"],
}
"""What a family must find: what it breaks, and what it is compared with."""


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
    chosen = options.families or list(FAMILIES)
    if missing := [tool for name in chosen for tool in TOOLS[name] if shutil.which(tool) is None]:
        sys.exit(f"not here: {', '.join(missing)}; as root, make bench-latency brings them")
    asyncio.run(main(chosen, options.times))
