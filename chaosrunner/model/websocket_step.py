"""Steps of a journey that speak WebSocket: open, send, await, close.

A socket lives from its OPEN until its CLOSE or the end of its journey. What comes in meanwhile is judged as its OPEN
says; each aspect is a series of its own, named after the step: `chat.numbered`, `chat.silence`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from chaosrunner.model.journey import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """What a client does when it loses its connection."""

    first_s: float = 0.0
    """The pause before the first attempt; without `most_s`, before every one, always the same."""
    most_s: float | None = None
    """Backoff: the k-th pause is drawn evenly from 0 to min(most, first · 2^k) ("full jitter")."""
    attempts: int | None = None
    """After so many failed attempts in a row it gives up; None = never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """How long no message may come on an open connection before it is STALLED; exactly one of both is given."""

    after_s: float | None = None
    medians: float | None = None
    """So many times the median gap between the latest messages."""
    leave: bool = False
    """Whether the client then drops the connection and reconnects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(Action):
    """Open a socket: TCP, TLS, upgrade."""

    kind: Literal["websocket.open"] = "websocket.open"
    path: str
    """Path relative to the system's entry, or an absolute ws(s) or http(s) URL."""
    headers: Mapping[str, str] = field(default_factory=dict)
    say: object = None
    """A message sent each time the socket opens, also again: JSON, or a text as it is. `<last>` is the number of the
    latest numbered message, 0 before the first."""
    numbered: str | None = None
    """JSON path to the number of one-way messages: each is one more than the one before."""
    resumed: str | None = None
    """JSON path by which the target says after a reconnect whether the session goes on (true) or is a fresh one."""
    ping_s: float | None = None
    """Seconds between protocol pings."""
    silent: Silence | None = None
    reconnect: Reconnect | None = None
    """None: a lost connection stays lost."""
    reads_per_s: float | None = None
    """A slow consumer on purpose: it reads so many bytes a second; None = as fast as they come."""

    @property
    def series(self) -> tuple[str, ...]:
        """The three parts of connecting, and whatever else is asked for."""
        asked = {
            "numbered": self.numbered,
            "silence": self.silent,
            "ping": self.ping_s,
            "reopened": self.reconnect,
            "useful": self.reconnect,
        }
        return tuple(f"{self.name}.{part}" for part in ("tcp", "tls", "upgrade", *(k for k, v in asked.items() if v)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Send(Action):
    """Send a message. With `<id>` in it, the message that brings that number back is its answer; else there is none."""

    kind: Literal["websocket.send"] = "websocket.send"
    on: str
    """The OPEN step of its socket."""
    message: object
    """JSON, or a text as it is. `<id>` is a whole number that no other message of the load has."""
    match: str | None = None
    """JSON path to the id in the answer; None = anywhere in it."""
    expect: object = None
    """What the answer must contain: each key of a mapping with that value, and so on inwards; None = anything."""
    keep: Mapping[str, str] = field(default_factory=dict)
    """Variable → JSON path in the answer."""
    everyone: bool = False
    """It must arrive at every socket that is open now to the same path, in the same worker; done when it has."""

    @property
    def series(self) -> tuple[str, ...]:
        """Of a message to everyone: how long it took to each."""
        return (f"{self.name}.received",) if self.everyone else ()

    @property
    def keeps(self) -> tuple[str, ...]:
        """The variables that later steps may use."""
        return tuple(self.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Await(Action):
    """Wait for a message that the target sends by itself, or for it to close."""

    kind: Literal["websocket.await"] = "websocket.await"
    on: str
    message: object = None
    """What the message must contain, as in `Send.expect`; None = any message."""
    close: tuple[int, ...] | None = None
    """It is the end of the connection that is awaited, with one of these codes; empty = any. 1006: without a word."""
    keep: Mapping[str, str] = field(default_factory=dict)

    @property
    def keeps(self) -> tuple[str, ...]:
        """The variables that later steps may use."""
        return tuple(self.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Close(Action):
    """Close the socket; done when the target has answered the close."""

    kind: Literal["websocket.close"] = "websocket.close"
    on: str
    code: int = 1000


SocketStep = Open | Send | Await | Close
