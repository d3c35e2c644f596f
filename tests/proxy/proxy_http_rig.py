"""HTTP traffic to test the proxy's dialect with: messages of every framing, cut anywhere, without a socket."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import strategies as st

from chaosrunner.proxy.dialect import Wires
from chaosrunner.proxy.http.dialect import HttpDialect
from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics.stage import End, Item
from chaosrunner.proxy.toxics.toxic import parse_toxic

METHODS = ("GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "M-SEARCH")
FIELDS = (
    b"Host: there",
    b"X-Empty:",
    b"Accept: a, b;q=0.1",
    b"cookie: \xe4=1",
    b"Date:\t Thu",
    b"Content-Type: text/plain",
)
BODILESS = (204, 304)
PATHS = ("/", "/a/b?c=d", "http://there/x", "*")
INTERIM = (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n")


class StillAgenda:
    """An agenda whose time never comes; it remembers what was entered and not cancelled."""

    def __init__(self) -> None:
        self.entries: dict[StillEntry, None] = {}

    def at(self, due_s: float, todo: Callable[[], None]) -> StillEntry:
        """Enter something to do."""
        entry = StillEntry(self, due_s)
        self.entries[entry] = None
        return entry


class StillEntry:
    """One thing that is never done."""

    def __init__(self, agenda: StillAgenda, due_s: float) -> None:
        self.agenda = agenda
        self.due_s = due_s

    def cancel(self) -> None:
        """Forget it."""
        self.agenda.entries.pop(self, None)


class Bench:
    """A dialect between two lists: what would reach the server, and what would reach the client."""

    def __init__(self, *toxics: dict[str, Any], agenda: Any = None) -> None:
        self.agenda = StillAgenda() if agenda is None else agenda
        self.toxics = [AppliedToxic(parse_toxic({"name": f"t{n}", **toxic})) for n, toxic in enumerate(toxics)]
        self.up: list[Item] = []
        self.down: list[Item] = []
        self.tally: dict[str, Any] = {}
        self.reviews = 0
        randoms: defaultdict[AppliedToxic, Random] = defaultdict(lambda: Random(7))
        self.dialect = HttpDialect(
            Wires(
                up=self.up.append,
                down=self.down.append,
                toxics=lambda: self.toxics,
                random=randoms.__getitem__,
                review=self._review,
                agenda=self.agenda,
                tally=self.tally,
            )
        )

    def _review(self) -> None:
        self.reviews += 1

    def ask(self, *items: Item) -> None:
        """Send items as the client."""
        for item in items:
            self.dialect.ask(item)

    def answer(self, *items: Item) -> None:
        """Send items as the server."""
        for item in items:
            self.dialect.answer(item)

    def change(self, place: int, **fields: Any) -> None:
        """Change a toxic."""
        applied = self.toxics[place]
        applied.toxic = applied.toxic.amended(fields)
        self.dialect.refit()

    def remove(self, *places: int) -> None:
        """Remove toxics, those at these places of the list."""
        self.toxics = [applied for place, applied in enumerate(self.toxics) if place not in places]
        self.dialect.refit()

    @property
    def asked(self) -> bytes:
        """All bytes that reached the server."""
        return joined(self.up)

    @property
    def answered(self) -> bytes:
        """All bytes that reached the client."""
        return joined(self.down)


def joined(items: Iterable[Item]) -> bytes:
    """The bytes among items."""
    return b"".join(item for item in items if isinstance(item, bytes))


def ends(items: Iterable[Item]) -> list[End]:
    """The ends among items."""
    return [item for item in items if isinstance(item, End)]


@dataclass(frozen=True)
class Message:
    """A request or an answer: its head and what follows."""

    head: bytes
    body: bytes = b""

    @property
    def data(self) -> bytes:
        """All of it."""
        return self.head + self.body


@dataclass(frozen=True)
class Talk:
    """A request and all answers to it, interim ones first."""

    method: str
    path: str
    request: Message
    interim: bytes
    status: int
    answer: Message


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` cut at these places, wherever they are within it."""
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(at)]


CUTS = st.lists(st.integers(0, 2**20), max_size=12) | st.just(range(2000))


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    """A chunked body, with extensions and trailers."""
    pieces = []
    for payload in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4)):
        size = draw(st.sampled_from([b"%x", b"%X", b"000%x", b"%x;name=value", b'%x ;q="a"'])) % len(payload)
        pieces += [size, b"\r\n", payload, b"\r\n"]
    trailers = draw(st.sampled_from([b"", b"X-Sum: 1\r\n", b"A: 1\r\nB:\r\n"]))
    return b"".join(pieces) + b"0\r\n" + trailers + b"\r\n"


@st.composite
def message(draw: st.DrawFn, start: bytes, framings: tuple[str, ...]) -> Message:
    """A message with that first line, of one of the framings none, length, chunked, close."""
    newline = draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"]))
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=3))
    body = b""
    match draw(st.sampled_from(framings)):
        case "length":
            body = draw(st.binary(max_size=80))
            spelled = draw(st.sampled_from([b"Content-Length: %d", b"content-length:%d", b"CONTENT-LENGTH: \t%d "]))
            fields.insert(draw(st.integers(0, len(fields))), spelled % len(body))
        case "chunked":
            body = draw(chunked())
            fields.append(draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding: gzip, Chunked"])))
        case "close":
            body = draw(st.binary(max_size=80))
    return Message(newline.join([start, *fields, b"", b""]), body)


@st.composite
def talk(draw: st.DrawFn, paths: tuple[str, ...] = PATHS, last: bool = False) -> Talk:
    """A request and its answers; only the last of a connection may end where the connection does."""
    method, path = draw(st.sampled_from(METHODS)), draw(st.sampled_from(paths))
    before = draw(st.sampled_from([b"", b"", b"", b"\r\n"]))
    request = draw(message(before + f"{method} {path} HTTP/1.1".encode(), ("none", "length", "chunked")))
    status = draw(st.sampled_from([200, 201, 404, 500, *BODILESS]))
    framings = ("length", "chunked", "close") if last else ("length", "chunked")
    bodiless = method == "HEAD" or status in BODILESS
    answer = draw(message(b"HTTP/1.1 %d Well well" % status, framings))
    if bodiless:
        answer = Message(answer.head)
    interim = draw(st.sampled_from([b"", b"", *INTERIM]))
    return Talk(method, path, request, interim, status, answer)


@st.composite
def talks(draw: st.DrawFn, **options: Any) -> list[Talk]:
    """What is said on one connection."""
    return [*draw(st.lists(talk(**options), max_size=4)), draw(talk(last=True, **options))]
