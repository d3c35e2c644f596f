"""How fast the fault proxy is beside Toxiproxy and HAProxy: one run, one table of ratios.

`python tests/benchmarks/proxy.py [--quick]`, or `make bench`. The proxies have one core, one after the other; the load
generator and the origins have another. In each round every peer is measured once, so that noise meets all alike; a
ratio is the median over the rounds of ours divided by the peer's in the same round, with the least and the greatest.

Exit code: 0 if every target is met, 1 if one is missed, 2 if none is missed but one could not be measured, because a
program is not installed or a measurement failed. `make bench` installs or builds what is missing, as far as it can.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import bench_table as table
from bench_load import Idleness, flow, idle, lateness_us, pings_us, quantile
from bench_peers import BULK_BYTES, DIRECT, FailedError, find, on_the_field, pinned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench_peers import Field, Peer
    from bench_table import Board

IDLE_WATCHED_S = 5.0


@dataclass(frozen=True, slots=True)
class Size:
    """How long it all takes.

    Attributes:
        rounds: How often each peer is measured.
        flow_s: Seconds of requests in a round, and of connects, through each peer.
        pings: Pings in a round through each peer.
        late_s: Seconds for which late messages are sent in a round.
        idle: Idle connections.
        idle_s: Seconds for which they are watched; their CPU is told for 5 s.
    """

    rounds: int = 5
    flow_s: float = 1.5
    pings: int = 300
    late_s: float = 0.5
    idle: int = 2000
    idle_s: float = IDLE_WATCHED_S


QUICK = Size(rounds=3, flow_s=0.3, pings=100, late_s=0.2, idle=1000, idle_s=1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    size = _size(argv)
    _allow_many_descriptors()
    proxy_core, other_core = _cores()
    began = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            pinned(other_core),
            on_the_field(Path(folder), proxy_core, other_core) as found,
        ):
            _print_head(found, proxy_core, other_core)
            board = measure(found, size, Path(folder))
    except FailedError as failure:
        print(f"failed: {failure}")
        return 2
    print(*board.lines(), sep="\n")
    print(f"\n{size.rounds} rounds, {time.monotonic() - began:.0f} s")
    return _verdict(board)


def measure(found: Field, size: Size, folder: Path) -> Board:
    """Every number of the table.

    Args:
        found: Who takes part.
        size: How much of it.
        folder: For small files.

    Raises:
        FailedError: If a request or a connection fails.
    """
    board = table.Board()
    proxies = [peer for peer in found.peers if peer.name != DIRECT]
    for name, cost in idle(proxies, size.idle, size.idle_s).items():  # first: it needs fresh processes
        _put_idle(board, name, cost, size)
    for number in range(size.rounds):
        print(f"round {number + 1} of {size.rounds}", file=sys.stderr)
        if "http" in found.peers[0].ways and find("wrk"):
            _put_flows(board, found.peers, size, folder)
        _put_pings(board, found.peers, size)
        for peer in proxies:
            if "clock_100ms" in peer.ways:
                board.put(table.LATE_1_US, peer.name, lateness_us(peer, 1, size.late_s))
                board.put(table.LATE_50_US, peer.name, lateness_us(peer, 50, size.late_s))
    return board


def _put_flows(board: Board, peers: Sequence[Peer], size: Size, folder: Path) -> None:
    for peer in peers:
        plain = flow(peer, "http", size.flow_s, folder)
        board.put(table.PER_S, peer.name, plain.per_s)
        board.put(table.P50_US, peer.name, plain.p50_us)
        board.put(table.P99_US, peer.name, plain.p99_us)
        if peer.process is not None:
            board.put(table.CPU_US, peer.name, plain.cpu_us)
            board.put(table.WAITED_PERCENT, peer.name, plain.waited_share * 100)
    for way, row in (("http_1ms", table.PER_S_1MS), ("http_10ms", table.PER_S_10MS)):
        for peer in peers:
            if way in peer.ways:
                board.put(row, peer.name, flow(peer, way, size.flow_s, folder).per_s)
    for peer in peers:
        connects = flow(peer, "http", size.flow_s, folder, "-H", "Connection: close")
        board.put(table.CONNECTS_PER_S, peer.name, connects.per_s)
        if peer.process is not None:
            board.put(table.CONNECT_CPU_US, peer.name, connects.cpu_us)
    for peer in peers:
        bulk = flow(peer, "http/bulk", size.flow_s, folder)
        board.put(table.BULK_MB_PER_S, peer.name, bulk.per_s * BULK_BYTES / 1e6)


def _put_pings(board: Board, peers: Sequence[Peer], size: Size) -> None:
    took = pings_us(peers, size.pings)
    for row, share in ((table.ADDED_P50_US, 0.5), (table.ADDED_P99_US, 0.99)):
        for peer in peers:
            if peer.name != DIRECT:
                board.put(row, peer.name, quantile(took[peer.name], share) - quantile(took[DIRECT], share))


def _put_idle(board: Board, name: str, cost: Idleness, size: Size) -> None:
    board.put(table.IDLE_KB, name, cost.resident_bytes / 1024)
    board.put(table.IDLE_CPU_MS, name, cost.cpu_ms * IDLE_WATCHED_S / size.idle_s)


def _verdict(board: Board) -> int:
    for missed in board.missed():
        print(f"MISSED  {missed}")
    for unknown in board.unknown():
        print(f"not measured  {unknown}")
    return 1 if board.missed() else 2 if board.unknown() else 0


def _print_head(found: Field, proxy_core: int, other_core: int) -> None:
    names = [*found.versions, f"Python {platform.python_version()}", f"uvloop {version('uvloop')}"]
    print(f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}; {'; '.join(names)}")
    if proxy_core == other_core:
        print("only one core: proxy, load generator and origin share it, so throughput says little")
    for name in found.absent:
        print(f"not installed: {name}; what needs it is not measured")
    print(flush=True)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _cores() -> tuple[int, int]:
    """A core for the proxies and one for all else; the same if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


def _allow_many_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _size(argv: Sequence[str] | None) -> Size:
    parser = argparse.ArgumentParser(description="chaosrunner's fault proxy beside Toxiproxy and HAProxy")
    parser.add_argument("--quick", action="store_true", help="half a minute instead of three: numbers to look at only")
    parser.add_argument("--rounds", type=int, help="how often each peer is measured")
    parser.add_argument("--seconds", type=float, help="of requests in a round through each peer")
    options = parser.parse_args(argv)
    size = QUICK if options.quick else Size()
    rounds, flow_s = options.rounds or size.rounds, options.seconds or size.flow_s
    return Size(rounds, flow_s, size.pings, size.late_s, size.idle, size.idle_s)


if __name__ == "__main__":
    sys.exit(main())
