"""A target that answers as a test says, and books that add up what workers report."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

from chaosrunner.load.orders import Orders
from chaosrunner.load.worker import Worker
from chaosrunner.model.events import Event, LoadEnded, LoadLost, LoadNoted, LoadStarted, SlotsArrived
from chaosrunner.model.fault import Tools
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import SERIES
from chaosrunner.model.load import Closed, LoadProfile, Order, Outcome, Stage, Step, single
from chaosrunner.model.secret import Secret
from chaosrunner.model.slots import Frame, Hit, Slot, from_json

GET = Request(name="get", method="GET", path="/")
DEADLINE_S = 30.0

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def reply(status: int = 200, body: object = None, *, headers: str = "") -> bytes:
    """A reply with a JSON body."""
    content = b"" if body is None else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n{headers}\r\n".encode() + content


def profile(*steps: Step, rate: float = 100, lasts_s: float | None = 0.2, **fields: object) -> LoadProfile:
    """20 journeys in 0.2 s unless said otherwise."""
    stages = fields.pop("stages", (Stage(start=rate, end=rate, lasts_s=lasts_s),))
    tls, order = fields.pop("tls", None), fields.pop("order", "sequential")
    load = single(steps=steps or (GET,), stages=stages, **fields)  # type: ignore[arg-type]
    return with_order(replace(load, tls=tls), order)  # type: ignore[arg-type]


def with_order(load: LoadProfile, order: Order) -> LoadProfile:
    """The same, its rows dealt in another order."""
    streams = tuple(
        replace(stream, scenarios=tuple(replace(scenario, order=order) for scenario in stream.scenarios))
        for stream in load.streams
    )
    return replace(load, streams=streams)


def crowd(*steps: Step, users: float = 5, every_s: float | None = None, **fields: object) -> LoadProfile:
    """Five users for ever unless said otherwise."""
    stages = fields.pop("stages", (Stage(start=users, end=users, lasts_s=None),))
    closed = Closed(every_s=every_s, iterations=fields.pop("iterations", None))  # type: ignore[arg-type]
    return single(steps=steps or (GET,), stages=stages, closed=closed, **fields)  # type: ignore[arg-type]


@dataclass
class Asked:
    """What a target was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    n: int
    """From 0, over all connections."""

    @property
    def json(self) -> object:
        return json.loads(self.body)


Handler = Callable[["Target", Asked, asyncio.StreamWriter], Awaitable[bytes | None]]


class Target:
    """An HTTP server on a free port whose replies are raw bytes; None closes the connection at once."""

    def __init__(self, handler: Handler, *, ssl: object = None) -> None:
        self._handler = handler
        self._ssl = ssl
        self.requests: list[Asked] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.release = asyncio.Event()
        """For handlers that hang until they are let go."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Target:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._ssl)  # type: ignore[arg-type]
        self.port = self._server.sockets[0].getsockname()[1]
        scheme = "https" if self._ssl else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self.release.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while (request := await self._request(reader)) is not None:
                answer = await self._handler(self, request, writer)
                if answer is None:
                    break
                writer.write(answer)
                if b"\r\nconnection: close" in answer[:4096].lower():
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> Asked | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Asked(method, path, headers, body, len(self.requests))
        self.requests.append(request)
        return request


def always(answer: bytes | None) -> Handler:
    """Give everybody the same reply."""

    async def handler(_target: Target, _request: Asked, _writer: asyncio.StreamWriter) -> bytes | None:
        return answer

    return handler


async def hang(target: Target, _request: Asked, _writer: asyncio.StreamWriter) -> bytes | None:
    """Answer nobody until released."""
    await target.release.wait()
    return OK


@dataclass
class Books:
    """Everything workers reported, added up."""

    events: list[Event] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    by_name: dict[int, Slot] = field(default_factory=dict)
    by_slot: dict[int, Slot] = field(default_factory=dict)
    hits: list[Hit] = field(default_factory=list)
    notes: list[dict[str, object]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def report(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, SlotsArrived):
            self.frame(event.frame)
        elif isinstance(event, LoadNoted):
            self.notes.append({"about": event.about, "data": event.data})
        self.news.set()

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.hits += frame.hits
        for (number, name), slot in frame.slots.items():
            self.by_name.setdefault(name, Slot()).add(slot)
            if name < SERIES:
                self.by_slot.setdefault(number, Slot()).add(slot)
        self.news.set()

    @property
    def all(self) -> Slot:
        """Of the steps; what is measured beside them is by name only."""
        whole = Slot()
        for name, slot in self.by_name.items():
            if name < SERIES:
                whole.add(slot)
        return whole

    @property
    def done(self) -> dict[Outcome, int]:
        return dict(self.all.done)

    def noted(self, about: str) -> list[dict[str, object]]:
        """The data of the notes about something."""
        return [note["data"] for note in self.notes if note["about"] == about]  # type: ignore[misc]

    @property
    def counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for frame in self.frames:
            counts.update(frame.counts)
        return counts

    @property
    def journeys(self) -> int:
        return sum(frame.journeys for frame in self.frames)

    @property
    def skipped(self) -> int:
        return sum(frame.skipped for frame in self.frames)

    @property
    def behind(self) -> int:
        return sum(frame.behind for frame in self.frames)

    @property
    def connects(self) -> int:
        return sum(frame.connects for frame in self.frames)

    @property
    def epoch_ns(self) -> int:
        return next(event.epoch_ns for event in self.events if isinstance(event, LoadStarted))

    def lost(self) -> list[LoadLost]:
        return [event for event in self.events if isinstance(event, LoadLost)]

    def ended(self) -> bool:
        return any(isinstance(event, LoadEnded) for event in self.events)

    async def until(self, condition: Callable[[Books], bool]) -> None:
        """Wait for a condition on what was reported, at most 30 s."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition(self):
                self.news.clear()
                await self.news.wait()

    def check(self, load: LoadProfile | None = None) -> None:
        """The laws that hold on every path once the load has ended."""
        for name, slot in self.by_name.items():
            assert slot.open == 0, f"step {name}: {slot.due} due, {slot.done}"
        whole = self.all
        unfired = sum(whole.done.get(outcome, 0) for outcome in (Outcome.SHED, Outcome.LATE, Outcome.SPENT))
        assert whole.lag.total == whole.wait.total == whole.due - unfired
        assert whole.ok.total == whole.adjusted.total == whole.done.get(Outcome.OK, 0)
        assert whole.failed.total == whole.due - unfired - whole.ok.total
        assert self.journeys == sum(self.by_name.get(name, Slot()).due for name in _firsts(load)) or _repeats(load)
        assert Counter(frame.last for frame in self.frames)[True] == len({frame.worker for frame in self.frames})
        for worker in {frame.worker for frame in self.frames}:
            mine = [frame for frame in self.frames if frame.worker == worker]
            assert [frame.seq for frame in mine] == list(range(len(mine)))
            untils = [frame.until_us for frame in mine]
            assert untils == sorted(untils)
            for earlier, later in pairwise(mine):
                # What is measured beside the hits may belong to an earlier time: a write that turns out to be lost.
                born = [number for (number, name), slot in later.slots.items() if slot.due and name < SERIES]
                assert all((number + 1) * 100_000 >= earlier.until_us for number in born)


def _firsts(load: LoadProfile | None) -> list[int]:
    """The name index of each scenario's first step."""
    lengths = [len(scenario.steps) for scenario in load.scenarios] if load else [1]
    return [sum(lengths[:nth]) for nth in range(len(lengths))]


def _repeats(load: LoadProfile | None) -> bool:
    """Whether a first step may be due several times a journey."""
    return load is not None and any(scenario.steps[0].again for scenario in load.scenarios)


class Pipe:
    """A worker's stdout that is read at once, into books; `waiting` bytes seem unread all the same."""

    def __init__(self, books: Books, commands: asyncio.StreamReader, waiting: int = 0) -> None:
        self.books = books
        self.commands = commands
        self.waiting = waiting

    def say(self, message: dict[str, object]) -> None:
        if "note" in message:
            self.books.notes.append(message["note"])  # type: ignore[arg-type]
            return
        if "note" in message:
            self.books.notes.append(message["note"])  # type: ignore[arg-type]
            return
        assert message == {"ready": True}
        epoch = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 20_000_000
        self.commands.feed_data(json.dumps({"epoch": epoch}).encode() + b"\n")

    def send(self, line: bytes) -> None:
        self.books.frame(from_json(json.loads(line)["frame"]))

    async def close(self) -> None:
        pass


async def work(
    load: LoadProfile,
    entry: str,
    *,
    until: Callable[[Books], bool] | None = None,
    longest_s: float = DEADLINE_S,
    **orders: object,
) -> Books:
    """Run one worker inside this process until a condition (or its end) and check its books.

    `steer` among the orders: (condition, factor), each sent once its condition is true, to take effect at once;
    `waiting`: bytes that seem not to have been heard of it.
    """
    books = Books()
    commands = asyncio.StreamReader()
    steerings: list[tuple[Callable[[Books], bool], float]] = orders.pop("steer", [])  # type: ignore[assignment]
    unheard: int = orders.pop("waiting", 0)  # type: ignore[assignment]
    given = Orders(profile=load, entry=entry, longest_s=longest_s, **{"shard": 0, "of": 1, "seed": 1, **orders})  # type: ignore[arg-type]
    worker = Worker(given, commands, Pipe(books, commands, unheard))  # type: ignore[arg-type]
    async with asyncio.timeout(DEADLINE_S):
        running = asyncio.create_task(worker.run())
        for condition, factor in steerings:
            await books.until(condition)
            at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            commands.feed_data(json.dumps({"steer": factor, "at": at}).encode() + b"\n")
        if until is not None:
            waiting = asyncio.create_task(books.until(until))
            await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            commands.feed_data(b'{"stop": true}\n')
        await running
    books.check(load)
    return books


def finished(hits: int) -> Callable[[Books], bool]:
    """As many hits have their outcome."""
    return lambda books: books.all.finished >= hits


class BootClock:
    """The real clock."""

    def now(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass
class Keys(Tools):
    """Knows the values of secrets."""

    values: dict[str, str] = field(default_factory=dict)

    def reveal(self, secret: Secret) -> str:
        text = secret.template
        for reference, value in self.values.items():
            text = text.replace(reference, value)
        return text


@asynccontextmanager
async def playing(driver: object, books: Books) -> AsyncIterator[asyncio.Task[None]]:
    """A driver that runs while the body does, is stopped after it, and leaves no process behind."""
    running = asyncio.create_task(driver.run(books.report))  # type: ignore[attr-defined]
    try:
        yield running
    finally:
        driver.stop()  # type: ignore[attr-defined]
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(running, return_exceptions=True)
    assert driver.pids() == frozenset()  # type: ignore[attr-defined]
