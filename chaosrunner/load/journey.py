"""What the firing loop and whoever begins journeys tell each other: the seam between the open and the closed model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from chaosrunner.logic.feed import NO_DATA, Feed
from chaosrunner.model.journey import Think
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosrunner.load.act import Act, OpenHit
    from chaosrunner.model.journey import Again
    from chaosrunner.model.load import Outcome

LATE_NS = NANOS
"""Further behind than this a hit is not fired any more: the load then would not be the one that was asked for."""


class Held(Protocol):
    """Something that lives as long as a journey."""

    def close(self) -> None:
        """End it; never waits, never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Leg:
    """One step of a scenario, made ready."""

    name: int
    """Index among the profile's names."""
    act: Act
    think: Think
    again: Again | None
    timeout_ns: int
    pause_ns: int | None = field(init=False)
    """Its think time if that is always the same; else None."""
    open: dict[OpenHit, None] = field(init=False, default_factory=dict, compare=False, repr=False)
    """Its hits without an outcome, in the order fired, which is nearly that of their timeouts; the sender's."""

    def __post_init__(self) -> None:
        """Work out what is always the same."""
        object.__setattr__(self, "pause_ns", round(self.think.at_s * NANOS) if self.think.constant else None)


@dataclass(frozen=True, slots=True)
class Route:
    """One scenario, made ready."""

    legs: Sequence[Leg]
    feed: Feed = NO_DATA
    weight: float = 1.0


class Repeats:
    """A step under way that is done more than once."""

    __slots__ = ("begun", "first_ns", "more", "open")

    def __init__(self, first_ns: int) -> None:
        self.first_ns = first_ns
        """When the first of them was due."""
        self.begun = 0
        self.open = 0
        """Begun, and without an outcome."""
        self.more = True
        """Whether another one is due, or will be."""


class Journey:
    """One journey under way. On the hot path, hence no dataclass."""

    __slots__ = (
        "due_ns", "held", "lag_ns", "nth", "paced", "repeats", "route", "source", "spare", "variables",
        "who",
    )  # fmt: skip

    def __init__(self, source: Source, route: Route, who: int, nth: int, due_ns: int) -> None:
        self.source = source
        self.route = route
        self.who = who
        """The arrival's number, or the user's."""
        self.nth = nth
        """How many journeys the same user made before."""
        self.due_ns = due_ns
        self.spare: OpenHit | None = None
        """One of its hits that was OK, to be fired again: making another costs a tenth of what is done for a hit."""
        self.paced = False
        """Whether the next one's turn depends on when this one was due."""
        self.lag_ns = 0
        """How long this process was late with its steps so far, in all; only known if it is paced."""
        self.variables: dict[str, object] = {}
        """What it knows: its row of the data, and what it kept."""
        self.held: list[Held] | None = None
        """What lives as long as it does, such as an open socket; closed in reverse when it is over."""
        self.repeats: Repeats | None = None
        """Of the step under way, when that is done more than once."""

    def hold(self, thing: Held) -> None:
        """Have something closed when the journey is over."""
        if self.held is None:
            self.held = []
        self.held.append(thing)

    def let_go(self) -> None:
        """Close what it holds."""
        held, self.held = self.held, None
        for thing in reversed(held or ()):
            thing.close()


class Road(Protocol):
    """The firing loop, as a source of journeys sees it."""

    def begin(self, journey: Journey) -> None:
        """Fire its first step."""
        ...

    def never(self, route: Route, due_ns: int, outcome: Outcome) -> None:
        """Book a journey that was due and is not begun, with all its steps."""
        ...

    def behind(self) -> None:
        """Count a journey that could not begin at its turn because its user still had another."""
        ...


class Source(Protocol):
    """Where journeys come from. Instants are CLOCK_MONOTONIC nanoseconds."""

    next_ns: int
    """When the next journey is due; `FAR_NS` = none, as far as is known."""

    def take(self, now_ns: int) -> None:
        """The next journey is due: begin it or book it as never begun, and know the one after."""
        ...

    def over(self, journey: Journey, done_ns: int, ok: bool) -> None:
        """A journey that was begun has ended, after its last step or by one that failed. Not called after the end."""
        ...

    def steer(self, factor: float, at_s: float) -> None:
        """From so many seconds after the epoch on, `factor` times what the stages say. Raises ValueError."""
        ...
