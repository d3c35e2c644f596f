"""A connection to a Postgres server, understood statement by statement, so that single ones can be delayed or failed.

Everything passes byte for byte and at once until the server has said for the first time that it is ready, and wherever
no toxic strikes. What is not understood, encrypted for one, passes untouched to the end: the connection is opaque.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from chaosrunner.proxy.dialect import Wires
from chaosrunner.proxy.postgres import framing
from chaosrunner.proxy.postgres.answers import Answers, Asked
from chaosrunner.proxy.postgres.framing import AnswerFraming, AskFraming, Frame, Framing, NotUnderstood, strings
from chaosrunner.proxy.postgres.lane import Lane
from chaosrunner.proxy.postgres.statements import UNKNOWN, Statement, Statements
from chaosrunner.proxy.postgres.strikes import UNTOUCHED, Strikes, error_of, failing, is_ours
from chaosrunner.proxy.toxics.stage import End, Item

_EXECUTING = {framing.QUERY, framing.EXECUTE}
# What is asked without anything to remember about it.
_ASKED = {kind: Asked(kind) for kind in (*b"QPBEDCSFcf", framing.STARTUP)}


class PostgresDialect:
    """One connection's interpreter; see `dialect.Dialect`."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._up = Lane(wires.up, wires.agenda, wires.review)
        self._down = Lane(wires.down, wires.agenda, wires.review)
        self._asks = AskFraming()
        self._answers = AnswerFraming()
        self._line = Answers()
        self._statements = Statements()
        self._strikes = Strikes(wires)
        self._counts = _counters(wires.tally)
        self._ready = False  # the client is authenticated
        self._opaque = False

    @property
    def held_up(self) -> int:
        """Bytes from the client that are held back now."""
        return self._up.held_bytes

    @property
    def held_down(self) -> int:
        """Bytes from the server that are held back now."""
        return self._down.held_bytes

    def ask(self, item: Item) -> None:
        """Take one item from the client: bytes in any cut, or the end of its stream behind them."""
        self._take(item, self._asks, self._up, self._asked)

    def answer(self, item: Item) -> None:
        """Take one item from the server."""
        self._take(item, self._answers, self._down, self._answered)

    def refit(self) -> None:
        """Look at the toxics again: what one that is gone holds back goes on now, in order."""
        for hold in dict.fromkeys((*self._up.holds(), *self._down.holds(), *self._line.holds())):
            self._strikes.redraw(hold)
        self._up.release()
        self._down.release()
        self._wires.review()

    def drop(self) -> None:
        """The connection is over: forget everything, do nothing any more."""
        self._up.drop()
        self._down.drop()

    def _take(self, item: Item, frames: Framing, lane: Lane, act: Callable[[Frame], None]) -> None:
        if item is End.RESET:
            lane.overtake(item)
        elif isinstance(item, End):
            lane.put(frames.flush())
            lane.put(item)
            lane.flush()
        else:
            frames.push(item)
            try:
                while not self._opaque and (frame := frames.next()) is not None:
                    act(frame)
            except NotUnderstood:
                self._give_up()
            if self._opaque:
                lane.put(frames.flush())
            self._up.flush()
            self._down.flush()

    def _give_up(self) -> None:
        """Understand nothing from here on, in either direction."""
        self._opaque = True
        self._counts["opaque"] += 1
        self._up.put(self._asks.flush())
        self._down.put(self._answers.flush())

    def _asked(self, frame: Frame) -> None:
        if frame.kind in _EXECUTING and not self._line.skipping:
            self._executed(frame)
            return
        self._up.put(frame.raw)
        if frame.kind == framing.STARTUP:
            self._started(frame.raw)
        elif frame.kind != framing.PLAIN:
            self._line.ask(self._prepared(frame))

    def _started(self, packet: bytes) -> None:
        code = framing.startup_code(packet)
        if code in {framing.SSL_REQUEST, framing.GSS_REQUEST}:
            self._answers.expect_reply()
        elif code != framing.CANCEL_REQUEST:
            if framing.wants_replication(packet):
                raise NotUnderstood
            self._line.ask(_ASKED[framing.STARTUP])

    def _prepared(self, frame: Frame) -> Asked:
        """Take note of a message that executes nothing by itself."""
        if not self._line.skipping:
            match frame.kind:
                case framing.PARSE:
                    self._statements.parse(*strings(frame.raw, 2))
                case framing.BIND:
                    self._statements.bind(*strings(frame.raw, 2))
                case framing.CLOSE:
                    return self._closing(frame)
        return _ASKED[frame.kind]

    def _closing(self, frame: Frame) -> Asked:
        what = strings(frame.raw, 1)[0]
        closed = self._statements.named(what[1:])
        if not what.startswith(b"S") or closed is None:
            return _ASKED[framing.CLOSE]  # portals: bounded, and replaced by the next of their name
        return Asked(framing.CLOSE, done=partial(self._statements.close, what[1:], closed))

    def _executed(self, frame: Frame) -> None:
        """Let a statement go to the server, or what it gets instead, when its time has come."""
        text = strings(frame.raw, 1)[0]
        statement = self._statements.read(text) if frame.kind == framing.QUERY else self._statements.execute(text)
        if statement is None:
            self._up.put(frame.raw)
            self._line.ask(_ASKED[frame.kind])
            return
        self._count(statement)
        strike = self._strikes.draw(statement.text, frame.size) if self._ready else UNTOUCHED
        raw = frame.raw
        if strike.fail is not None:
            raw = failing(frame.kind)
            self._asks.skip_rest()
        if strike.up is not None:
            strike.up.begins(frame.size)
        self._up.put(raw, strike.up)
        done = partial(self._statements.given_up, statement) if self._statements.gives_up(statement) else None
        plain = strike is UNTOUCHED and done is None
        self._line.ask(_ASKED[frame.kind] if plain else Asked(frame.kind, strike.down, strike.fail, done))

    def _count(self, statement: Statement) -> None:
        self._counts["statements"] += 1
        self._counts["forgotten"] += statement is UNKNOWN
        verbs = self._counts["by_verb"]
        verbs[statement.verb] = verbs.get(statement.verb, 0) + 1

    def _answered(self, frame: Frame) -> None:
        if frame.kind == framing.REPLY:
            self._replied(frame.raw)
            return
        head, raw = self._line.head, frame.raw
        hold = None
        if head is not None:
            hold = head.hold
            if head.fail is not None and frame.kind == framing.ERROR and is_ours(head.kind, frame):
                raw = error_of(head.fail)
                self._counts["failed_by_us"] += 1
        if hold is not None:
            hold.begins(len(raw))
        self._down.put(raw, hold)
        if frame.kind != framing.PLAIN:
            self._line.answered(frame.kind)
        if head is _ASKED[framing.STARTUP] and frame.kind == framing.READY:
            self._ready = True
            self._counts["sessions"] += 1

    def _replied(self, reply: bytes) -> None:
        self._down.put(reply)
        if reply != b"N":  # what follows is encrypted, or nothing that we know
            raise NotUnderstood


def _counters(tally: dict[str, Any]) -> dict[str, Any]:
    """The counters of a proxy, which its connections share."""
    for name in ("sessions", "statements", "failed_by_us", "opaque", "forgotten"):
        tally.setdefault(name, 0)
    tally.setdefault("by_verb", {})
    return tally
