"""The two services with a cache in front of what they read."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from chaosrunner.demo import schema
from chaosrunner.demo.careful import CarefulService
from chaosrunner.demo.fragile import FragileService
from chaosrunner.demo.service import Agent, Fetched, NoSuchAgent
from chaosrunner.demo.sessions import CarefulSessions, DatabaseAway, LeakySessions

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from chaosrunner.demo.cache import CarefulCache, HastyCache
    from chaosrunner.demo.model_client import ModelClient

T = TypeVar("T")


class CachedService(CarefulService):
    """Reads through a cache where there is one that answers, and from the database otherwise."""

    def __init__(self, sessions: CarefulSessions, model: ModelClient, cache: CarefulCache) -> None:
        super().__init__(sessions, model)
        self._cache = cache

    async def close(self) -> None:
        """End all sessions and connections."""
        await super().close()
        await self._cache.close()

    async def list(self, owner: str) -> Fetched[list[Agent]]:
        """List from the cache, or as without one."""
        kept, ticket = await self._cache.look(owner, "list")
        if kept is not None:
            return Fetched([Agent(*one) for one in kept])
        found = await super().list(owner)
        if ticket is not None and not found.stale:
            await self._cache.keep(ticket, [(agent.id, agent.name) for agent in found.value])
        return found

    async def read(self, owner: str, agent_id: int) -> Fetched[Agent]:
        """Read from the cache, or as without one."""
        kept, ticket = await self._cache.look(owner, str(agent_id))
        if kept is not None:
            return Fetched(Agent(*kept))
        found = await super().read(owner, agent_id)
        if ticket is not None and not found.stale:
            await self._cache.keep(ticket, (found.value.id, found.value.name))
        return found

    async def create(self, owner: str, name: str, key: str | None) -> Agent:
        """Make an agent."""
        return await self._changed(owner, super().create(owner, name, key))

    async def update(self, owner: str, agent_id: int, name: str) -> Agent:
        """Rename an agent."""
        return await self._changed(owner, super().update(owner, agent_id, name))

    async def delete(self, owner: str, agent_id: int) -> None:
        """Remove an agent."""
        await self._changed(owner, super().delete(owner, agent_id))

    async def _changed(self, owner: str, change: Awaitable[T]) -> T:
        """What came of a change, once nobody can be told what was before."""
        try:
            made = await change
        except DatabaseAway:
            await self._cache.tell(owner)  # perhaps it was written; nobody is promised so, and nobody waits
            raise
        await self._cache.forget(owner)
        return made


class HastyCachedService(FragileService):
    """Reads through a cache, with a session in hand whether it will be needed or not."""

    def __init__(self, sessions: LeakySessions, model: ModelClient, cache: HastyCache) -> None:
        super().__init__(sessions, model)
        self._cache = cache

    async def close(self) -> None:
        """End the idle sessions and all connections."""
        await super().close()
        await self._cache.close()

    async def list(self, owner: str) -> Fetched[list[Agent]]:
        """List from the cache, else from the database."""
        return Fetched([*await self._found(owner, "list", schema.LIST_AGENTS, owner)])

    async def read(self, owner: str, agent_id: int) -> Fetched[Agent]:
        """Read from the cache, else from the database."""
        found = await self._found(owner, str(agent_id), schema.READ_AGENT, owner, agent_id)
        if not found:
            raise NoSuchAgent
        return Fetched(found[0])

    async def create(self, owner: str, name: str, key: str | None) -> Agent:
        """Make an agent."""
        made = await super().create(owner, name, key)
        await self._cache.forget(owner)  # defect: who is asked to forget and does not answer keeps the user waiting
        return made

    async def update(self, owner: str, agent_id: int, name: str) -> Agent:
        """Rename one agent."""
        renamed = await super().update(owner, agent_id, name)
        await self._cache.forget(owner)
        return renamed

    async def delete(self, owner: str, agent_id: int) -> None:
        """Remove one agent."""
        await super().delete(owner, agent_id)
        await self._cache.forget(owner)

    async def _found(self, owner: str, what: str, statement: str, *arguments: object) -> tuple[Agent, ...]:
        session = await self._sessions.acquire()
        kept = await self._cache.get(owner, what)  # defect: the session is held all the while
        if kept is None:
            rows = await session.fetch(statement, *arguments)
            kept = [(row["id"], row["name"]) for row in rows]
            await self._cache.keep(owner, what, kept)
        self._sessions.release(session)
        return tuple(Agent(*one) for one in kept)
