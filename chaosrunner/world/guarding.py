"""The runner's side of the watchdog: start it, wait for READY, beat, notice its death, and let it go in the end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.errors import JournalBroken, Unavailable
from chaosrunner.model.events import WatchdogLost, WatchdogReady
from chaosrunner.world.watch_orders import BEAT, BEAT_EVERY_S, GO, READY, REFUSED, WatchOrders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chaosrunner.world.journal import Journal

LOG = "watchdog.log"
READY_S = 30.0
GOES_S = 5.0


@asynccontextmanager
async def guarded(journal: Journal, orders: WatchOrders) -> AsyncIterator[Watchdog]:
    """Have a watchdog for as long as the body lasts.

    Afterwards it is let go if the journal knows of no debt; otherwise it is left behind, and takes the run over as soon
    as the journal is closed or this process is gone.

    Raises:
        Unavailable: it cannot get ready; the message says why. Nothing was touched.
    """
    watchdog = Watchdog(orders)
    try:
        await watchdog.ready()
    except BaseException:
        watchdog.end()
        raise
    journal.write(WatchdogReady(pid=watchdog.pid))
    tasks = [asyncio.create_task(watchdog.beat()), asyncio.create_task(watchdog.mourn(journal))]
    try:
        yield watchdog
    finally:
        for task in tasks:
            task.cancel()
        if journal.state.debts():
            watchdog.leave()
        else:
            # Not before the disk knows, too: killed in between, we would leave a debt that only looks open.
            with suppress(JournalBroken):
                await journal.durable(journal.state.n)
            await watchdog.release()


class Watchdog:
    """A started watchdog process."""

    def __init__(self, orders: WatchOrders) -> None:
        self._log = Path(orders.run_dir) / LOG
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "chaosrunner.world.watchdog"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout
        self._reader = asyncio.StreamReader()
        self._line = orders.line()
        self._lost = ""

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def lost(self) -> str:
        """Why it would not undo in our place; empty while it would."""
        if not self._lost and self._process.poll() is not None:
            self._lost = _ending(self._process.returncode)
        return self._lost

    async def ready(self) -> None:
        """Give it its orders and wait until it is ready. Raises Unavailable when it is not."""
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._reader), self._from)
        try:
            async with asyncio.timeout(READY_S):
                # Orders may be longer than a pipe is deep: a watchdog that dies instead of reading must not block us.
                await asyncio.to_thread(self._give_orders)
                said = (await self._reader.readline()).decode(errors="replace").strip()
        except TimeoutError:
            said = f"{REFUSED} it was not ready within {READY_S:g} s"
        if said != READY:
            why = said.removeprefix(REFUSED).strip() or f"it ended: {self._last_words()}"
            raise Unavailable(f"no watchdog, so nothing was broken: {why}")
        os.set_blocking(self._to, False)

    async def beat(self) -> None:
        """Beat from the event loop, so that a loop that hangs is noticed."""
        while True:
            try:
                os.write(self._to, BEAT)
            except (BlockingIOError, BrokenPipeError):
                pass  # its death is noticed by `mourn`; a full pipe has beats enough
            await asyncio.sleep(BEAT_EVERY_S)

    async def mourn(self, journal: Journal) -> None:
        """Write down when it dies."""
        await self._reader.read()
        for _ in range(100):  # its pipe closes a moment before it can be reaped
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.01)
        self._lost = self._lost or _ending(self._process.returncode)
        journal.write(WatchdogLost(why=self._lost))

    async def release(self) -> None:
        """Let it go; end it if it does not go."""
        try:
            os.write(self._to, GO)
        except OSError:
            pass  # it is gone already
        self._close()
        for _ in range(int(GOES_S / 0.02)):
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.02)
        self.end()

    def leave(self) -> None:
        """Leave it behind: it will find that nobody owns the run, and take it over."""
        self._close()

    def end(self) -> None:
        """End it and reap it; nothing is owed."""
        self._process.kill()
        self._process.wait()
        self._close()
        if self._log.exists() and not self._log.stat().st_size:
            self._log.unlink()

    def _give_orders(self) -> None:
        try:
            rest = memoryview(self._line)
            while rest:
                rest = rest[os.write(self._to, rest) :]
        except BrokenPipeError:
            pass  # it ended; what it said last is more to the point

    def _last_words(self) -> str:
        said = self._log.read_text(errors="replace").strip().splitlines()
        return said[-1] if said else "without a word"

    def _close(self) -> None:
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()


def _ending(code: int | None) -> str:
    if code is None:
        return "its pipe is closed"
    return f"it was killed by signal {-code}" if code < 0 else f"it ended with {code}"
