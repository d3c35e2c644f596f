"""The service as it often is: the same API, right while all is well, without a thought for when it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaosrunner.demo import schema
from chaosrunner.demo.identity import matches
from chaosrunner.demo.service import Agent, Fetched, NoSuchAgent, PromptAnswer

if TYPE_CHECKING:
    from chaosrunner.demo.model_client import ModelClient
    from chaosrunner.demo.sessions import LeakySessions, PoolStatistics


class FragileService:
    """Asks the database for everything, waits for everything, and hopes."""

    def __init__(self, sessions: LeakySessions, model: ModelClient) -> None:
        self._sessions = sessions
        self._model = model

    async def open(self) -> None:
        """Connect all sessions."""
        await self._sessions.open()

    async def close(self) -> None:
        """End the idle sessions."""
        await self._sessions.close()

    async def ready(self) -> bool:
        """Say yes."""
        return True  # defect: constant health, so nobody ever stops sending requests here

    def statistics(self) -> PoolStatistics:
        """What the pool looks like now."""
        return self._sessions.statistics()

    async def log_in(self, user: str, password: str) -> bool:
        """Check the password against the database."""
        rows = await self._sessions.fetch(schema.READ_USER, user)
        return bool(rows) and matches(password, rows[0]["salt"], rows[0]["digest"])

    async def create(self, owner: str, name: str, key: str | None) -> Agent:
        """Make an agent."""
        rows = await self._sessions.fetch(schema.CREATE_AGENT, owner, name, key)
        return Agent(rows[0]["id"], rows[0]["name"])

    async def list(self, owner: str) -> Fetched[list[Agent]]:
        """List the owner's newest agents."""
        rows = await self._sessions.fetch(schema.LIST_AGENTS, owner)
        return Fetched([Agent(row["id"], row["name"]) for row in rows])

    async def read(self, owner: str, agent_id: int) -> Fetched[Agent]:
        """Read one agent."""
        rows = await self._sessions.fetch(schema.READ_AGENT, owner, agent_id)
        if not rows:
            raise NoSuchAgent
        return Fetched(Agent(rows[0]["id"], rows[0]["name"]))

    async def update(self, owner: str, agent_id: int, name: str) -> Agent:
        """Rename one agent."""
        rows = await self._sessions.fetch(schema.UPDATE_AGENT, owner, agent_id, name)
        if not rows:
            raise NoSuchAgent
        return Agent(rows[0]["id"], rows[0]["name"])

    async def delete(self, owner: str, agent_id: int) -> None:
        """Remove one agent."""
        rows = await self._sessions.fetch(schema.DELETE_AGENT, owner, agent_id)
        if not rows:
            raise NoSuchAgent

    async def prompt(self, user: str, text: str) -> PromptAnswer:
        """Look up the user's tone, then ask the model."""
        session = await self._sessions.acquire()
        rows = await session.fetch(schema.READ_USER, user)
        answer = await self._model.ask(text, rows[0]["tone"])  # defect: the session is held all the while
        self._sessions.release(session)
        return PromptAnswer(answer)
