"""Changes that undo themselves: each may have an end and an owner.

A lease stands for one change to one place (a toxic, or the settings of a proxy) and knows the way back. It is held
here, in the process that carries the harm, so that it ends even if whoever asked for it is gone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from chaosrunner.proxy import decode
from chaosrunner.proxy.agenda import Agenda, Entry
from chaosrunner.proxy.audit import Audit
from chaosrunner.proxy.refusals import RefusedError, bad_value

LONGEST_TTL_S = 7 * 24 * 3600.0
# An undo can only fail for want of the port; ask again until it is there.
RETRY_UNDO_S = 0.5


@dataclass(frozen=True, slots=True)
class Term:
    """For how long, and for whom, a change is made.

    Attributes:
        ttl_s: Seconds from now after which it undoes itself; None never.
        owner: Who made it; None nobody in particular.
    """

    ttl_s: float | None = None
    owner: str | None = None

    @property
    def given(self) -> bool:
        """Whether the change is leased at all."""
        return self.ttl_s is not None or self.owner is not None


@dataclass(frozen=True, slots=True)
class Place:
    """What a lease is about: a toxic of a proxy, or, with no toxic, the proxy's own settings."""

    proxy: str
    toxic: str | None = None


@dataclass(slots=True, eq=False)
class Lease:
    """One open change and its way back.

    Attributes:
        place: What was changed.
        change: What happened, for people.
        term: As it was last given.
        undo: Takes the change back; may raise `RefusedError`, and then is asked again.
        before: Values to go back to, for those who undo by restoring.
        deadline: Monotonic clock, in seconds, at which it ends; None never.
    """

    place: Place
    change: str
    term: Term
    undo: Callable[["Lease"], None]
    before: dict[str, Any] = field(default_factory=dict)
    deadline: float | None = None
    timer: Entry | None = None

    def shown(self) -> dict[str, object]:
        """What is set of the seconds left and the owner."""
        left = None if self.deadline is None else round(max(self.deadline - time.monotonic(), 0.0), 3)
        return {key: value for key, value in (("ttl", left), ("owner", self.term.owner)) if value is not None}

    def as_json(self) -> dict[str, object]:
        """The open change as the owners call shows it."""
        return {"proxy": self.place.proxy, "toxic": self.place.toxic, "change": self.change, **self.shown()}


def parse_term(fields: decode.Fields) -> Term:
    """The `ttl` and `owner` of a request body.

    Raises:
        RefusedError: 400 if the ttl is not above 0 and at most a week, or the owner could not be addressed.
    """
    ttl_s = decode.number(fields, "ttl")
    if ttl_s is not None and not 0 < ttl_s <= LONGEST_TTL_S:
        raise bad_value(f"ttl must be above 0 and at most {LONGEST_TTL_S:.0f} seconds")
    owner = decode.name(fields, "owner") if fields.get("owner") is not None else None
    return Term(None if ttl_s is None else float(ttl_s), owner)


class Leases:
    """All open leases, at most one a place."""

    def __init__(self, audit: Audit, agenda: Agenda) -> None:
        self._open: dict[Place, Lease] = {}
        self._audit = audit
        self._agenda = agenda

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def get(self, place: Place) -> Lease | None:
        """The open lease of that place."""
        return self._open.get(place)

    def guard(self, place: Place, term: Term) -> None:
        """See that a leased change would not fall between another owner's change and its way back.

        Raises:
            RefusedError: 409 if another owner has a lease there.
        """
        lease = self._open.get(place)
        if lease is not None and term.owner is not None and lease.term.owner not in (None, term.owner):
            raise RefusedError(409, f"held by owner {lease.term.owner}: {lease.change}")

    def hold(self, lease: Lease) -> None:
        """Open a lease; its time starts now."""
        self._open[lease.place] = lease
        self.renew(lease, lease.term)

    def renew(self, lease: Lease, term: Term) -> None:
        """Start its time anew, with what `term` gives; what it does not give stays."""
        owner = term.owner if term.owner is not None else lease.term.owner
        ttl_s = term.ttl_s if term.ttl_s is not None else lease.term.ttl_s
        lease.term = Term(ttl_s, owner)
        if term.ttl_s is not None:
            lease.deadline = time.monotonic() + term.ttl_s
            self._wake(lease, term.ttl_s)

    def forget(self, place: Place) -> None:
        """Drop the lease of that place: the change stays, or is gone already."""
        lease = self._open.pop(place, None)
        if lease is not None and lease.timer is not None:
            lease.timer.cancel()

    def forget_proxy(self, proxy: str) -> None:
        """Drop every lease about that proxy or a toxic of it."""
        for place in [place for place in self._open if place.proxy == proxy]:
            self.forget(place)

    def owners(self) -> dict[str, list[dict[str, object]]]:
        """Owner to their open changes, oldest first."""
        found: dict[str, list[dict[str, object]]] = {}
        for lease in self._open.values():
            if lease.term.owner is not None:
                found.setdefault(lease.term.owner, []).append(lease.as_json())
        return found

    def end_owner(self, owner: str) -> list[dict[str, object]]:
        """Undo all changes of an owner now, newest first; what was undone.

        Raises:
            RefusedError: 500 if some could not be undone; they are tried again until they are.
        """
        leases = [lease for lease in reversed(self._open.values()) if lease.term.owner == owner]
        shown = [(lease, lease.as_json()) for lease in leases]
        undone = [entry for lease, entry in shown if self._end(lease, "undone for its owner")]
        if len(undone) < len(leases):
            raise RefusedError(
                500, f"{len(leases) - len(undone)} of {len(leases)} changes not undone yet, trying again"
            )
        return undone

    def close(self) -> None:
        """Drop all leases: what they were about is going away."""
        for place in list(self._open):
            self.forget(place)

    def _expire(self, lease: Lease) -> None:
        self._end(lease, "ttl ended")

    def _end(self, lease: Lease, why: str) -> bool:
        try:
            lease.undo(lease)
        except RefusedError as refusal:
            self._audit.error("undo failed, trying again", reason=refusal.sentence, **_named(lease))
            self._wake(lease, RETRY_UNDO_S)
            return False
        self.forget(lease.place)
        self._audit.info(why, change=lease.change, **_named(lease))
        return True

    def _wake(self, lease: Lease, delay_s: float) -> None:
        if lease.timer is not None:
            lease.timer.cancel()
        lease.timer = self._agenda.at(time.monotonic() + delay_s, partial(self._expire, lease))


def _named(lease: Lease) -> dict[str, object]:
    return {"proxy": lease.place.proxy, "toxic": lease.place.toxic, "owner": lease.term.owner}
