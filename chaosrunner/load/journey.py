"""What the firing loop and whoever begins journeys tell each other: the seam between the open and the closed model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.model.load import Outcome

LATE_NS = NANOS
"""Further behind than this a hit is not fired any more: the load then would not be the one that was asked for."""


class Journey:
    """One journey under way. On the hot path, hence no dataclass."""

    __slots__ = ("due_ns", "lag_ns", "nth", "variables", "who")

    def __init__(self, who: int, nth: int, due_ns: int, variables: dict[str, object]) -> None:
        self.who = who
        """The arrival's number, or the user's."""
        self.nth = nth
        """How many journeys the same user made before."""
        self.due_ns = due_ns
        self.lag_ns = 0
        """How long this process was late with its steps so far, in all."""
        self.variables = variables
        """What it knows: its row of the data, and what it kept."""


class Road(Protocol):
    """The firing loop, as a source of journeys sees it."""

    def begin(self, journey: Journey) -> None:
        """Fire its first step."""
        ...

    def never(self, due_ns: int, outcome: Outcome) -> None:
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

    def over(self, journey: Journey, done_ns: int, *, ok: bool) -> None:
        """A journey that was begun has ended, after its last step or by one that failed. Not called after the end."""
        ...

    def steer(self, factor: float, at_s: float) -> None:
        """From so many seconds after the epoch on, `factor` times what the stages say. Raises ValueError."""
        ...
