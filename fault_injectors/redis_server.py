"""A Redis server as it sees itself: sessions with it, its clients, and what it counts."""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability
from fault_injectors import processes

if TYPE_CHECKING:
    from redis.asyncio import Redis

OLDEST = 7
"""The oldest server that is known to do what is asked here: several settings in one command, errors counted by kind."""
ANSWER_S = 5.0
FULL_S = 3.0
"""How long to knock at a server that is full: after our own connections were let go, one is free in milliseconds."""
CONTROL = "chaosrunner-control"
"""Name of clients that look and undo; they create nothing."""
FULL = "max number of clients"
PLACES = ("clients", "replication")
SETTINGS = (
    "busy-reply-threshold",
    "hz",
    "maxmemory",
    "maxmemory-policy",
    "min-replicas-to-write",
    "min-replicas-max-lag",
)
NOT_INSTALLED = "redis-py is not installed; pip install 'chaosrunner[redis]'"


class Full(InjectorError):
    """The server lets nobody in any more."""


class Unanswered(InjectorError):
    """The server did not answer in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One connection of the server, as it lists it."""

    id: int
    """Never given twice by one server, and the younger the higher."""
    name: str
    user: str
    flags: str
    """`S` a replica, `M` our master, `N` nothing special."""

    @property
    def is_application(self) -> bool:
        """Neither ours nor part of the replication."""
        return not self.name.startswith("chaosrunner") and not set(self.flags) & {"S", "M"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which clients of an application are meant; empty = whatever theirs is."""

    name: str = ""
    """A pattern such as `cart-*` for the name that clients give themselves."""
    user: str = ""
    """The ACL user they are logged in as."""

    @property
    def says(self) -> str:
        """For people, after `the connections`."""
        called, logged_in = f"called {self.name}" if self.name else "", f"of user {self.user}" if self.user else ""
        return " ".join(part for part in (called, logged_in) if part) or "of everybody else"

    def of(self, clients: Iterable[Client]) -> list[Client]:
        """Those of an application that are meant."""
        return [
            one
            for one in clients
            if one.is_application
            and (not self.name or fnmatchcase(one.name, self.name))
            and self.user in ("", one.user)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What must be known of a server before anything is done to it."""

    identity: str
    """Another one after each start."""
    info: Mapping[str, Any]
    """What it says of itself, under all headings."""
    settings: Mapping[str, str]
    """Those of `SETTINGS`, as the server spells them."""

    @property
    def claim(self) -> str:
        """The server as a resource that a fault changes."""
        return f"redis:{self.identity}"


def available() -> Availability:
    """Where the client library is, and a holder can be found again by its command line."""
    if importlib.util.find_spec("redis") is None:
        return Availability(ok=False, why=NOT_INSTALLED)
    if not (processes.PROC / "self/cmdline").exists():
        return Availability(ok=False, why="no /proc: needs Linux")
    return Availability(ok=True)


@asynccontextmanager
async def session(
    url: str, *, name: str = CONTROL, answer_s: float = ANSWER_S, knock_s: float = FULL_S
) -> AsyncIterator[Redis]:
    """One connection, closed at the end; what goes wrong with it is an InjectorError that never quotes the URL.

    Args:
        url: where; its value is a secret.
        name: what the server's list of clients calls it.
        answer_s: how long each answer is waited for.
        knock_s: how long to try to get into a server that is full.

    Raises:
        Full: the server lets nobody in.
        Unanswered: it is silent.
        InjectorError: it cannot be reached, or refuses.
    """
    from redis import exceptions

    client = connecting(url, name, answer_s)
    try:
        await _connect(client, knock_s)
        yield client
    except exceptions.TimeoutError as error:
        if "connecting" in str(error):
            raise InjectorError(f"redis cannot be reached: {error}") from None
        raise Unanswered(f"redis: no answer in {answer_s:g} s") from None
    except exceptions.RedisError as error:
        raise (Full if _is_full(error) else InjectorError)(f"redis: {_why(error)}") from None
    except OSError as error:
        raise InjectorError(f"redis cannot be reached: {error}") from None
    finally:
        await client.aclose()


async def look(url: str) -> Server:
    """Look at the server; changes nothing.

    Raises:
        InjectorError: it cannot be reached, is too old, or does not let us look.
    """
    async with session(url) as control:
        info = await control.execute_command("INFO", "everything")
        settings = await read_settings(control, SETTINGS)
    version = str(info["redis_version"])
    if int(version.partition(".")[0]) < OLDEST:
        raise InjectorError(f"this server is Redis {version}; {OLDEST} or newer is needed")
    return Server(identity=identity(info), info=info, settings=settings)


async def info(control: Redis, *headings: str) -> Mapping[str, Any]:
    """What the server says of itself under some headings."""
    said: Mapping[str, Any] = await control.execute_command("INFO", *headings)
    return said


def identity(info: Mapping[str, Any]) -> str:
    """Which server this is, another one after each start; from the heading `server`."""
    return str(info["run_id"])


async def read_settings(control: Redis, names: Iterable[str]) -> dict[str, str]:
    """Settings as they are now. Raises InjectorError: the server does not have one of them."""
    wanted = list(names)
    found: dict[str, str] = await control.execute_command("CONFIG GET", *wanted)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise InjectorError(f"this server has no setting {missing[0]}")
    return {name: found[name] for name in wanted}


async def clients(control: Redis) -> list[Client]:
    """Everybody who is connected."""
    return [
        Client(id=int(one["id"]), name=one["name"], user=one.get("user", ""), flags=one["flags"])
        for one in await control.execute_command("CLIENT LIST")
    ]


async def end(control: Redis, ended: Iterable[Client]) -> int:
    """End these connections. Returns how many were still there."""
    return sum([int(await control.execute_command("CLIENT KILL", "ID", one.id)) for one in ended])


def places(info: Mapping[str, Any]) -> tuple[int, int]:
    """How many connections there are, and how many there may be; from the headings `PLACES`."""
    return int(info["connected_clients"]) + int(info.get("connected_slaves", 0)), int(info["maxclients"])


def spent(info: Mapping[str, Any], command: str) -> tuple[int, int]:
    """How often the server ran a command (`client|kill`), and for how many microseconds in all."""
    found = info.get(f"cmdstat_{command}", {})
    return int(found.get("calls", 0)), int(found.get("usec", 0))


def refused(info: Mapping[str, Any], error: str) -> int:
    """How often the server answered with an error of this kind: `OOM`, `NOREPLICAS`."""
    return int(info.get(f"errorstat_{error}", {}).get("count", 0))


def _is_full(error: Exception) -> bool:
    """Whether the server lets nobody in: it says so, or, before TLS has begun, can only end the connection."""
    return FULL in str(error) or _is_cut_off(error)


def _is_cut_off(error: Exception) -> bool:
    return isinstance(error.__context__, ConnectionResetError) and " connecting to " in str(error)


def _why(error: Exception) -> str:
    """What went wrong; in words of ours where the library has none that tell what to do."""
    match error.__context__:
        case ssl.SSLCertVerificationError() as untrusted:
            return (
                f"its certificate is not trusted ({untrusted.verify_message}); "
                "rediss://…?ssl_ca_certs=FILE names the authority"
            )
        case FileNotFoundError():
            return "a file that its URL names (ssl_ca_certs, ssl_certfile or ssl_keyfile) is not there"
        case _ if _is_cut_off(error):
            return "the connection was ended before TLS began, as a full server does"
        case _:
            return str(error)


async def _connect(client: Redis, knock_s: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + knock_s
    while True:
        try:
            await client.execute_command("PING")
        except Exception as error:
            if not _is_full(error) or loop.time() > until:
                raise
        else:
            return
        await asyncio.sleep(0.05)


def connecting(url: str, name: str, answer_s: float | None) -> Redis:
    """A client with one connection, made with its first command; whoever lost it is told so by an error.

    Raises:
        InjectorError: the URL is not understood.
    """
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    try:
        client: Redis = Redis.from_url(
            url,
            protocol=2,
            decode_responses=True,
            client_name=name,
            socket_timeout=answer_s,
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
        )
        client.connection_pool.make_connection()  # connects to nothing; an option of the URL that it lacks is told
    except (ValueError, TypeError) as error:  # its text may quote the URL
        raise InjectorError(
            f"the URL of redis, or an option of it, is not understood ({type(error).__name__})"
        ) from None
    return client
