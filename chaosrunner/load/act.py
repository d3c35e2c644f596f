"""The seam between the firing loop and the protocols: what a step made ready can do, and what it may tell.

A journey's step was compiled to an `Act` before the load began. When a hit is due, the sender hands it to its act and
forgets about it until the act says how it ended (or until its time is up). A protocol keeps what all its acts share,
connections above all, in one `Driver` a worker. Instants are CLOCK_MONOTONIC nanoseconds.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from chaosrunner.load.journey import Journey
    from chaosrunner.model.load import Outcome


class Link(Protocol):
    """What a hit is being answered on, as far as the hit's end may touch it."""

    def abort(self) -> None:
        """Close at once and forget the hit; the connection is lost to its pool."""
        ...


class OpenHit:
    """A hit that was fired and has no outcome yet. On the hot path, hence no dataclass and no properties.

    Its act calls `end` exactly once, unless the sender was faster and called `Act.cancel`. Whoever has ended it does
    not look at it again: the object may be the next hit of its journey by then.
    """

    __slots__ = (
        "act", "booked", "connected_ns", "due_ns", "fired_ns", "first_ns", "is_head", "journey", "keeps_body", "leg",
        "link", "name", "over", "request", "road", "sent_ns",
    )  # fmt: skip

    def __init__(self, road: Ending, journey: Journey, leg: int, due_ns: int, fired_ns: int) -> None:
        step = journey.route.legs[leg]
        self.road = road
        self.act = step.act
        self.name = step.name
        """Index into the profile's names."""
        self.leg = leg
        """Which step of its journey it is."""
        self.journey = journey
        """With its variables: an act reads them, and writes what it keeps."""
        self.due_ns = due_ns
        self.fired_ns = fired_ns
        self.sent_ns = 0
        """When the request was handed to an open connection; 0 as long as it waits for one."""
        self.connected_ns = 0
        """When the connection it waited for was open; 0 if it found an open one."""
        self.first_ns = 0
        """When the first byte of the answer came; 0 if none has."""
        self.link: Link | None = None
        self.booked = False
        """The ledger has written down that it was due."""
        self.over = False
        """Nothing more may happen to it: whoever has it in a queue drops it."""
        # HTTP's own, kept here because a second object a hit costs a tenth of the whole.
        self.request = b""
        self.is_head = False
        self.keeps_body = False

    def turn_to(self, leg: int) -> None:
        """It was OK, and will be a hit of another step of its journey."""
        step = self.journey.route.legs[leg]
        self.act, self.name, self.leg = step.act, step.name, leg

    def end(self, outcome: Outcome, now_ns: int) -> None:
        """It has its outcome."""
        self.road.ended(self, outcome, now_ns)


class Ending(Protocol):
    """Who waits for a hit's outcome."""

    def ended(self, hit: OpenHit, outcome: Outcome, now_ns: int) -> None:
        """A fired hit has its outcome."""
        ...


class Act(Protocol):
    """A step made ready: it does one thing, any number of times, also at once."""

    def begin(self, hit: OpenHit) -> None:
        """Do it now, for this hit; never waits. Stamps `sent_ns` (and, where they are known, `connected_ns` and
        `first_ns`), and ends the hit exactly once, perhaps before this returns.
        """
        ...

    def cancel(self, hit: OpenHit) -> Outcome:
        """Let go of a hit whose time is up or whose load has ended: nothing will be told of it any more.

        Returns what its time was spent on: TIMEOUT, or CONNECT when there was no connection to ask on.
        """
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of a scenario where one of its steps stands."""

    known: frozenset[str]
    """The variables that have a value by then."""
    auth: str | None = None
    """The Authorization header with its secrets revealed and its placeholders still in it."""


class Driver(Protocol):
    """What the acts of one protocol share in one worker."""

    def act(self, step: Any, setting: Setting) -> Act:
        """Make a step ready. Raises ValueError for one that cannot work."""
        ...

    @property
    def opened(self) -> int:
        """Connections opened so far, ever."""
        ...

    async def ready(self) -> None:
        """All that can be done before the epoch.

        Raises:
            LoadBroken: the orders cannot be carried out.
        """
        ...

    async def settle(self) -> None:
        """The last hit has ended: book what only the end can tell, within `SETTLE_S`; then the last frame is cut."""
        ...

    async def close(self) -> None:
        """Close everything at once; called once, also when the load never began."""
        ...


SETTLE_S = 5.0
"""How long a driver may take to settle."""

SHORT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of this host, which has no local port, descriptor or memory left: such a hit ends LOCAL, for it is not the
target's failure."""
