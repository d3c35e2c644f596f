"""A load worker: `python -m chaosrunner.load.worker`, a process of its own that fires one shard of the load.

stdin, one JSON object a line: the orders; `{"epoch": ns}` once every worker is ready (CLOCK_BOOTTIME); then any
number of `{"steer": factor, "at": ns}` and at last `{"stop": true}`. The end of stdin means that the parent is gone:
the worker ends at once. So it does when a lease has run out, which `{"lease": ns}` begins and renews at any time after
the orders: in a cluster the parent may live while the runner is gone. stdout, one JSON object a line: `{"ready":
true}`, or `{"broken": why}`; then `{"note": …}`, and frames, four a second or one each `every` seconds of the epoch's
line, the last one marked. A frame is only cut once the one before has left, so a parent that does not read delays
reports, never a hit, and loses none.

The epoch is turned into CLOCK_MONOTONIC, the clock of all stamps, once. The two clocks differ only by the time the
machine has slept; should that change during the load, the worker ends: its instants would mean nothing any more.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, cast

from chaosrunner.errors import LoadBroken
from chaosrunner.load.act import SETTLE_S
from chaosrunner.load.bench import Bench
from chaosrunner.load.lease import Lease
from chaosrunner.load.ledger import Ledger
from chaosrunner.load.orders import from_line
from chaosrunner.load.own_core import Cores, Waiting, target_here, why_asleep
from chaosrunner.load.script import Script
from chaosrunner.load.selfwatch import SelfWatch
from chaosrunner.load.sender import Sender
from chaosrunner.load.wire import line, line_in_turns
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.orders import Orders
    from chaosrunner.load.sender import Task
    from chaosrunner.model.slots import Frame

FRAME_S = 0.25
LINE_BYTES = 1 << 28
"""Orders carry the data file."""
UNSENT_BYTES = 1 << 24
"""Frames are cut on time though the runner does not hear: as lines they take a sixth of the room, and one frame of half
a minute would be tens of megabytes to a runner that awakes. Beyond this, what is due is kept for a larger frame."""

SLEPT_NS = 5_000_000


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
    def waiting(self) -> int:
        """Bytes of lines that have not left."""
        assert self.transport is not None
        return self.transport.get_write_buffer_size()

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
        self._ledger = Ledger(worker=orders.shard, names=len(orders.profile.steps))
        self._script = Script(Bench(orders, self._ledger))
        self._watch: SelfWatch | None = None
        self._waiting: Waiting | None = None
        self._lease = Lease()
        self._stop = asyncio.Event()
        self._sending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """The frame on its way; done when there is none."""
        self._sending.set_result(None)

    async def run(self) -> None:
        """Get ready, say so, wait for the epoch, fire until told to stop or until the end.

        Raises:
            LoadBroken: the orders cannot be carried out on this machine.
        """
        try:
            task = self._script.task()
            await asyncio.gather(*(driver.ready() for driver in self._script.drivers))
            await self._play(task)
        finally:
            if self._watch is not None:
                self._watch.close()
            await asyncio.gather(*(driver.close() for driver in self._script.drivers))

    async def _play(self, task: Task) -> None:
        # What lives now lives until the end: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        here = await asyncio.to_thread(target_here, self._orders)
        self._pipe.say({"ready": True})
        while (word := await self._command()) is not None and "epoch" not in word:
            pass  # its lease is renewed
        if word is None:
            return
        slept = slept_ns()
        epoch_ns = int(word["epoch"]) - slept
        self._ledger.epoch_ns = epoch_ns
        self._watch = SelfWatch(epoch_ns)
        # Not before now: whoever gives workers cores of their own must have started them first.
        waiting = self._waiting = Waiting(self._ledger, why_asleep(self._orders.of, here, Cores.here()))
        sender = Sender(task, self._ledger, epoch_ns, waiting.alarm)
        self._lend(sender, slept)
        sender.start()
        reports = asyncio.create_task(self._report(sender, slept, float(word.get("every", FRAME_S))))
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
        ending = asyncio.create_task(self._end(sender))
        await asyncio.wait({ending, orders}, return_when=asyncio.FIRST_COMPLETED)
        reports.cancel()
        if not orders.done():
            ending.result()
            await self._sending  # a frame that was cut is sent, also when the end comes in the middle of it
            self._say_notes()
            self._pipe.send(line(self._cut(sender, last=True)))
            await self._pipe.close()

    async def _end(self, sender: Sender) -> None:
        """Let open hits end, then let the drivers book what only the end can tell."""
        await sender.stop()
        for driver in self._script.drivers:
            try:
                await asyncio.wait_for(driver.settle(), SETTLE_S)
            except TimeoutError:
                self._ledger.count("settle.timeout")

    def _cut(self, sender: Sender, *, last: bool = False) -> Frame:
        opened = sum(driver.opened for driver in self._script.drivers)
        assert self._watch is not None
        assert self._waiting is not None
        self._watch.spun(self._waiting.spun_ns())
        watch = self._watch.take()
        self._waiting.look(watch)
        return self._ledger.cut(sender.account(), connects=opened, watch=watch, last=last)

    def _say_notes(self) -> None:
        for note in self._ledger.notes():
            self._pipe.say({"note": note})

    async def _listen(self, sender: Sender, slept: int) -> None:
        """Obey until the parent is gone or the lease has run out."""
        while (command := await self._command()) is not None:
            if "steer" in command:
                sender.steer(float(command["steer"]), int(command["at"]) - slept)
            elif "stop" in command:
                self._stop.set()
            self._lend(sender, slept)

    async def _command(self) -> dict[str, Any] | None:
        """What it is told next; None once the parent is gone or the lease has run out."""
        line = await self._lease.line(self._commands)
        if self._lease.over:
            print("its lease ran out", file=sys.stderr)
        if not line:
            return None
        command: dict[str, Any] = json.loads(line)
        if "lease" in command:
            self._lease.until_ns = int(command["lease"])
        return command

    def _lend(self, sender: Sender, slept: int) -> None:
        """A process that stood still past its lease must not fire on waking, before it has looked at its commands."""
        if self._lease.until_ns is not None:
            sender.lend(self._lease.until_ns - slept)

    async def _report(self, sender: Sender, slept: int, every_s: float) -> None:
        """Frames, workers taking turns within the time from one to the next; ends only by raising."""
        await asyncio.sleep(every_s * self._orders.shard / self._orders.of)
        while True:
            await asyncio.sleep(every_s)
            if abs(slept_ns() - slept) > SLEPT_NS:
                raise LoadBroken("the machine slept during the load")
            if self._sending.done() and self._pipe.waiting < UNSENT_BYTES:
                self._sending.result()
                self._say_notes()
                self._sending = asyncio.ensure_future(self._send(self._cut(sender)))

    async def _send(self, frame: Frame) -> None:
        self._pipe.send(await line_in_turns(frame))


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
