"""The runner's end of one load worker in a cluster."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from chaosrunner.errors import LoadBroken
from chaosrunner.load.cluster.clock import FarClock, here
from chaosrunner.load.cluster.relay import Answer, Place, Question, host
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Mapping

ASK_S = 0.5
"""From one question to the next. What is to be told goes at once."""

LEASE_S = 5.0
"""A worker that is not asked for so long stops by itself; one that does not answer for so long is lost."""

FRAME_S = 0.5
"""The workers of a cluster report twice a second."""

HALT_S = 1.0
"""A worker that is given up is told so, if that takes no longer; its lease does the rest."""


class RemoteWorker:
    """One worker; see `chaosrunner.load.crew.Hand`.

    Args:
        number: its shard.
        address: of its Dask worker.
        actor: a Dask actor, the `Relay` there.
        place: what that said of itself.
    """

    def __init__(self, number: int, address: str, actor: Any, place: Place) -> None:
        self.number = number
        self.address = address
        self.heard = 0
        self.ended = False
        self.lost = False
        self.clock = FarClock()
        self._actor = actor
        self._place = place
        self._told: list[bytes] = []
        self._told_from = 0
        """Number of the first of `_told`; those before have arrived."""
        self._seen = 0
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._over = ""
        self._pid = 0
        self._asking: asyncio.Task[None] | None = None

    async def compare_clocks(self) -> None:
        """Ask for the time there, a few times."""
        await self.clock.compare(self._actor.now)

    @property
    def clock_error_ns(self) -> int:
        """The most by which instants there may be off."""
        return self.clock.error_ns

    @property
    def pids(self) -> frozenset[int]:
        """The Dask worker and the worker process, if they are on this host."""
        if self._over or self._place.host != host():
            return frozenset()
        return frozenset({self._place.pid, self._pid} - {0})

    async def get_ready(self, orders: bytes) -> None:
        """Hand over its orders and wait for its word. Raises LoadBroken with the worker's reason."""
        self._write(orders)
        self._asking = asyncio.create_task(self._ask())
        try:
            word = await self.hear()
        except ValueError as error:
            raise LoadBroken(f"load worker {self.number} ({self.address}): {error}") from error
        if word is None:
            raise LoadBroken(f"load worker {self.number}: {self._over}")
        if "ready" not in word:
            raise LoadBroken(f"{word.get('broken', f'it said {word!r}')} (load worker {self.number}, {self.address})")

    def tell(self, message: Mapping[str, object]) -> None:
        """Send a line, its instants turned into those of the clock there."""
        there = self.clock.theirs(message)
        if "epoch" in there:
            there["every"] = FRAME_S
        self._write(json.dumps(there).encode() + b"\n")

    async def hear(self) -> dict[str, object] | None:
        """The next line it says; None at the end. Raises ValueError when it is no JSON object."""
        line = await self._said.get()
        if not line:
            return None
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError(f"no object: {line[:80]!r}")
        return message

    async def last_words(self) -> str:
        """How it ended."""
        return self._over

    def kill(self) -> None:
        """Ask it no more: should nothing else reach it, its lease runs out."""
        self._end("it was given up")

    async def reap(self) -> None:
        """Tell it that it is over, if it can be told."""
        self._end("it was given up")
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        if not self.ended:
            with suppress(Exception):  # it cannot be reached: its lease runs out
                async with asyncio.timeout(HALT_S):
                    await self._actor.halt()

    # --- the conversation

    def _write(self, line: bytes) -> None:
        self._told.append(line)
        self._wake.set()

    def _end(self, why: str) -> None:
        if not self._over:
            self._over = f"{self.address}: {why}"
            self._said.put_nowait(b"")
            self._wake.set()

    async def _ask(self) -> None:
        """Ask until it is over."""
        answered_ns = here()
        while not self._over:
            self._wake.clear()
            asked_ns = here()
            try:
                async with asyncio.timeout(LEASE_S):
                    self._take(await self._actor.exchange(self._question()), asked_ns)
                answered_ns = here()
            except (OSError, TimeoutError) as error:  # perhaps only the connection
                if here() - answered_ns > LEASE_S * NANOS:
                    self._end(f"no answer for {LEASE_S:g} s ({str(error) or 'silence'}), so its lease has run out")
                await asyncio.sleep(ASK_S)
            except RuntimeError as error:  # how Dask says that it is gone
                who = "the Dask scheduler" if "cancelled" in str(error) else "its Dask worker"
                self._end(f"{who} was lost")
            except Exception as error:  # no such actor there, or no such method: not the one we placed
                self._end(f"{type(error).__name__}: {error}")
            else:
                await _first(self._wake, ASK_S)

    def _question(self) -> Question:
        return Question(
            attempt=self._place.attempt,
            begin=self._told_from,
            lines=tuple(self._told),
            seen=self._seen,
            lease_s=LEASE_S,
        )

    def _take(self, answer: Answer, asked_ns: int) -> None:
        if answer.attempt != self._place.attempt:
            self._end("its Dask worker was started anew")
            return
        self.clock.answered(asked_ns, answer.now_ns)
        del self._told[: answer.done - self._told_from]
        self._told_from = answer.done
        for line in answer.lines:
            self._said.put_nowait(line)
        self._seen += len(answer.lines)
        self._pid = answer.pid
        if answer.over:
            self._end(answer.over)


async def _first(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, but not longer."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        pass
