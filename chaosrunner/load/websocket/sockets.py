"""The sockets of a worker: what they share, and what only their end can tell."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from chaosrunner.errors import LoadBroken
from chaosrunner.load.http.driver import room_for
from chaosrunner.load.http.pool import resolve
from chaosrunner.load.http.tls import context
from chaosrunner.load.websocket import herd
from chaosrunner.load.websocket.acts import Awaited, Closed, Sent
from chaosrunner.load.websocket.broadcast import Broadcast
from chaosrunner.load.websocket.line import PARTING_S
from chaosrunner.load.websocket.numbering import LOST_AFTER_NS
from chaosrunner.load.websocket.opened import Opened
from chaosrunner.load.websocket.session import timeout_ns
from chaosrunner.load.websocket.texts import Ids
from chaosrunner.model.http_client import Tls
from chaosrunner.model.http_step import Request
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS
from chaosrunner.model.websocket_step import Await, Close, Open, Send

if TYPE_CHECKING:
    from chaosrunner.load.act import Act, OpenHit, Setting
    from chaosrunner.load.bench import Bench
    from chaosrunner.load.http.pool import Origin
    from chaosrunner.load.websocket.session import Session
    from chaosrunner.model.websocket_step import SocketStep

SECONDS_NOTED = 600
"""Seconds with reconnects that a note lists, at most: the busiest ones."""

LOOK_S = 0.02
"""How often it is looked whether all peers have answered a goodbye."""


class Sockets:
    """All sockets of a worker."""

    def __init__(self, bench: Bench) -> None:
        orders = bench.orders
        self.ledger = bench.ledger
        self.series = bench.series
        self.entry = orders.entry
        self.seed = orders.seed
        self.timeout_s = orders.profile.timeout_s
        self.ids = Ids(orders.seed, orders.shard)
        self.broadcasts: dict[str, Broadcast] = {}
        """Digits of its id → a message to everyone that is under way."""
        self._rooms: dict[tuple[Origin, str], dict[Session, None]] = {}
        self._tls = orders.profile.tls or Tls()
        self._limit = orders.profile.connections
        self._beside_http = any(isinstance(step, Request) for step in orders.profile.steps)
        """Requests may hold as many connections again."""
        self._opens: dict[str, Opened] = {}
        self._sessions: dict[Session, None] = {}
        """Those that have their place among the connections."""
        self._waiting: deque[Session] = deque()
        self._opened = 0

    @property
    def opened(self) -> int:
        """Connections opened so far, ever."""
        return self._opened

    def act(self, step: SocketStep, setting: Setting) -> Act:
        """Make a step ready. Raises ValueError for one that cannot work."""
        if isinstance(step, Open):
            self._opens[step.name] = Opened(step, setting, self, len(self._opens))
            return self._opens[step.name]
        opened = self._opens.get(step.on)
        if opened is None:
            raise ValueError(f"no step before it opens {step.on!r}")
        match step:
            case Send():
                return Sent(step, setting, opened, self)
            case Await():
                return Awaited(step, setting, opened)
            case Close():
                return Closed(step, opened)

    async def ready(self) -> None:
        """Look up the hosts, read the certificates, make room for the sockets."""
        room_for(self._limit * (2 if self._beside_http else 1))
        try:
            tls = context(self._tls) if any(opened.origin.tls for opened in self._opens.values()) else None
        except ValueError as error:
            raise LoadBroken(str(error)) from error
        origins = list(dict.fromkeys(opened.origin for opened in self._opens.values()))
        found = dict(zip(origins, await asyncio.gather(*map(resolve, origins)), strict=True))
        for opened in self._opens.values():
            origin = opened.origin
            opened.found(found[origin], tls if origin.tls else None, self._tls.server_name or origin.host)

    async def settle(self) -> None:
        """Wait for numbered messages that may still come; then say goodbye, and book what is still out."""
        if any(session.numbering is not None and session.numbering.waiting for session in self._sessions):
            await asyncio.sleep(LOST_AFTER_NS / NANOS)
        lines = [session.link.line for session in self._sessions]
        for session in list(self._sessions):
            session.finish()
        for opened in self._opens.values():
            self._note_herd(opened)
        for _ in range(round(PARTING_S / LOOK_S)):
            if all(line is None or line.gone for line in lines):
                break
            await asyncio.sleep(LOOK_S)

    async def close(self) -> None:
        """Close every socket at once."""
        self._waiting.clear()
        for session in list(self._sessions):
            session.link.abort()
        self._sessions.clear()

    # --- what sessions and their steps ask

    def room(self, origin: Origin, path: str) -> dict[Session, None]:
        """The open sockets of one place; to the same path, before its placeholders are filled, goes who is together."""
        return self._rooms.setdefault((origin, path), {})

    def counted(self) -> None:
        """A connection was opened."""
        self._opened += 1

    def admit(self, session: Session) -> None:
        """A session wants to connect: now, or when another one leaves, first come, first served."""
        if len(self._sessions) < self._limit:
            self._sessions[session] = None
            session.link.open()
        else:
            self._waiting.append(session)

    def dismiss(self, session: Session) -> None:
        """A session is over."""
        if session in self._waiting:
            self._waiting.remove(session)
        if self._sessions.pop(session, self) is None and self._waiting:
            self.admit(self._waiting.popleft())

    def broadcast(self, hit: OpenHit, digits: str, act: Sent, opened: Opened) -> None:
        """A message to everyone is about to be sent."""
        self.broadcasts[digits] = Broadcast(hit, act, opened.room, self.ledger, time.monotonic_ns())

    def received(self, digits: str, session: Session, now_ns: int) -> None:
        """A message with the id of no hit of its own has come to a session."""
        broadcast = self.broadcasts.get(digits)
        if broadcast is not None and broadcast.reached(session, now_ns):
            self._complete(digits, now_ns)

    def left(self, session: Session) -> None:
        """A session has ended because its user went: no message to everyone is for it any more."""
        for digits, broadcast in list(self.broadcasts.items()):
            if broadcast.left(session):
                self._complete(digits, time.monotonic_ns())

    def give_up(self, hit: OpenHit) -> None:
        """A message to everyone has no more time."""
        for digits, broadcast in list(self.broadcasts.items()):
            if broadcast.hit is hit:
                del self.broadcasts[digits]
                now_ns = time.monotonic_ns()
                broadcast.give_up(now_ns, in_time=now_ns - hit.due_ns < timeout_ns(hit))

    def _complete(self, digits: str, now_ns: int) -> None:
        broadcast = self.broadcasts.pop(digits, None)
        if broadcast is not None:
            broadcast.hit.end(Outcome.OK, now_ns)

    def _note_herd(self, opened: Opened) -> None:
        """How its reconnects bunched up."""
        attempts = opened.reconnects
        if not attempts:
            return
        lasted_s = (time.monotonic_ns() - self.ledger.epoch_ns) / NANOS
        most = herd.peak(attempts)
        seconds = herd.by_second(attempts, self.ledger.epoch_ns)
        busiest = sorted(seconds, key=lambda second: -seconds[second])[:SECONDS_NOTED]
        opened.note(
            "websocket.herd",
            attempts=len(attempts),
            sockets=opened.most,
            peak_in_1s=most,
            factor=round(herd.factor(most, len(attempts), lasted_s), 2),
            by_second={str(second): seconds[second] for second in sorted(busiest)},
        )
