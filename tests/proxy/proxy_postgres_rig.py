"""Postgres messages by hand, a dialect between two lists, and a conversation to say to it."""

from __future__ import annotations

import struct
from random import Random
from typing import TYPE_CHECKING, Any

from chaosrunner.proxy.agenda import Agenda
from chaosrunner.proxy.dialect import Wires
from chaosrunner.proxy.postgres.dialect import PostgresDialect
from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics.stage import End
from chaosrunner.proxy.toxics.toxic import parse_toxic

if TYPE_CHECKING:
    from chaosrunner.proxy.toxics.stage import Item

SSL_REQUEST = struct.pack(">ii", 8, 80877103)
GSS_REQUEST = struct.pack(">ii", 8, 80877104)
CANCEL_REQUEST = struct.pack(">iiii", 16, 80877102, 1, 2)


def message(letter: str, body: bytes = b"") -> bytes:
    """A typed message."""
    return letter.encode() + struct.pack(">i", 4 + len(body)) + body


def startup(**parameters: str) -> bytes:
    """A client's StartupMessage."""
    words = "".join(f"{key}\0{value}\0" for key, value in {"user": "app", **parameters}.items())
    return struct.pack(">ii", 9 + len(words), 3 << 16) + words.encode() + b"\0"


def query(text: str) -> bytes:
    """A simple query."""
    return message("Q", text.encode() + b"\0")


def parse(text: str, name: str = "") -> bytes:
    """Prepare a statement."""
    return message("P", f"{name}\0{text}\0".encode() + bytes(2))


def bind(name: str = "", portal: str = "") -> bytes:
    """Bind a portal to a prepared statement."""
    return message("B", f"{portal}\0{name}\0".encode() + bytes(6))


def execute(portal: str = "", rows: int = 0) -> bytes:
    """Execute a portal, up to so many rows."""
    return message("E", portal.encode() + b"\0" + struct.pack(">i", rows))


def close(name: str) -> bytes:
    """Close a prepared statement."""
    return message("C", b"S" + name.encode() + b"\0")


DESCRIBE = message("D", b"P\0")
SYNC, FLUSH, TERMINATE, COPY_DONE = message("S"), message("H"), message("X"), message("c")
ROWS, ROW = message("T", bytes(2)), message("D", b"\0\1\0\0\0\1x")
PARSED, BOUND, CLOSED, EMPTY, SUSPENDED = (message(letter) for letter in "123Is")
READY = message("Z", b"I")
COPY_IN, COPY_OUT = message("G", bytes(3)), message("H", bytes(3))
AUTHENTICATED = message("R", bytes(4)) + message("S", b"server_version\x0018\0") + message("K", bytes(8)) + READY


def complete(tag: str = "SELECT 1") -> bytes:
    """What the server says when a statement is done."""
    return message("C", tag.encode() + b"\0")


def error(code: str, text: str = "no", severity: str = "ERROR") -> bytes:
    """An error as the server sends it."""
    fields = f"S{severity}\0V{severity}\0C{code}\0M{text}\0Fpostgres.c\0"
    return message("E", fields.encode() + b"\0")


def postgres_toxic(kind: str, more: dict[str, Any] | None = None, **attributes: Any) -> AppliedToxic:
    """A toxic at work, as the API makes it."""
    return AppliedToxic(parse_toxic({"type": kind, "attributes": attributes, **(more or {})}))


class Between:
    """A dialect between a client and a server that are two lists of what arrived there."""

    def __init__(self, *toxics: AppliedToxic, ready: bool = True) -> None:
        self.toxics = list(toxics)
        self.server: list[Item] = []
        self.client: list[Item] = []
        self.tally: dict[str, Any] = {}
        self.reviews = 0
        self.agenda = Agenda()
        self.randoms: dict[AppliedToxic, Random] = {}
        self.dialect = PostgresDialect(
            Wires(
                up=self.server.append,
                down=self.client.append,
                toxics=lambda: self.toxics,
                random=lambda applied: self.randoms.setdefault(applied, Random(applied.toxic.name)),
                review=self._review,
                agenda=self.agenda,
                tally=self.tally,
            )
        )
        if ready:
            self.ask(startup())
            self.answer(AUTHENTICATED)
            self.clear()

    def ask(self, *items: Item) -> None:
        """Have the client send something."""
        for item in items:
            self.dialect.ask(item)

    def answer(self, *items: Item) -> None:
        """Have the server send something."""
        for item in items:
            self.dialect.answer(item)

    def clear(self) -> None:
        """Forget what has arrived."""
        self.server.clear()
        self.client.clear()

    @property
    def to_server(self) -> bytes:
        """The bytes that have arrived at the server."""
        return joined(self.server)

    @property
    def to_client(self) -> bytes:
        """The bytes that have arrived at the client."""
        return joined(self.client)

    def _review(self) -> None:
        self.reviews += 1


def joined(items: list[Item]) -> bytes:
    """All bytes among some items."""
    return b"".join(item for item in items if not isinstance(item, End))
