"""A message to everyone: how long it took to each socket, and who did not get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaosrunner.load.act import OpenHit
    from chaosrunner.load.ledger import Ledger
    from chaosrunner.load.websocket.acts import Sent
    from chaosrunner.load.websocket.session import Session

NAMED = 100
"""Sockets that a note names, at most."""


class Broadcast:
    """One of them under way. Sender and receivers are in one process: one clock."""

    __slots__ = ("_act", "_audience", "_begun_ns", "_ledger", "_missing", "hit")

    def __init__(self, hit: OpenHit, act: Sent, audience: Iterable[Session], ledger: Ledger, now_ns: int) -> None:
        self.hit = hit
        self._act = act
        self._ledger = ledger
        self._begun_ns = now_ns
        self._missing = dict.fromkeys(audience)
        self._audience = len(self._missing)

    def reached(self, session: Session, now_ns: int) -> bool:
        """It has arrived at a socket; whether it has arrived at all of them now."""
        if session in self._missing:
            del self._missing[session]
            self._ledger.observe(self._act.received, now_ns, (now_ns - self._begun_ns) // 1000)
            self.hit.first_ns = self.hit.first_ns or now_ns
        return not self._missing

    def left(self, session: Session) -> bool:
        """A socket has left on its own account and needs it no more; whether all others have it."""
        self._missing.pop(session, None)
        return not self._missing

    def give_up(self, now_ns: int, *, in_time: bool) -> None:
        """Whoever does not have it now never got it, unless there still was time."""
        outcome = Outcome.UNFINISHED if in_time else Outcome.LOST
        for _ in self._missing:
            self._ledger.observe(self._act.received, now_ns, (now_ns - self._begun_ns) // 1000, outcome)
        if not in_time:
            self._ledger.note(
                "websocket.incomplete",
                step=self._act.step.name,
                sockets=self._audience,
                missing=len(self._missing),
                who=[f"{session.of.step.name} {session.who}" for session in list(self._missing)[:NAMED]],
            )
