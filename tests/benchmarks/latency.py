"""How long injecting and undoing a fault takes, beside the plain tool that does the same: one table, in Markdown.

`python tests/benchmarks/latency.py --times 100 network docker.pause`: a family, and one fault of another. A family is a
function that yields its faults, each with the ways in which it can be made: add yours to `FAMILIES`. A way's inject
ends when the fault is there, its undo when it is gone, by its own account; ours have read the undo back, and have
looked for their targets beforehand, which is not timed.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "contract"), str(TESTS / "proxy")]

from latency_docker import docker_faults  # noqa: E402
from latency_hosts import hosts_faults  # noqa: E402
from latency_network import network_faults  # noqa: E402
from latency_noop import noop_faults  # noqa: E402
from latency_postgres import PGBENCH, PSQL, postgres_faults  # noqa: E402
from latency_process import process_faults  # noqa: E402
from latency_proxy import http_faults, proxy_faults  # noqa: E402
from latency_redis import redis_faults  # noqa: E402
from latency_resources import resources_faults  # noqa: E402
from latency_ways import OURS, Faults, Step, Way, nothing  # noqa: E402
from toxiproxy_peer import PEERS  # noqa: E402

HEAD = "| fault | by | inject, median ms | p99 | undo, median ms | p99 | times |\n|---|---|---|---|---|---|---|"
TITLES = {"http": "HTTP", "hosts": "Other hosts"}
TURNS_OF_THE_SLOW = 10
"""A slow way has every tenth turn."""
FAMILIES: dict[str, Callable[[], AbstractAsyncContextManager[Faults]]] = {
    "noop": noop_faults,
    "proxy": proxy_faults,
    "http": http_faults,
    "docker": docker_faults,
    "network": network_faults,
    "process": process_faults,
    "resources": resources_faults,
    "hosts": hosts_faults,
    "postgres": postgres_faults,
    "redis": redis_faults,
}
TOOLS = {
    "proxy": [str(PEERS / "toxiproxy-cli"), str(PEERS / "toxiproxy-server")],
    "docker": ["dockerd", "docker", "busybox", "iptables", "tc", "nsenter"],
    "network": ["iptables", "nft", "tc", "ip", "ss"],
    "network.latency": ["tc", "ip"],
    "network.reorder": ["tc", "ip"],
    "network.duplicate": ["tc", "ip"],
    "process": ["/bin/kill", "renice", "prlimit", "start-stop-daemon"],
    "resources": ["stress-ng", "fallocate", "mount"],
    "resources.disk": ["fallocate", "mount"],
    "hosts": ["ssh", "sshd", "ssh-keygen", "ip"],
    "postgres": [PSQL, PGBENCH, "fallocate", "mount"],
    "redis": ["redis-server", "redis-cli", "redis-benchmark"],
}
"""What a family, or a fault alone, must find: what it breaks, and what it is compared with."""


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
    rows = [row(way, *both) for way, both in zip(ways, found, strict=True)]
    alone = all(way.tool.startswith(OURS) for way in ways)
    return [*rows, "no plain tool | – | – | – | – | –"] if alone else rows


def row(way: Way, there: list[float], back: list[float]) -> str:
    """What one way took, as cells."""
    undone = "nothing to undo | –" if way.undo is nothing else numbers(back)
    return f"{way.tool} | {numbers(there)} | {undone} | {len(there)}"


def numbers(found: list[float]) -> str:
    """Median and 99th percentile, as two cells."""
    ranked = [sorted(found)[math.ceil(part * len(found)) - 1] for part in (0.5, 0.99)]
    return " | ".join(f"{number:.3g}" if number < 999.5 else f"{number:.0f}" for number in ranked)


def tools(name: str) -> list[str]:
    """What a fault or a family must find."""
    return TOOLS.get(name, TOOLS.get(name.partition(".")[0], []))


async def print_family(family: str, wanted: list[str], times: int) -> None:
    """Print a family's table, of all its faults or of those that are wanted, and how busy the machine was meanwhile."""
    began = os.getloadavg()[0]
    async with FAMILIES[family]() as faults:
        chosen = {fault: ways for fault, ways in faults.items() if family in wanted or fault in wanted}
        if unknown := {name for name in wanted if name.startswith(f"{family}.")}.difference(faults):
            sys.exit(f"not measured: {', '.join(sorted(unknown))}; there are {', '.join(faults)}")
        print(f"## {TITLES.get(family, family.capitalize())}\n\n{HEAD}")
        for fault, ways in chosen.items():
            for cells in [] if isinstance(ways, str) else await measure(ways, times):
                print(f"| `{fault}` | {cells} |", flush=True)
        if refused := [f"`{fault}` ({ways})" for fault, ways in chosen.items() if isinstance(ways, str)]:
            print(f"\nNot measured here: {', '.join(refused)}.")
    print(f"\n{os.cpu_count()} cores; load average {began:.1f} before, {os.getloadavg()[0]:.1f} after.\n", flush=True)


async def main(wanted: list[str], times: int) -> None:
    """Print the tables, one family after the other."""
    for family in FAMILIES:
        if any(name.partition(".")[0] == family for name in wanted):
            await print_family(family, wanted, times)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(FAMILIES)}; or one fault: docker.pause")
    options = parser.parse_args()
    names = options.names or list(FAMILIES)
    families = {name.partition(".")[0] for name in names}
    if strange := families.difference(FAMILIES):
        parser.error(f"no family {', '.join(sorted(strange))}; there are {', '.join(FAMILIES)}")
    if missing := [tool for name in names for tool in tools(name) if shutil.which(tool) is None]:
        sys.exit(f"not here: {', '.join(missing)}; as root, make bench-latency brings them")
    asyncio.run(main(names, options.times))
