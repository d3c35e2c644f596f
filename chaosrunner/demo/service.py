"""What the replicas' API does, apart from HTTP: the words that the careful and the fragile service share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from chaosrunner.demo.sessions import PoolStatistics

T_co = TypeVar("T_co", covariant=True)


class NoSuchAgent(Exception):
    """This user has no agent with that id."""


@dataclass(frozen=True, slots=True)
class Agent:
    """The thing that users create, read, update and delete."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T_co]):
    """An answer, and whether it may be out of date because the database is away."""

    value: T_co
    stale: bool = False


@dataclass(frozen=True, slots=True)
class PromptAnswer:
    """What the model said, or what we say in its place."""

    text: str
    fallback: bool = False


class Service(Protocol):
    """Everything a replica can do for its users.

    Unless a method says otherwise it may raise `DatabaseAway`, or hang where the service is fragile.
    """

    async def open(self) -> None:
        """Connect to what it needs."""

    async def close(self) -> None:
        """Let go of everything, politely."""

    async def ready(self) -> bool:
        """Whether requests can be served in full; never raises."""

    def statistics(self) -> PoolStatistics:
        """What the pool of database sessions looks like now."""

    async def log_in(self, user: str, password: str) -> bool:
        """Whether that is the user's password."""

    async def create(self, owner: str, name: str, key: str | None) -> Agent:
        """Make an agent; the same `key` again answers with the agent of the first time."""

    async def list(self, owner: str) -> Fetched[list[Agent]]:
        """The owner's newest agents, newest first."""

    async def read(self, owner: str, agent_id: int) -> Fetched[Agent]:
        """One agent; raises `NoSuchAgent`."""

    async def update(self, owner: str, agent_id: int, name: str) -> Agent:
        """Rename an agent; raises `NoSuchAgent`."""

    async def delete(self, owner: str, agent_id: int) -> None:
        """Remove an agent; raises `NoSuchAgent`."""

    async def prompt(self, user: str, text: str) -> PromptAnswer:
        """Ask the model something, in the tone the user prefers."""
