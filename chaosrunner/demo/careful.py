"""The service as it should be: deadlines, stale reads, a fallback, nothing held while waiting."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import asyncpg

from chaosrunner.demo import schema
from chaosrunner.demo.breaker import Breaker
from chaosrunner.demo.identity import matches
from chaosrunner.demo.service import Agent, Fetched, NoSuchAgent, PromptAnswer
from chaosrunner.demo.sessions import CarefulSessions, DatabaseAway

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosrunner.demo.model_client import ModelClient
    from chaosrunner.demo.sessions import PoolStatistics

MODEL_TIMEOUT_S = 0.25
FALLBACK = "The model is slow right now; this is a prepared answer."


@dataclass(frozen=True, slots=True)
class _User:
    salt: bytes
    digest: bytes
    tone: str


class LastSeen:
    """The agents each user was last seen to have, for the time when the database is away.

    Bounded in users (least recently used go first) and in agents a user (oldest go first).

    Args:
        users: How many users are remembered.
        agents: How many agents are remembered for one user.
    """

    def __init__(self, *, users: int = 1000, agents: int = schema.LIST_LIMIT * 2) -> None:
        self._users = users
        self._agents = agents
        self._seen: OrderedDict[str, OrderedDict[int, Agent]] = OrderedDict()

    def listed(self, owner: str, agents: list[Agent]) -> None:
        """The database just listed these as the owner's, newest first: forget all others."""
        self._seen[owner] = OrderedDict((agent.id, agent) for agent in reversed(agents))
        self._touch(owner)

    def saw(self, owner: str, agent: Agent) -> None:
        """This is how the agent looks now; does not make a never listed user's list complete."""
        agents = self._seen.get(owner)
        if agents is None:
            agents = self._seen[owner] = OrderedDict()
        agents[agent.id] = agent
        while len(agents) > self._agents:
            agents.popitem(last=False)
        self._touch(owner)

    def gone(self, owner: str, agent_id: int) -> None:
        """The agent was deleted."""
        self._seen.get(owner, OrderedDict()).pop(agent_id, None)

    def agent(self, owner: str, agent_id: int) -> Agent | None:
        """The agent as last seen."""
        return self._seen.get(owner, OrderedDict()).get(agent_id)

    def agents(self, owner: str) -> list[Agent] | None:
        """The owner's agents as last seen, newest first; None when nothing was ever seen."""
        seen = self._seen.get(owner)
        return None if seen is None else sorted(seen.values(), key=lambda agent: -agent.id)[: schema.LIST_LIMIT]

    def _touch(self, owner: str) -> None:
        self._seen.move_to_end(owner)
        while len(self._seen) > self._users:
            self._seen.popitem(last=False)


class CarefulService:
    """Serves what can be served, whatever is broken behind it."""

    def __init__(self, sessions: CarefulSessions, model: ModelClient) -> None:
        self._sessions = sessions
        self._model = model
        self._model_breaker = Breaker(threshold=5, rest_s=0.5)
        self._users: dict[str, _User] = {}
        self._last_seen = LastSeen()

    async def open(self) -> None:
        """Fill the pool and learn the users, so that they can log in while the database is away."""
        await self._sessions.open()
        for row in await self._sessions.fetch(schema.READ_USERS):
            self._users[row["name"]] = _user_from(row)

    async def close(self) -> None:
        """End all sessions."""
        await self._sessions.close()

    async def ready(self) -> bool:
        """Whether the database answers."""
        try:
            await self._sessions.fetch(schema.ALIVE)
        except DatabaseAway:
            return False
        return True

    def statistics(self) -> PoolStatistics:
        """What the pool looks like now."""
        return self._sessions.statistics()

    async def log_in(self, user: str, password: str) -> bool:
        """Check the password against what was read before, else against the database."""
        known = await self._user(user)
        return known is not None and matches(password, known.salt, known.digest)

    async def create(self, owner: str, name: str, key: str | None) -> Agent:
        """Make an agent."""
        [row] = await self._sessions.fetch(schema.CREATE_AGENT, owner, name, key)
        return self._saw(owner, row)

    async def list(self, owner: str) -> Fetched[list[Agent]]:
        """List from the database, or as last seen when it is away."""
        try:
            rows = await self._sessions.fetch(schema.LIST_AGENTS, owner)
        except DatabaseAway:
            remembered = self._last_seen.agents(owner)
            if remembered is None:
                raise
            return Fetched(remembered, stale=True)
        agents = [Agent(row["id"], row["name"]) for row in rows]
        self._last_seen.listed(owner, agents)
        return Fetched(agents)

    async def read(self, owner: str, agent_id: int) -> Fetched[Agent]:
        """Read from the database, or as last seen when it is away."""
        try:
            rows = await self._sessions.fetch(schema.READ_AGENT, owner, agent_id)
        except DatabaseAway:
            remembered = self._last_seen.agent(owner, agent_id)
            if remembered is None:
                raise
            return Fetched(remembered, stale=True)
        return Fetched(self._saw_one(owner, agent_id, rows))

    async def update(self, owner: str, agent_id: int, name: str) -> Agent:
        """Rename an agent."""
        rows = await self._sessions.fetch(schema.UPDATE_AGENT, owner, agent_id, name)
        return self._saw_one(owner, agent_id, rows)

    async def delete(self, owner: str, agent_id: int) -> None:
        """Remove an agent."""
        rows = await self._sessions.fetch(schema.DELETE_AGENT, owner, agent_id)
        self._last_seen.gone(owner, agent_id)
        if not rows:
            raise NoSuchAgent

    async def prompt(self, user: str, text: str) -> PromptAnswer:
        """Ask the model with a deadline, holding nothing meanwhile; a prepared answer when it is slow or away."""
        known = await self._user(user)
        tone = known.tone if known is not None else "plain"
        if not self._model_breaker.admit():
            return PromptAnswer(FALLBACK, fallback=True)
        answer: str | None = None
        try:
            async with asyncio.timeout(MODEL_TIMEOUT_S):
                answer = await self._model.ask(text, tone)
        except (TimeoutError, aiohttp.ClientError):
            return PromptAnswer(FALLBACK, fallback=True)
        else:
            return PromptAnswer(answer)
        finally:
            if answer is None:
                self._model_breaker.failed()
            else:
                self._model_breaker.succeeded()

    async def _user(self, name: str) -> _User | None:
        # Names, passwords and tones never change in this demo; where they do, entries need an age.
        if name not in self._users:
            rows = await self._sessions.fetch(schema.READ_USER, name)
            if rows:
                self._users[name] = _user_from(rows[0])
        return self._users.get(name)

    def _saw(self, owner: str, row: asyncpg.Record) -> Agent:
        agent = Agent(row["id"], row["name"])
        self._last_seen.saw(owner, agent)
        return agent

    def _saw_one(self, owner: str, agent_id: int, rows: Sequence[asyncpg.Record]) -> Agent:
        if not rows:
            self._last_seen.gone(owner, agent_id)
            raise NoSuchAgent
        return self._saw(owner, rows[0])


def _user_from(row: asyncpg.Record) -> _User:
    return _User(row["salt"], row["digest"], row["tone"])
