"""One socket of one journey, over all its connections: who waits for what on it, and what its messages say."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from chaosrunner.load.websocket.link import Is, Link
from chaosrunner.load.websocket.numbering import Numbering
from chaosrunner.load.websocket.pattern import parsed
from chaosrunner.load.websocket.texts import DIGITS, LAST, flag_at, number_at
from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaosrunner.load.act import OpenHit
    from chaosrunner.load.journey import Journey
    from chaosrunner.load.websocket.acts import Awaited, Sent
    from chaosrunner.load.websocket.opened import Opened
    from chaosrunner.load.websocket.texts import Judge

_OK = Outcome.OK

UNREAD = 100
"""Messages nobody asked for that a later AWAIT may still find, the latest ones."""

LOST_BOOKED = 1_000
"""Of a larger gap no more than this becomes observations; the counter `lost` has all of it."""

REFUSE_S = 0.1
"""A socket that is gone refuses after this long: a repeated step must not become a flood of failures."""


class Session:
    """A socket, held by its journey."""

    def __init__(self, opened: Opened, journey: Journey) -> None:
        self.of = opened
        self.journey = journey
        self.who = journey.who
        self.link = Link(opened, self)
        self.numbering = Numbering() if opened.numbered is not None else None
        self._opening: OpenHit | None = None
        self._closing: OpenHit | None = None
        self.pending: dict[str, OpenHit] = {}
        """Digits of an id → the hit that waits for it."""
        self._queue: dict[OpenHit, Callable[[], None]] = {}
        """What is to be sent once it is open again."""
        self._awaiting: dict[OpenHit, Awaited] = {}
        self._unread: deque[object] = deque(maxlen=UNREAD)
        self._number_ns = 0
        """When the latest numbered message came."""
        self._away_ns = 0
        """When the connection was lost that is away."""
        self._useless_ns = 0
        """When the first connection was lost since the latest useful message; 0: none was."""
        self._wonders = False
        """Whether it is still to be learned if the session went on after a reconnect."""
        self._sockets = opened.sockets
        self._mark = opened.sockets.ids.mark
        self._listens = opened.listens

    @property
    def alive(self) -> bool:
        """Whether anything can still be asked on it, now or later."""
        return self.link.state in (Is.NEW, Is.OPEN, Is.AWAY)

    # --- opening and closing

    def open(self, hit: OpenHit) -> None:
        """Connect for the first time, once there is room."""
        self._opening = hit
        self._sockets.admit(self)

    def say_goodbye(self, hit: OpenHit, code: int) -> None:
        """Close; the hit ends with the peer's answer."""
        if self.link.state is not Is.OPEN:
            self.refuse(hit)
            return
        self._closing = hit
        self.link.close(code)
        hit.sent_ns = time.monotonic_ns()

    def close(self) -> None:
        """Its journey is over."""
        self._end(Outcome.UNFINISHED)

    def finish(self) -> None:
        """The load is over: what has not come back by now never was seen to."""
        self._unreturned(Outcome.UNFINISHED, time.monotonic_ns())
        self._end(Outcome.UNFINISHED)

    def cancel(self, hit: OpenHit) -> Outcome:
        """Forget a hit, whatever it waits for."""
        now_ns = time.monotonic_ns()
        in_time = now_ns - hit.due_ns < timeout_ns(hit)
        outcome = Outcome.TIMEOUT if hit.sent_ns else Outcome.CONNECT
        self._queue.pop(hit, None)
        self._awaiting.pop(hit, None)
        for digits in [digits for digits, mine in self.pending.items() if mine is hit]:
            del self.pending[digits]
        if hit is self._closing:
            self._closing = None
        if hit is self._opening:
            dialing = self.link.dialing
            outcome = dialing.given_up(tls=self.of.origin.tls) if dialing is not None else Outcome.CONNECT
            self._opening = None
            self._end(Outcome.UNFINISHED if in_time else outcome)
        if in_time:  # it is the load that is over
            self._unreturned(Outcome.UNFINISHED, now_ns)
        return outcome

    def _end(self, outcome: Outcome) -> None:
        """Nobody uses it any more; an attempt to connect that is under way has ended like that."""
        if self.link.state is Is.GONE:
            return
        self.of.left(self)
        self.link.leave(outcome)
        self._settle_numbers(time.monotonic_ns())
        self._sockets.left(self)
        self._sockets.dismiss(self)

    # --- what acts ask

    def send(self, hit: OpenHit, text: str, digits: str) -> None:
        """Send a message, or have it sent once the connection is there again; without digits it has no answer."""
        if self.link.state is Is.OPEN:
            self._send(hit, text, digits)
        elif self.link.state is Is.AWAY:
            self._queue[hit] = lambda: self._send(hit, text, digits)
        else:
            self.refuse(hit)

    def send_to_everyone(self, hit: OpenHit, text: str, digits: str, act: Sent) -> None:
        """Send a message that must arrive at every socket that is open at the same place."""
        if self.link.state is not Is.OPEN:
            self.refuse(hit)
            return
        self._sockets.broadcast(hit, digits, act, self.of)
        hit.sent_ns = time.monotonic_ns()
        self.link.write(text)

    def wait(self, hit: OpenHit, act: Awaited) -> None:
        """Wait for a message, or for the end of the connection; what came unasked since the step before counts."""
        now_ns = time.monotonic_ns()
        hit.sent_ns = now_ns if self.link.state is Is.OPEN else 0
        if act.close is not None:
            if self.link.state is Is.GONE and self.link.code is not None:
                hit.end(act.closed(self.link.code), now_ns)
                return
        else:
            for message in list(self._unread):
                self._unread.popleft()
                if act.judge.contained(message, self.journey.variables):
                    hit.sent_ns = hit.sent_ns or now_ns
                    hit.end(act.judge.verdict(message, hit.journey.variables), now_ns)
                    return
        if self.link.state in (Is.OPEN, Is.AWAY):
            self._awaiting[hit] = act
        else:
            self.refuse(hit)

    def refuse(self, hit: OpenHit) -> None:
        """The socket is gone, and nothing can be asked on it."""
        asyncio.get_running_loop().call_later(REFUSE_S, self._refuse, hit)

    def _refuse(self, hit: OpenHit) -> None:
        if not hit.over:
            outcome = self.link.outcome
            hit.end(Outcome.CLOSED if outcome in (None, Outcome.OK) else outcome, time.monotonic_ns())

    def _send(self, hit: OpenHit, text: str, digits: str) -> None:
        if digits:
            self.pending[digits] = hit
        self.link.write(text)
        hit.sent_ns = time.monotonic_ns()
        if not digits:
            hit.end(Outcome.OK, hit.sent_ns)

    # --- what its link tells

    def request(self) -> tuple[str, list[tuple[str, str]]]:
        """Path and headers of the next attempt."""
        return self.of.request(self._variables())

    def up(self, now_ns: int) -> None:
        """It is open."""
        self.of.entered(self)
        if self._away_ns:
            self.of.observe("reopened", now_ns, now_ns - self._away_ns)
            self._away_ns = 0
            self._wonders = True
            if self.numbering is not None:
                self.numbering.reopened()
        if self.of.say is not None:
            self.link.write(self.of.say(self._variables(), ""))
        queue, self._queue = self._queue, {}
        for hit, send in queue.items():
            hit.connected_ns = now_ns
            send()
        opening, self._opening = self._opening, None
        if opening is not None:
            dialing = self.link.dialing
            assert dialing is not None
            opening.connected_ns, opening.sent_ns, opening.first_ns = dialing.connected_ns, dialing.secured_ns, now_ns
            opening.end(Outcome.OK, now_ns)

    def down(self, outcome: Outcome, code: int, now_ns: int) -> None:
        """The connection was lost, or closed as a CLOSE wished."""
        self.of.left(self)
        waiting = self._answerless(code)
        closing, self._closing = self._closing, None
        if closing is not None:
            waiting[closing] = Outcome.OK if outcome is Outcome.CLOSED else outcome
        if self.link.state is Is.AWAY:
            self._away_ns = now_ns
            self._useless_ns = self._useless_ns or now_ns
        elif closing is None:
            self._unreturned(outcome, now_ns)
        self._release(waiting, outcome, now_ns)

    def failed(self, outcome: Outcome, now_ns: int) -> None:
        """It could not be opened, and nobody tries any more."""
        waiting: dict[OpenHit, Outcome | None] = dict.fromkeys(self._queue)
        self._queue.clear()
        hit, self._opening = self._opening, None
        if hit is not None:
            dialing = self.link.dialing
            assert dialing is not None
            hit.connected_ns, hit.sent_ns = dialing.connected_ns, dialing.secured_ns
            waiting[hit] = outcome
        self._unreturned(outcome, now_ns)
        self._release(waiting, outcome, now_ns)

    def _release(self, waiting: dict[OpenHit, Outcome | None], outcome: Outcome, now_ns: int) -> None:
        """End hits, with their own outcome or the connection's; of one that is gone, those that await messages, too."""
        if self.link.state is Is.GONE:
            waiting.update(dict.fromkeys(self._awaiting))
            self._awaiting.clear()
            self._settle_numbers(now_ns)
            self._sockets.dismiss(self)
        for hit, its_own in waiting.items():
            hit.end(its_own or outcome, now_ns)

    def _answerless(self, code: int) -> dict[OpenHit, Outcome | None]:
        """The hits that the end of a connection ends, with their own outcome if they have one."""
        waiting: dict[OpenHit, Outcome | None] = dict.fromkeys(self.pending.values())
        self.pending.clear()
        for hit, act in list(self._awaiting.items()):
            if act.close is not None:
                waiting[hit] = act.closed(code)
                del self._awaiting[hit]
        return waiting

    def _unreturned(self, outcome: Outcome, now_ns: int) -> None:
        if self._away_ns:
            self.of.observe("reopened", now_ns, now_ns - self._away_ns, outcome)
        if self._useless_ns:
            self.of.observe("useful", now_ns, now_ns - self._useless_ns, outcome)
        self._away_ns = self._useless_ns = 0

    # --- messages

    def message(self, text: str, now_ns: int) -> None:
        """A message: an answer, a broadcast, or one that the target sends by itself."""
        if self._useless_ns and self.numbering is None:
            self._useful(now_ns)
        pending = self.pending
        if pending or self._sockets.broadcasts:
            at = text.find(self._mark)
            while at >= 0:
                digits = text[at : at + DIGITS]
                hit = pending.get(digits)
                if hit is None:
                    self._sockets.received(digits, self, now_ns)
                else:
                    judge = hit.act.judge  # type: ignore[attr-defined]
                    outcome = _OK if judge.trivial else self._verdict(judge, hit, digits, text)
                    if outcome is not None:
                        del pending[digits]
                        hit.first_ns = now_ns
                        if self.of.numbered is not None:
                            self._count_on(parsed(text), now_ns)
                        hit.road.ended(hit, outcome, now_ns)
                        return
                at = text.find(self._mark, at + DIGITS)
        if self._listens:
            self._unasked(parsed(text), now_ns)

    @staticmethod
    def _verdict(judge: Judge, hit: OpenHit, digits: str, text: str) -> Outcome | None:
        """A message carries the id of a hit: what it means as its answer; None when it is not that."""
        message = parsed(text)
        return judge.verdict(message, hit.journey.variables) if judge.answers(message, digits) else None

    def _unasked(self, message: object, now_ns: int) -> None:
        if self._wonders and self.of.resumed is not None:
            flag = flag_at(message, self.of.resumed)
            if flag is not None:
                self._came_back(resumed=flag)
        self._count_on(message, now_ns)
        for hit, act in self._awaiting.items():
            if act.close is None and act.judge.contained(message, self.journey.variables):
                del self._awaiting[hit]
                self._unread.clear()  # it has passed them by
                hit.sent_ns, hit.first_ns = hit.sent_ns or now_ns, now_ns
                hit.end(act.judge.verdict(message, hit.journey.variables), now_ns)
                return
        if self.of.awaited:
            self._unread.append(message)

    def _count_on(self, message: object, now_ns: int) -> None:
        """Take the number of a message that has one."""
        number = None if self.of.numbered is None else number_at(message, self.of.numbered)
        if number is None or self.numbering is None:
            return
        if self._useless_ns:
            self._useful(now_ns)
        outcome, went_on = self.numbering.came(number, now_ns)
        if went_on is not None and self._wonders and self.of.resumed is None:
            self._came_back(resumed=went_on)
        self._book_lost(self.numbering.take_lost(), now_ns)
        gap_ns, self._number_ns = now_ns - (self._number_ns or now_ns), now_ns
        self.of.observe("numbered", now_ns, gap_ns, outcome)

    def _came_back(self, *, resumed: bool) -> None:
        self._wonders = False
        self.of.count("resumed" if resumed else "fresh")

    def _useful(self, now_ns: int) -> None:
        self.of.observe("useful", now_ns, now_ns - self._useless_ns)
        self._useless_ns = 0

    def _settle_numbers(self, now_ns: int) -> None:
        """No more will come: what is missing is lost."""
        if self.numbering is not None:
            self._book_lost(self.numbering.take_lost(all_missing=True), now_ns)

    def _book_lost(self, lost: int, now_ns: int) -> None:
        if lost:
            self.of.count("lost", lost)
        for _ in range(min(lost, LOST_BOOKED)):
            self.of.observe("numbered", now_ns, now_ns - self._number_ns, Outcome.LOST)

    def _variables(self) -> dict[str, object]:
        return {**self.journey.variables, LAST: 0 if self.numbering is None else self.numbering.last}


def timeout_ns(hit: OpenHit) -> int:
    """How long a hit may take, counted from its due time."""
    return hit.journey.route.legs[hit.leg].timeout_ns
