"""An OPEN made ready: where it goes, what it asks, and the books of all sockets that it opens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chaosrunner.load.http.script import ready
from chaosrunner.load.template import json_path, names_in
from chaosrunner.load.websocket.dialing import Place
from chaosrunner.load.websocket.link import Is
from chaosrunner.load.websocket.session import Session
from chaosrunner.load.websocket.texts import LAST, text_of
from chaosrunner.model.http_step import Request
from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from chaosrunner.load.act import OpenHit, Setting
    from chaosrunner.load.http.pool import Address
    from chaosrunner.load.template import Variables
    from chaosrunner.load.websocket.dialing import Dialing
    from chaosrunner.load.websocket.sockets import Sockets
    from chaosrunner.model.websocket_step import Open

_OPEN = Is.OPEN  # bound once: it is on the hot path


class Opened:
    """Opens a socket; the act of an OPEN step."""

    def __init__(self, step: Open, setting: Setting, sockets: Sockets, index: int) -> None:
        self.step = step
        self.sockets = sockets
        self.index = index
        """Which OPEN of the load it is."""
        self.timeout_s = sockets.timeout_s if step.timeout_s is None else step.timeout_s
        self.awaited = False
        """Whether any step awaits messages on its sockets."""
        self.reconnects: list[int] = []
        """When each attempt to reconnect was made."""
        self.most = 0
        """Its most sockets open at once."""
        self._now = 0
        self.numbered = None if step.numbered is None else json_path(step.numbered)
        self.resumed = None if step.resumed is None else json_path(step.resumed)
        self.say = None if step.say is None else text_of(step.say)
        known = replace(setting, known=setting.known | {LAST})
        if missing := names_in(step.say) - known.known:
            raise ValueError(f"nothing known as <{min(missing)}> when it is sent")
        request = Request(name=step.name, method="GET", path=_as_http(step.path), headers=step.headers)
        compiled = ready(request, sockets.entry, known)
        self._message = compiled.message
        self.origin = compiled.origin
        self.place = Place(origin=compiled.origin, addresses=(), tls=None, slow=step.reads_per_s is not None)
        self.room = sockets.room(compiled.origin, step.path)
        """All sockets that are open now and went to the same place, also those of other steps."""
        self._series = {series.rpartition(".")[2]: sockets.series(series) for series in step.series}

    @property
    def listens(self) -> bool:
        """Whether its sockets look at messages that answer nothing."""
        return self.awaited or self.numbered is not None or self.resumed is not None

    def found(self, addresses: Sequence[Address], tls: ssl.SSLContext | None, server_name: str) -> None:
        """Where its origin is, and how to speak TLS with it."""
        self.place = replace(self.place, addresses=addresses, tls=tls, server_name=server_name)

    def request(self, variables: Variables) -> tuple[str, list[tuple[str, str]]]:
        """Path and headers of an upgrade."""
        message = self._message(variables)
        # The library's URL parser takes what follows a ';' for something else and drops it.
        return message.path.replace(";", "%3B"), [(name, _one_line(text)) for name, text in message.headers]

    # --- its act

    def begin(self, hit: OpenHit) -> None:
        """Open a socket for the hit's journey."""
        session = Session(self, hit.journey)
        hit.journey.hold(session)
        session.open(hit)

    def cancel(self, hit: OpenHit) -> Outcome:
        """The attempt is given up."""
        return self.session(hit).cancel(hit)

    def session(self, hit: OpenHit) -> Session:
        """The socket of a hit's journey: the latest one of this step that is not gone, else the latest."""
        held = hit.journey.held
        assert held
        latest = held[-1]
        if type(latest) is Session and latest.of is self and latest.link.state is _OPEN:
            return latest
        mine = [thing for thing in held if type(thing) is Session and thing.of is self]
        return next((session for session in reversed(mine) if session.alive), mine[-1])

    # --- its books

    def entered(self, session: Session) -> None:
        """One of its sockets is open."""
        self.room[session] = None
        self._now += 1
        self.most = max(self.most, self._now)

    def left(self, session: Session) -> None:
        """One of its sockets is open no more."""
        if self.room.pop(session, self) is None:
            self._now -= 1

    def book(self, dialing: Dialing, outcome: Outcome, now_ns: int) -> None:
        """An attempt to connect has ended: each part it came to is an observation, the last one its end."""
        ends = [("tcp", dialing.connected_ns), ("upgrade", dialing.opened_ns)]
        if self.origin.tls:
            ends.insert(1, ("tls", dialing.secured_ns))
        begun_ns = dialing.begun_ns
        for part, ended_ns in ends:
            if not ended_ns:
                self.observe(part, now_ns, now_ns - begun_ns, outcome)
                break
            self.observe(part, now_ns, ended_ns - begun_ns)
            begun_ns = ended_ns
        if dialing.status:
            self.count(f"upgrade.{dialing.status}")
        if dialing.tls_why:
            self.count(f"tls.{dialing.tls_why}")

    def observe(self, part: str, at_ns: int, took_ns: int, outcome: Outcome = Outcome.OK) -> None:
        """An observation in one of its series."""
        self.sockets.ledger.observe(self._series[part], at_ns, took_ns // 1000, outcome)

    def count(self, what: str, n: int = 1) -> None:
        """A counter of its own."""
        self.sockets.ledger.count(f"{self.step.name}.{what}", n)

    def note(self, kind: str, **data: object) -> None:
        """A fact about its sockets."""
        self.sockets.ledger.note(kind, step=self.step.name, **data)


def _as_http(path: str) -> str:
    """A ws URL as the http URL that its upgrade is asked of."""
    return f"http{path.removeprefix('ws')}" if path.startswith(("ws://", "wss://")) else path


def _one_line(value: str) -> str:
    """A kept variable must not be able to add a header."""
    return value if value.isprintable() else "".join(char if char.isprintable() else " " for char in value)
