"""What a replica keeps in Redis of its users' agents, with care or in haste.

The careful way is right whatever becomes of the cache. Each owner has a *turn*, a random word; what is kept says of
which turn it is, and is served in that turn alone. Who changes an owner's agents begins a new turn afterwards. Who
cannot say so waits until all that was kept before must have expired, and then answers: the price of an absent cache is
a third of a second for each change, and never an old answer that passes for a new one.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from chaosrunner.demo.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The right to keep something: taken before the database is asked, so that no change in between is missed."""

    key: str
    turn: str
    until_ms: int
    """Of the wall clock, since 1970: then it is kept no longer, however late it reached the server."""


class CarefulCache:
    """A cache that may be slow, silent, full or gone: nobody waits longer for it than `DEADLINE_S`.

    Args:
        url: Where it is.
        name: What its list of clients calls us.
    """

    DEADLINE_S = 0.06
    KEPT_S = 0.3
    CLOCKS_S = 0.05
    """By how much the wall clocks of replicas and server may differ."""
    TURN_S = 60.0
    CONNECTIONS = 64

    def __init__(self, url: str, *, name: str) -> None:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError

        self._breaker = Breaker(threshold=3, rest_s=0.5)
        self._away = (RedisError, OSError, TimeoutError)
        self._redis: Redis = Redis.from_url(
            url,
            protocol=2,
            decode_responses=True,
            client_name=name,
            max_connections=self.CONNECTIONS,
            # No second tries and no times of the library's: the one deadline is ours.
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=None,
        )

    async def look(self, owner: str, what: str) -> tuple[Any, Ticket | None]:
        """What is kept of an owner under a name.

        Returns:
            What was kept, None when it is not there; and the right to keep it, None when the cache does not answer.
        """
        until_ms = int((time.time() + self.KEPT_S) * 1000)
        key = f"shop:{owner}:{what}"
        found = await self._asked(lambda: self._turn_and(owner, key))
        if found is None:
            return None, None
        turn, text = found
        if turn is None:  # thrown away within a moment: a server that is so short of memory is none to rely on
            return None, None
        kept = json.loads(text) if text else None
        value = kept["value"] if kept and kept["turn"] == turn else None
        return value, Ticket(key=key, turn=turn, until_ms=until_ms)

    async def keep(self, ticket: Ticket, value: object) -> None:
        """Keep what the database said after the ticket was taken."""
        text = json.dumps({"turn": ticket.turn, "value": value})
        await self._asked(lambda: self._redis.set(ticket.key, text, pxat=ticket.until_ms))

    async def tell(self, owner: str) -> bool:
        """Begin a new turn of an owner: nothing that was kept before is served again. Whether the cache has heard."""
        turn = secrets.token_hex(8)
        heard = await self._asked(lambda: self._redis.set(_turn_key(owner), turn, px=int(self.TURN_S * 1000)))
        return heard is not None

    async def forget(self, owner: str) -> None:
        """Return when nothing that was kept of an owner before is served any more, by whichever replica."""
        if not await self.tell(owner):
            await asyncio.sleep(self.KEPT_S + self.CLOCKS_S)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._redis.aclose()

    async def _turn_and(self, owner: str, key: str) -> tuple[str | None, str | None]:
        async with self._redis.pipeline(transaction=False) as asking:
            asking.set(_turn_key(owner), secrets.token_hex(8), nx=True, px=int(self.TURN_S * 1000))
            asking.mget(_turn_key(owner), key)
            _, (turn, text) = await asking.execute()
        return turn, text

    async def _asked(self, command: Callable[[], Awaitable[T]]) -> T | None:
        """The answer, None when there is none in time."""
        if not self._breaker.admit():
            return None
        answered = False
        try:
            async with asyncio.timeout(self.DEADLINE_S):
                answer = await command()
            answered = True
        except self._away:
            return None
        else:
            return answer
        finally:
            if answered:
                self._breaker.succeeded()
            else:
                self._breaker.failed()


class HastyCache:
    """A cache that is always there.

    Args:
        url: Where it is.
        name: What its list of clients calls us.
    """

    KEPT_S = 2

    def __init__(self, url: str, *, name: str) -> None:
        from redis.asyncio import Redis

        self._redis: Redis = Redis.from_url(
            url,
            protocol=2,
            decode_responses=True,
            client_name=name,
            socket_timeout=None,  # defect: waits for ever
            socket_connect_timeout=None,
        )

    async def get(self, owner: str, what: str) -> Any:
        """What is kept of an owner under a name, None when it is not there."""
        text = await self._redis.hget(_owner_key(owner), what)  # defect: an error here is the user's
        return None if text is None else json.loads(text)

    async def keep(self, owner: str, what: str, value: object) -> None:
        """Keep what the database said."""
        # defect: it may have changed since, and whoever changed it has deleted what was not there yet
        await self._redis.hset(_owner_key(owner), what, json.dumps(value))
        await self._redis.expire(_owner_key(owner), self.KEPT_S)

    async def forget(self, owner: str) -> None:
        """Delete what is kept of an owner."""
        await self._redis.delete(_owner_key(owner))

    async def close(self) -> None:
        """Let go of all connections."""
        await self._redis.aclose()


def _turn_key(owner: str) -> str:
    return f"shop:{owner}:turn"


def _owner_key(owner: str) -> str:
    return f"shop:{owner}"
