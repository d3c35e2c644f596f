"""Changes that undo themselves: each may have an end and an owner.

A lease stands for one change to one place (a toxic, or the settings of a proxy) and knows the way back. It is held
here, in the process that carries the harm, so that it ends even if whoever asked for it is gone.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

from chaosrunner.proxy import decode
from chaosrunner.proxy.agenda import Agenda, Entry
from chaosrunner.proxy.audit import Audit
from chaosrunner.proxy.refusals import RefusedError, bad_value

LONGEST_TTL_S = 7 * 24 * 3600.0
# An undo can only fail for want of the port; ask again until it is there.
RETRY_UNDO_S = 0.5
# Changes that were made by one call end within this time of each other, and then as one.
TOGETHER_S = 0.001


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
        field: Which setting or attribute of it; "" if it was made by the change.
        change: What happened, for people.
        term: As it was last given.
        undo: Takes changes to one place back that end together; may raise `RefusedError`, and then is asked again.
        before: The value to go back to, for those who undo by restoring.
        deadline: Monotonic clock, in seconds, at which it ends; None never.
    """

    place: Place
    field: str
    change: str
    term: Term
    undo: Callable[[Sequence["Lease"]], None]
    before: Any = None
    deadline: float | None = None
    timer: Entry | None = None

    def shown(self) -> dict[str, object]:
        """What is set of the seconds left and the owner."""
        left = None if self.deadline is None else round(max(self.deadline - time.monotonic(), 0.0), 3)
        return {key: value for key, value in (("ttl", left), ("owner", self.term.owner)) if value is not None}

    def as_json(self) -> dict[str, object]:
        """The open change as the owners call shows it."""
        field = {"field": self.field} if self.field else {}
        place = {"proxy": self.place.proxy, "toxic": self.place.toxic}
        return {**place, "change": self.change, **field, **self.shown()}


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
    """All open leases, at most one for each field of a place."""

    def __init__(self, audit: Audit, agenda: Agenda) -> None:
        self._open: dict[tuple[Place, str], Lease] = {}
        self._audit = audit
        self._agenda = agenda

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def get(self, place: Place, field: str) -> Lease | None:
        """The open lease of that field."""
        return self._open.get((place, field))

    def at(self, place: Place) -> list[Lease]:
        """The open leases of that place, oldest first."""
        return [lease for lease in self._open.values() if lease.place == place]

    def next_at(self, place: Place) -> Lease | None:
        """The one of that place that ends first."""
        return min(self.at(place), key=lambda lease: inf if lease.deadline is None else lease.deadline, default=None)

    def guard(self, place: Place, fields: Collection[str], term: Term) -> None:
        """See that a leased change would not fall between another owner's change and its way back.

        Raises:
            RefusedError: 409 if another owner has a lease of one of the fields, or of the place itself.
        """
        for lease in self.at(place) if term.given else ():
            meant = not fields or not lease.field or lease.field in fields
            if meant and lease.term.owner not in (None, term.owner):
                raise RefusedError(409, f"held by owner {lease.term.owner}: {lease.change}")

    def hold(self, lease: Lease) -> None:
        """Open a lease; its time starts now."""
        self._open[lease.place, lease.field] = lease
        self.renew(lease, lease.term)

    def renew(self, lease: Lease, term: Term) -> None:
        """Start its time anew, with what `term` gives; what it does not give stays."""
        owner = term.owner if term.owner is not None else lease.term.owner
        ttl_s = term.ttl_s if term.ttl_s is not None else lease.term.ttl_s
        lease.term = Term(ttl_s, owner)
        if term.ttl_s is not None:
            lease.deadline = time.monotonic() + term.ttl_s
            self._wake(lease, lease.deadline)

    def forget(self, place: Place, fields: Collection[str] | None = None) -> None:
        """Drop the leases of those fields of a place, or all of its: the changes stay, or are gone already."""
        for lease in self.at(place):
            if fields is None or lease.field in fields:
                self._drop(lease)

    def forget_changes(self) -> None:
        """Drop every lease but those of proxies that were made for a time."""
        for lease in list(self._open.values()):
            if lease.field or lease.place.toxic is not None:
                self._drop(lease)

    def forget_proxy(self, proxy: str) -> None:
        """Drop every lease about that proxy or a toxic of it."""
        for lease in list(self._open.values()):
            if lease.place.proxy == proxy:
                self._drop(lease)

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
        shown = {lease: lease.as_json() for lease in leases}
        undone: list[dict[str, object]] = []
        while leases:
            together = [lease for lease in leases if _go_together(lease, leases[0])]
            leases = [lease for lease in leases if lease not in together]
            if self._end(together, "undone for its owner"):
                undone += [shown[lease] for lease in together]
        if len(undone) < len(shown):
            raise RefusedError(500, f"{len(shown) - len(undone)} of {len(shown)} changes not undone yet, trying again")
        return undone

    def close(self) -> None:
        """Drop all leases: what they were about is going away."""
        for lease in list(self._open.values()):
            self._drop(lease)

    def _expire(self, lease: Lease) -> None:
        soon = time.monotonic() + TOGETHER_S
        due = [each for each in self._open.values() if each.deadline is not None and each.deadline <= soon]
        self._end([each for each in due if _go_together(each, lease)], "ttl ended")

    def _end(self, leases: Sequence[Lease], why: str) -> bool:
        """Undo changes to one place that are undone alike, as one."""
        still = [lease for lease in leases if self.get(lease.place, lease.field) is lease]
        try:
            if still:
                still[0].undo(still)
        except RefusedError as refusal:
            self._audit.error("undo failed, trying again", reason=refusal.sentence, **_named(still[0]))
            for lease in still:
                lease.deadline = time.monotonic()  # their time is over, however it ended
                self._wake(lease, lease.deadline + RETRY_UNDO_S)
            return False
        for lease in still:
            self._drop(lease)
            self._audit.info(why, change=lease.change, **_named(lease))
        return True

    def _drop(self, lease: Lease) -> None:
        if self.get(lease.place, lease.field) is lease:
            del self._open[lease.place, lease.field]
        if lease.timer is not None:
            lease.timer.cancel()

    def _wake(self, lease: Lease, at_s: float) -> None:
        if lease.timer is not None:
            lease.timer.cancel()
        lease.timer = self._agenda.at(at_s, partial(self._expire, lease))


def _go_together(one: Lease, other: Lease) -> bool:
    """Whether two changes are undone as one, if at the same time."""
    return one.place == other.place and one.undo == other.undo


def _named(lease: Lease) -> dict[str, object]:
    return {"proxy": lease.place.proxy, "toxic": lease.place.toxic, "owner": lease.term.owner}
