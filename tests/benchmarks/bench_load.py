"""What is done to a peer, and what came of it: one function a measurement."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench_clock import STAMP
from bench_peers import DEADLINE_S, FailedError, find

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench_peers import Peer

CONNECTIONS = 50
LATE_NS = 100_000_000  # what the way clock_100ms adds
# A peer sleeps at least this long between two pings through it, in seconds; varied, to fall in step with no timer.
PING_PAUSE_S = (0.0005, 0.0015)
# wrk's own text rounds; this says it in numbers. Written to a file, since wrk takes a script only so.
WRK_SAYS = """
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("\\nSAID %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(90)))
end
"""


@dataclass(frozen=True, slots=True)
class Flow:
    """What wrk saw in one go, in a closed loop: a connection's next request follows the answer.

    Attributes:
        per_s: Requests in a second.
        p50_us: Half of the requests took at most this long, in µs.
        p99_us: 99 of 100 did.
        cpu_us: CPU that the proxy used for a request, in µs.
        waited_share: Of the time, the part in which the proxy could have run and something else had its core.
    """

    per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float
    waited_share: float


def flow(peer: Peer, way: str, seconds: float, folder: Path, *more: str) -> Flow:
    """Send requests on 50 connections for so long, or for longer if that was too short for a single answer.

    Args:
        peer: What to send them through.
        way: The way, and after a slash the path.
        seconds: How long.
        folder: Where wrk's script may be put.
        more: Further arguments for wrk.

    Raises:
        FailedError: If a single request failed, or none was answered in four tries, each twice as long.
    """
    name, _, path = way.partition("/")
    url = f"http://127.0.0.1:{peer.ways[name]}/{path}"
    for times in (1, 2, 4, 8):
        cpu_s, waited_s = peer.cpu_s(), peer.waited_s()
        requests, took_us, p50_us, p99_us, errors, _ = _wrk(folder, seconds * times, url, *more)
        cpu_s, waited_s = peer.cpu_s() - cpu_s, peer.waited_s() - waited_s
        if errors:
            raise FailedError(f"{errors:.0f} errors through {peer.name} to {way}")
        if requests:
            return Flow(requests / took_us * 1e6, p50_us, p99_us, cpu_s / requests * 1e6, waited_s / took_us * 1e6)
    raise FailedError(f"no answer through {peer.name} to {way}")


def _wrk(folder: Path, seconds: float, *more: str) -> list[float]:
    """Answers, µs that it took, p50 and p99 in µs, errors, and p90 in µs."""
    script = folder / "wrk.lua"
    script.write_text(WRK_SAYS)
    wrk = find("wrk")
    assert wrk is not None
    command = [wrk, "-t", "1", "-c", str(CONNECTIONS), "-d", "60s", "--timeout", "10s", "-s", str(script), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        time.sleep(seconds)
        running.send_signal(signal.SIGINT)  # its own durations are whole seconds; interrupted, it counts what was
        said, _ = running.communicate(timeout=DEADLINE_S)
    _, found, numbers = said.partition("SAID ")
    if not found:
        return [0.0] * 6  # interrupted before it had begun
    return [float(number) for number in numbers.split()]


def pings_us(peers: Sequence[Peer], times: int) -> dict[str, list[float]]:
    """Round trips of 8 bytes on one connection a peer, in µs, with pauses in which the peer sleeps.

    The peers take turns ping by ping, in random order, so that whatever else the machine does meets all alike.

    Args:
        peers: Through whom.
        times: How many pings a peer.
    """
    took: dict[str, list[float]] = {peer.name: [] for peer in peers}
    with ExitStack() as stack:
        ways = [(peer.name, stack.enter_context(_connected(peer.ways["clock"]))) for peer in peers]
        for number in range(times + 10):
            for name, way in random.sample(ways, len(ways)):
                time.sleep(random.uniform(*PING_PAUSE_S))
                start = time.perf_counter_ns()
                way.sendall(b"12345678")
                _read(way, 8)
                if number >= 10:  # the first ones meet cold caches
                    took[name].append((time.perf_counter_ns() - start) / 1000)
    return took


def lateness_us(peer: Peer, connections: int, seconds: float) -> float:
    """By how much a latency toxic of 100 ms misses, one way: the median of |arrived - sent - 100 ms|, in µs.

    Args:
        peer: Through whom.
        connections: How many take turns at sending 8 bytes each.
        seconds: For how long they send.
    """
    sent: list[list[int]] = [[] for _ in range(connections)]
    with ExitStack() as stack:
        ways = [stack.enter_context(_connected(peer.ways["clock_100ms"])) for _ in range(connections)]
        for way in ways:  # the proxy has connected on its other side when the first answer is there
            way.sendall(b"12345678")
        for way in ways:
            _read(way, 8)
        # Every 10 ms at the least, so that arrivals do not touch on one connection; on 50, every 2 ms.
        pause_s = 0.01 if connections == 1 else 0.002
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            chosen = random.randrange(connections)
            sent[chosen].append(time.monotonic_ns())
            ways[chosen].sendall(b"12345678")
            time.sleep(pause_s * random.uniform(0.5, 1.5))
        return median(
            abs(arrived_ns - sent_ns - LATE_NS) / 1000
            for way, times in zip(ways, sent, strict=True)
            for sent_ns, (arrived_ns,) in zip(times, STAMP.iter_unpack(_read(way, 8 * len(times))), strict=True)
        )


@dataclass(frozen=True, slots=True)
class Idleness:
    """What open connections cost while nothing happens on them.

    Attributes:
        resident_bytes: Memory for each.
        cpu_ms: CPU for all of them, in ms, while they were watched.
    """

    resident_bytes: float
    cpu_ms: float


def idle(peers: Sequence[Peer], connections: int, seconds: float) -> dict[str, Idleness]:
    """Open connections through all peers at once and let them be.

    Args:
        peers: Through whom; they should not have had many connections before, or they would use that memory again.
        connections: How many through each; each carries 8 bytes there and back, once.
        seconds: How long they are watched.
    """
    grown: dict[str, float] = {}
    with ExitStack() as stack:
        for peer in peers:
            before = peer.resident_bytes()
            for _ in range(connections):
                way = stack.enter_context(_connected(peer.ways["clock"]))
                way.sendall(b"12345678")
                _read(way, 8)
            grown[peer.name] = (peer.resident_bytes() - before) / connections
        cpu_s = {peer.name: peer.cpu_s() for peer in peers}
        time.sleep(seconds)
        return {peer.name: Idleness(grown[peer.name], (peer.cpu_s() - cpu_s[peer.name]) * 1000) for peer in peers}


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _connected(port: int) -> socket.socket:
    connected = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _read(way: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        part = way.recv(size - len(got))
        if not part:
            raise FailedError("a connection ended early")
        got += part
    return got
