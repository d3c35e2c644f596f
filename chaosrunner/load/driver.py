"""The load as the engine sees it: starts worker processes, tells them when, passes on what they report, ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from chaosrunner.errors import LoadBroken
from chaosrunner.load.crew import LocalCrew
from chaosrunner.load.orders import Orders, cut, to_line
from chaosrunner.logic.reveal import revealed, revealed_auth
from chaosrunner.model.events import ClockCompared, Event, LoadEnded, LoadLost, LoadNoted, LoadStarted, SlotsArrived
from chaosrunner.model.slots import from_json

if TYPE_CHECKING:
    from chaosrunner.load.crew import Crew, Hand
    from chaosrunner.model.fault import Tools
    from chaosrunner.model.load import LoadProfile
    from chaosrunner.model.secret import Secret
    from chaosrunner.model.slots import Frame

READY_S = 20.0
"""Workers that are not ready after this long never will be."""

STEER_LEAD_NS = 200_000_000
"""From a steering to the instant it takes effect at, the same for every worker."""

END_S = 9.0
"""A stopped worker drains for at most 2 s, and then settles for at most 5; one without a last
frame after this long is lost."""

SILENT_LOOKS = 8
"""A worker without a frame at this many looks in a row, one a second, is lost. Looks, not seconds: a runner that was
itself stopped and woken has looked only once."""

CLOCK_WORSE = 1.5
"""A worker's clock is reported again when it may be off by so many times what was reported last."""

Report = Callable[[Event], object]


class Clock(Protocol):
    """CLOCK_BOOTTIME."""

    def now(self) -> int:
        """The instant, in nanoseconds."""
        ...


class LoadDriver:
    """Plays one LoadProfile, once.

    Args:
        profile: what to send.
        entry: base URL of relative paths.
        places: component → its DSN, of those that steps ask.
        run: the run's id; what the load creates is named after it.
        seed: of arrivals at random and of think times; the same seed, the same load.
        longest_s: the workers end by themselves this many seconds after the epoch, whatever happens to this process.
        clock: CLOCK_BOOTTIME.
        tools: reveals the secrets of auth, paths, headers and bodies when the load starts.
        crew: where workers come from; processes on this host unless said.
    """

    def __init__(  # noqa: PLR0913 - the agreed way to build it; all but the profile by keyword
        self,
        profile: LoadProfile,
        *,
        entry: str,
        places: Mapping[str, Secret] = MappingProxyType({}),
        run: str = "",
        seed: int,
        longest_s: float,
        clock: Clock,
        tools: Tools,
        crew: Crew | None = None,
    ) -> None:
        self._profile = profile
        self._entry = entry
        self._places = places
        self._run = run
        self.seed = seed
        self._longest_s = longest_s
        self._clock = clock
        self._tools = tools
        self._crew = crew or LocalCrew()
        self._workers: list[Hand] = []
        self._why = ""
        self._clock_errors: dict[int, int] = {}
        """Worker → ns, as last reported."""
        self._stopped = asyncio.Event()

    async def run(self, report: Report) -> None:
        """Start the workers, report LoadStarted, every frame and LoadEnded; return when all have ended.

        Raises:
            LoadBroken: a worker could not start; nothing was sent.
            InjectorError: a secret cannot be revealed; nothing was started.
        """
        try:
            if not await self._unless_stopped(self._start()):
                return
            self._compare_clocks(report)
            epoch_ns = self._clock.now() + self._crew.lead_ns
            # Before a worker can report: what folds frames must know of the epoch first.
            report(LoadStarted(epoch_ns=epoch_ns, workers=len(self._workers), why=self._why))
            for worker in self._workers:
                worker.tell({"epoch": epoch_ns})
            await self._follow(report)
            report(LoadEnded(at_ns=self._clock.now()))
        finally:
            await self._reap()

    def steer(self, factor: float) -> None:
        """From 0.2 s on, `factor` times the arrivals (closed model: users) of the stages; 0 pauses, 1 is as planned.

        Raises:
            ValueError: the factor is negative or infinite.
        """
        if not 0 <= factor < float("inf"):
            raise ValueError(f"the factor must be a number from 0 up, not {factor}")
        at_ns = self._clock.now() + STEER_LEAD_NS
        for worker in self._workers:
            worker.tell({"steer": factor, "at": at_ns})

    def stop(self) -> None:
        """End the load; `run` returns once open hits have drained, at most a few seconds later. Idempotent."""
        self._stopped.set()

    def pids(self) -> frozenset[int]:
        """The workers that live now; no fault may hit them."""
        return frozenset().union(*(worker.pids for worker in self._workers))

    # --- beginning

    async def _start(self) -> None:
        """Spawn all workers and wait until every one is ready."""
        profile = revealed(self._profile, self._tools)
        most = sum(ceil(stream.peak) if stream.closed else stream.max_in_flight for stream in profile.streams)
        size = await self._crew.size(profile)
        self._why = size.why
        of = max(1, min(size.workers, profile.connections, most))
        whole = Orders(
            profile=profile,
            entry=self._entry,
            auths=tuple(revealed_auth(scenario, self._tools) for scenario in profile.scenarios),
            places={name: self._tools.reveal(dsn) for name, dsn in self._places.items()},
            run=self._run,
            shard=0,
            of=of,
            seed=self.seed,
            longest_s=self._longest_s,
        )
        orders = [replace(whole, shard=shard) for shard in range(of)]
        try:
            async with asyncio.timeout(READY_S):
                for shard in range(of):
                    self._workers.append(await self._crew.spawn(shard))
                pairs = zip(self._workers, orders, strict=True)
                await asyncio.gather(*(worker.get_ready(to_line(cut(order))) for worker, order in pairs))
        except TimeoutError as error:
            raise LoadBroken(f"the load workers were not ready within {READY_S:g} s") from error

    async def _unless_stopped(self, start: Coroutine[object, object, None]) -> bool:
        """Run `start` to its end; False if the load was stopped before."""
        starting = asyncio.create_task(start)
        with _waiting_for(self._stopped) as stopped:
            try:
                await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not starting.done():
                    starting.cancel()
                    await asyncio.gather(starting, return_exceptions=True)
        if starting.cancelled():
            return False
        starting.result()
        return True

    # --- under way

    async def _follow(self, report: Report) -> None:
        """Pass on frames until every worker has ended or is lost."""
        hearing = [asyncio.create_task(self._hear(worker, report)) for worker in self._workers]
        watch = asyncio.create_task(self._watch(report))
        try:
            with _waiting_for(self._stopped) as stopped:
                everyone = asyncio.ensure_future(_all(hearing))
                await asyncio.wait({everyone, stopped, watch}, return_when=asyncio.FIRST_COMPLETED)
                for worker in self._workers:
                    worker.tell({"stop": True})
                await asyncio.wait({everyone}, timeout=END_S)
                for worker in self._workers:
                    if not worker.ended:
                        self._lose(worker, report, f"did not end within {END_S:g} s")
                await everyone
        finally:
            for task in (*hearing, watch):
                task.cancel()
            await asyncio.gather(*hearing, watch, return_exceptions=True)

    async def _hear(self, worker: Hand, report: Report) -> None:
        """Pass on one worker's frames; whatever else ends it is a LoadLost."""
        while (frame := await _frame(worker)) is not None:
            if isinstance(frame, str):
                self._lose(worker, report, frame)
                return
            if isinstance(frame, LoadNoted):
                report(frame)
                continue
            worker.heard += 1
            worker.ended = worker.ended or frame.last
            report(SlotsArrived(frame=frame))
        if not worker.ended:
            self._lose(worker, report, await worker.last_words())

    async def _watch(self, report: Report) -> None:
        """Give up on workers that fall silent; ends only by being cancelled."""
        silent = dict.fromkeys(range(len(self._workers)), (0, 0))
        while True:
            await asyncio.sleep(1)
            self._compare_clocks(report)
            for worker in self._workers:
                heard, looks = silent[worker.number]
                looks = looks + 1 if heard == worker.heard else 0
                silent[worker.number] = worker.heard, looks
                if looks >= SILENT_LOOKS and not worker.ended:
                    self._lose(worker, report, f"silent for {looks} s")

    @staticmethod
    def _lose(worker: Hand, report: Report, why: str) -> None:
        if not worker.lost:
            worker.lost = True
            report(LoadLost(worker=worker.number, why=why))
            worker.kill()

    def _compare_clocks(self, report: Report) -> None:
        """Report how far workers' clocks may be off, where that is more than was known."""
        for worker in self._workers:
            error_ns, known_ns = worker.clock_error_ns, self._clock_errors.get(worker.number, 0)
            if error_ns > CLOCK_WORSE * known_ns:
                self._clock_errors[worker.number] = error_ns
                report(ClockCompared(worker=worker.number, error_us=-(-error_ns // 1000)))

    # --- the end

    async def _reap(self) -> None:
        """Leave no process behind, however often this is cancelled."""
        reaping = asyncio.gather(*(worker.reap() for worker in self._workers), return_exceptions=True)
        cancelled = False
        while not reaping.done():
            try:
                await asyncio.shield(reaping)
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError


async def _frame(worker: Hand) -> Frame | LoadNoted | str | None:
    """What a worker says next; None when it says nothing more, a text when what it says is that or why it broke."""
    try:
        message = await worker.hear()
        if message is None:
            return None
        if "broken" in message:
            return str(message["broken"])
        if "note" in message:
            note: Mapping[str, object] = message["note"]  # type: ignore[assignment]
            return LoadNoted(worker=worker.number, about=str(note["about"]), data=note["data"])  # type: ignore[arg-type]
        return from_json(message["frame"])  # type: ignore[arg-type]
    except (LookupError, TypeError, ValueError) as error:
        return f"broke its protocol: {type(error).__name__}: {error}"


async def _all(tasks: Iterable[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)


@contextmanager
def _waiting_for(event: asyncio.Event) -> Iterator[asyncio.Future[None]]:
    async def wait() -> None:
        await event.wait()

    waiting = asyncio.create_task(wait())
    try:
        yield waiting
    finally:
        waiting.cancel()
