"""A load worker: `python -m chaosrunner.load.worker`, a process of its own that fires one shard of the load.

stdin, one JSON object a line: the orders; `{"epoch": ns}` once every worker is ready (CLOCK_BOOTTIME); then any
number of `{"steer": factor, "at": ns}` and at last `{"stop": true}`. The end of stdin means that the parent is gone:
the worker ends at once. stdout, one JSON object a line: `{"ready": true}`, or `{"broken": why}`; then frames, four a
second, the last one marked. A frame is only cut once the one before has left, so a parent that does not read delays
reports, never a hit, and loses none.

The epoch is turned into CLOCK_MONOTONIC, the clock of all stamps, once. The two clocks differ only by the time the
machine has slept; should that change during the load, the worker ends: its instants would mean nothing any more.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
import traceback
from typing import TYPE_CHECKING, cast

from chaosrunner.errors import LoadBroken
from chaosrunner.load.ledger import Ledger
from chaosrunner.load.orders import from_line
from chaosrunner.load.pool import Budget, Pool, resolve
from chaosrunner.load.script import script
from chaosrunner.load.sender import Sender, Task
from chaosrunner.load.wire import line, line_in_turns
from chaosrunner.logic.crowd import Crowd
from chaosrunner.logic.pacing import Pace
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.orders import Orders
    from chaosrunner.model.slots import Frame

FRAME_S = 0.25
LINE_BYTES = 1 << 28
"""Orders carry the data file."""

SLEPT_NS = 5_000_000
SPARE_FILES = 64
"""Descriptors this process needs beside its connections."""


class Pipe(asyncio.Protocol):
    """stdout, never waited for."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.WriteTransport | None = None

    @classmethod
    async def open(cls) -> Pipe:
        """Take over stdout."""
        transport, pipe = await asyncio.get_running_loop().connect_write_pipe(cls, sys.stdout.buffer)
        pipe.transport = transport
        return pipe

    def connection_lost(self, exc: Exception | None) -> None:
        """All was written, or nobody reads."""
        if not self.closed.done():
            self.closed.set_result(None)

    def say(self, message: object) -> None:
        """Queue one line."""
        self.send(json.dumps(message).encode() + b"\n")

    def send(self, line: bytes) -> None:
        """Queue one line that is one already."""
        assert self.transport is not None
        self.transport.write(line)

    @property
    def empty(self) -> bool:
        """Whether all lines have left."""
        assert self.transport is not None
        return self.transport.get_write_buffer_size() == 0

    async def close(self) -> None:
        """Wait until the last line has left, at most 5 s."""
        assert self.transport is not None
        self.transport.close()
        await asyncio.wait([self.closed], timeout=5)


def slept_ns() -> int:
    """CLOCK_BOOTTIME − CLOCK_MONOTONIC in ns: the narrowest of five looks, so that no preemption is part of it."""
    looks = []
    for _ in range(5):
        before = time.monotonic_ns()
        boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        after = time.monotonic_ns()
        looks.append((after - before, boot - (before + after) // 2))
    return min(looks)[1]


class Worker:
    """One run of the load, from orders to the last frame."""

    def __init__(self, orders: Orders, commands: asyncio.StreamReader, pipe: Pipe) -> None:
        self._orders = orders
        self._commands = commands
        self._pipe = pipe
        self._budget = Budget(orders.profile.connections)
        self._stop = asyncio.Event()
        self._sending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """The frame on its way; done when there is none."""
        self._sending.set_result(None)

    async def run(self) -> None:
        """Get ready, say so, wait for the epoch, fire until told to stop or until the end.

        Raises:
            LoadBroken: the orders cannot be carried out on this machine.
        """
        task = await self._task()
        try:
            await self._play(task)
        finally:
            await asyncio.gather(*(pool.close() for pool in self._budget.pools))

    async def _play(self, task: Task) -> None:
        # What lives now lives until the end: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        self._pipe.say({"ready": True})
        word = await self._commands.readline()
        if not word:
            return
        slept = slept_ns()
        epoch_ns = int(json.loads(word)["epoch"]) - slept
        ledger = Ledger(worker=self._orders.shard, names=len(task.steps), epoch_ns=epoch_ns)
        sender = Sender(task, ledger, epoch_ns)
        sender.start()
        reports = asyncio.create_task(self._report(sender, ledger, slept))
        orders = asyncio.create_task(self._listen(sender, slept))
        stop = asyncio.create_task(self._stop.wait())
        # A little over: a loop's timer may ring a millisecond early, and nothing due after the end is fired anyway.
        left_s = (epoch_ns - time.monotonic_ns()) / NANOS + self._orders.longest_s + 0.002
        await asyncio.wait({reports, orders, stop}, timeout=max(0.0, left_s), return_when=asyncio.FIRST_COMPLETED)
        if reports.done():
            reports.result()
        if orders.done():
            orders.result()
            return
        await asyncio.wait({asyncio.create_task(sender.stop()), orders}, return_when=asyncio.FIRST_COMPLETED)
        reports.cancel()
        if not orders.done():
            await self._sending  # a frame that was cut is sent, also when the end comes in the middle of it
            self._pipe.send(line(ledger.cut(sender.until_ns(), connects=self._budget.opened, last=True)))
            await self._pipe.close()

    async def _task(self) -> Task:
        """Everything that can be done before the epoch: compile the steps, look up the hosts."""
        profile = self._orders.profile
        steps = script(profile, self._orders.entry, self._orders.auth)
        _room_for(profile.connections)
        origins = list(dict.fromkeys(step.origin for step in steps))
        found = await asyncio.gather(*map(resolve, origins))
        pools = {
            origin: Pool(origin, addresses, self._budget, profile.timeout_s)
            for origin, addresses in zip(origins, found, strict=True)
        }
        return Task(
            steps=[(step, pools[step.origin]) for step in steps],
            plan=self._plan(),
            rows=[dict(row) for row in profile.data],
            shard=self._orders.shard,
            of=self._orders.of,
            longest_s=self._orders.longest_s,
            timeout_s=profile.timeout_s,
            max_in_flight=profile.max_in_flight,
            closed=profile.closed,
            seed=self._orders.seed,
        )

    def _plan(self) -> Pace | Crowd:
        """When journeys arrive, or how many users there are. Raises LoadBroken for stages that say neither."""
        profile = self._orders.profile
        try:
            if profile.closed is not None:
                return Crowd.of(profile.stages, profile.closed)
            return Pace.of(profile.stages, self._orders.seed if profile.at_random else None)
        except ValueError as error:
            raise LoadBroken(str(error)) from error

    async def _listen(self, sender: Sender, slept: int) -> None:
        """Obey until the parent is gone."""
        while line := await self._commands.readline():
            command = json.loads(line)
            if "steer" in command:
                sender.steer(float(command["steer"]), int(command["at"]) - slept)
            elif "stop" in command:
                self._stop.set()

    async def _report(self, sender: Sender, ledger: Ledger, slept: int) -> None:
        """Frames, workers taking turns within the quarter of a second; ends only by raising."""
        await asyncio.sleep(FRAME_S * self._orders.shard / self._orders.of)
        while True:
            await asyncio.sleep(FRAME_S)
            if abs(slept_ns() - slept) > SLEPT_NS:
                raise LoadBroken("the machine slept during the load")
            if self._sending.done() and self._pipe.empty:
                self._sending.result()
                frame = ledger.cut(sender.until_ns(), connects=self._budget.opened)
                self._sending = asyncio.ensure_future(self._send(frame))

    async def _send(self, frame: Frame) -> None:
        self._pipe.send(await line_in_turns(frame))


def _room_for(connections: int) -> None:
    """Raise the limit of open files as far as needed. Raises LoadBroken where the system does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY and need > hard:
        raise LoadBroken(
            f"{connections} connections need {need} open files, and {hard} are allowed",
            advice="raise `ulimit -Hn` or lower `connections`",
        )
    if soft != resource.RLIM_INFINITY and need > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


def _on_error(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """A mistake of ours in a callback ends the worker: it becomes a fact for the parent, never a wrong number."""
    error = context.get("exception")
    if isinstance(error, BaseException) and not isinstance(error, OSError):
        traceback.print_exception(error)
        sys.stderr.flush()
        os._exit(1)
    # Otherwise a connection broke in an unusual way; its hit was told so.


async def main() -> int:
    """Read the orders and carry them out. Returns the process's exit code."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_on_error)
    commands = asyncio.StreamReader(limit=LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    pipe = await Pipe.open()
    orders = await commands.readline()
    if not orders:
        return 0
    try:
        await Worker(from_line(orders), commands, pipe).run()
    except LoadBroken as error:
        pipe.say({"broken": str(error)})
        await pipe.close()
        return 1
    return 0


def start() -> None:
    """Run on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = cast("asyncio.AbstractEventLoop", uvloop.new_event_loop())
    code = loop.run_until_complete(main())
    # Straight out: what is still open is closed by the kernel, and nobody waits for it.
    os._exit(code)


if __name__ == "__main__":
    start()
