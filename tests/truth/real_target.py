"""A scripted target as a real process: an HTTP server that does what `scripted_target` says, and writes down when.

usage: real_target.py PLAN   (PLAN: JSON with `script`, `seed`, `longest_s`, `noise`)

It prints `ready PORT CONTROL`, then `begun`, `ended`, `closed` and `listening`, each with nanoseconds of the clock that
the product's own facts are told in, and `late AT BY` whenever its loop was behind: so well it knows what it did.
Requests to /0 … /4 are the five endpoints. On CONTROL it obeys one line a connection: `begin`, `end`, `state`; it
answers once that is so.

A request fares as the script says for the moment at which it arrives. Responses are five times as long as on the
virtual clock, so that what a real server and a real loop add stays below a fiftieth.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from random import Random

import scripted_target
from scripted_target import CALM, NOISY, USUAL_S, Make, Noise

from chaosrunner.model.load import Outcome

SLOWER = 5.0
"""A real response over one on the virtual clock."""
LOOK_S = 0.001
"""How often it looks whether it should listen."""
LATE_NS = 10_000_000
"""What is said to be late."""
TIMERS_S = 0.0006
"""How much later than asked an event loop's timer rings at the median: it counts in whole milliseconds."""
PORTS = range(20_000, 32_000)
"""Below the kernel's own choice: a client of a closed port there would be given that very port and meet itself."""
NOISES = {noise.name: noise for noise in (CALM, NOISY)}
SCRIPTS: Mapping[str, Make] = {
    "connection reset": scripted_target.reset(),
    "connection refused": scripted_target.refused(),
    "accepts, never answers": scripted_target.never_answers(),
    "half-open: every other waits in vain": scripted_target.half_open(),
    "one endpoint of five": scripted_target.one_of_five(),
    "brown-out of 3 %": scripted_target.brown_out(),
    "relapse after 20 s": scripted_target.relapse,
    "3 × as slow, a step back": scripted_target.step,
    "back in a straight line": scripted_target.line,
    "back exponentially": scripted_target.exponential,
    "back in swings": scripted_target.oscillation,
    "slow start: refused, then warming up": scripted_target.slow_start,
    "+25 % remains": scripted_target.quarter_remains,
    "dead": scripted_target.dead,
    "nothing happens": scripted_target.nothing,
}


def now_ns() -> int:
    """The clock that the product's facts are told in."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def say(what: str, *numbers: int) -> None:
    """One line for whoever started us."""
    print(what, *numbers, flush=True)


class Script:
    """What befalls a request that arrives now."""

    def __init__(self, make: Make, seed: int, longest_s: float, noise: Noise) -> None:
        self._target = make(Random(seed), longest_s)
        self._noise = noise
        self._chance = Random(seed + 1)
        self.begun_ns: int | None = None
        self.ended_ns: int | None = None

    def since_s(self) -> float | None:
        """The script's time: seconds since the end of the effect, negative before; None while all is as usual."""
        if self.begun_ns is None:
            return None
        return -1.0 if self.ended_ns is None else (now_ns() - self.ended_ns) / 1e9

    def refuses(self) -> bool:
        """Whether nobody should listen."""
        since = self.since_s()
        fate = None if since is None else self._target.fails(since, 0, 0.0)
        return fate is not None and fate[0] is Outcome.REFUSED

    def fate(self, name: int) -> tuple[Outcome, float]:
        """The outcome of a request of a name, and seconds until its answer."""
        since, chance, noise = self.since_s(), self._chance, self._noise
        if since is not None and (ill := self._target.fails(since, name, chance.random())):
            return ill
        if chance.random() < noise.errors:
            return Outcome.STATUS, 0.004
        took = SLOWER * USUAL_S * math.exp(noise.sigma * chance.gauss(0.0, 1.0))
        if chance.random() < noise.spikes:
            took *= 5
        return Outcome.OK, took * (1.0 if since is None else self._target.level(since))


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self, script: Script, alive: set[Connection]) -> None:
        self._script, self._alive, self._read = script, alive, b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._alive.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Somebody has gone."""
        self._transport = None
        self._alive.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer a whole request as its moment says."""
        self._read += data
        if not self._read.endswith(b"\r\n\r\n"):
            return
        path, self._read = self._read.split(b" ", 2)[1], b""
        if path == b"/queue":  # what a probe asks; nobody knows
            return
        outcome, after_s = self._script.fate(int(path[1:]))
        then: Callable[[], None] = {
            Outcome.OK: self._good,
            Outcome.STATUS: self._bad,
            Outcome.TIMEOUT: _in_vain,
        }.get(outcome, self.reset)
        asyncio.get_running_loop().call_later(max(0.0, after_s - TIMERS_S), then)

    def reset(self) -> None:
        """End it with an RST: closing with nothing to linger for is that."""
        if self._transport is not None:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def _good(self) -> None:
        self._answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def _bad(self) -> None:
        self._answer(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno")

    def _answer(self, reply: bytes) -> None:
        if self._transport is not None:
            self._transport.write(reply)


def _in_vain() -> None:
    """No answer, ever."""


class Door:
    """The listening socket, which goes and comes back."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._alive: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        """Listen, on the same port as before."""
        bound = self._bound([self.port] if self.port else list(PORTS))
        self.port = bound.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self._script, self._alive), sock=bound, backlog=4096)
        say("listening", now_ns())

    def _bound(self, ports: list[int]) -> socket.socket:
        Random().shuffle(ports)
        for port in ports:
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
                return one
            except OSError:
                one.close()
        raise OSError(f"no port is free among {len(ports)}")

    def close(self) -> None:
        """Refuse everybody, and reset whoever is here."""
        if self._server is not None:
            self._server.close()
            self._server = None
            for one in list(self._alive):
                one.reset()
            say("closed", now_ns())

    async def obey(self) -> None:
        """Open and close as the script says, for ever; say when one's own looks were late."""
        while True:
            if self._script.refuses():
                self.close()
            elif self._server is None:
                await self.open()
            asked = now_ns()
            await asyncio.sleep(LOOK_S)
            late = now_ns() - asked - int(LOOK_S * 1e9)
            if late > LATE_NS:
                say("late", now_ns(), late)


async def control(script: Script, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One order: begin, end, or say what is."""
    order = (await reader.readline()).strip()
    if order == b"begin" and script.begun_ns is None:
        script.begun_ns = now_ns()
        if script.refuses():
            door.close()
        say("begun", script.begun_ns)
    elif order == b"end" and script.begun_ns is not None and script.ended_ns is None:
        script.ended_ns = now_ns()
        say("ended", script.ended_ns)
    writer.write(b"on\n" if script.begun_ns is not None and script.ended_ns is None else b"off\n")
    writer.close()


async def main(plan: Mapping[str, object]) -> None:
    """Serve until standard input ends."""
    make, noise = SCRIPTS[str(plan["script"])], NOISES[str(plan["noise"])]
    script = Script(make, int(str(plan["seed"])), float(str(plan["longest_s"])), noise)
    door = Door(script)
    await door.open()
    orders = await asyncio.start_server(lambda r, w: control(script, door, r, w), "127.0.0.1", 0)
    say("ready", door.port, orders.sockets[0].getsockname()[1])
    obeying = asyncio.create_task(door.obey())
    await asyncio.to_thread(sys.stdin.read)
    obeying.cancel()
    orders.close()
    door.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(json.loads(sys.argv[1])))
