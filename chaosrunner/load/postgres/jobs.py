"""A hit on its way through a pool: the seam between acts, pool and lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chaosrunner.load.act import OpenHit
    from chaosrunner.load.postgres.lines import Line


class Asking(Protocol):
    """What a line needs of an act."""

    connect: int
    """Index of the series for the time to open a connection."""
    acquire: int
    """Index of the series for the wait for one."""
    at_once: int
    """How many found one free and are not written down yet."""
    each_time: bool
    """A connection of its own, closed afterwards."""
    keeps: bool
    """The journey keeps the connection until it ends."""
    name: str

    def cancel(self, hit: OpenHit) -> Outcome:
        """Let go of a hit; answers what its time was spent on."""
        ...

    @property
    def attempt(self) -> Callable[[Line, dict[str, object]], Awaitable[None]]:
        """Do it on an open line, with a journey's variables. Raises one of TROUBLES."""
        ...

    async def amend(self, line: Line, job: Job, trouble: BaseException) -> Outcome:
        """What an attempt's trouble means, after further attempts if they may help; leaves the line as it was found."""
        ...

    def finish(self, job: Job, outcome: Outcome, now_ns: int) -> None:
        """The job has its outcome: book it and end its hit."""
        ...


class Job:
    """One hit and the act that it is for. On the hot path, hence no dataclass."""

    __slots__ = ("act", "hit", "level", "line", "since_ns")

    def __init__(self, hit: OpenHit, act: Asking) -> None:
        self.hit = hit
        self.act = act
        self.since_ns = hit.fired_ns
        """When it began to wait for a connection."""
        self.level = 0
        """How many were asking at once when it came, itself included."""
        self.line: Line | None = None

    def abort(self) -> None:
        """Let go of the hit: what runs for it is cancelled at the server as well."""
        if self.line is not None:
            self.line.interrupt()
