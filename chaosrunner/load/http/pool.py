"""Connections to one origin, opened when they are needed, up to a budget that all origins of a worker share.

A hit that finds no free connection waits in a first-come, first-served queue; that wait, and the time to connect, is
the target's (`sent − fired`). A failed attempt to connect ends the hit that has waited longest, so every hit ends by
a connection, by an attempt of its own, or by its timeout.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosrunner.load.act import SHORT_HERE
from chaosrunner.load.http.connection import Connection, Head
from chaosrunner.load.http.tls import NO_ANSWER, context, reason
from chaosrunner.model.http_client import Tls
from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaosrunner.load.act import OpenHit

RESOLVE_S = 5.0
"""A name that takes longer to look up is a DNS failure."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port."""

    tls: bool
    host: str
    port: int

    @property
    def url(self) -> str:
        """As a URL begins."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        """`host` or `host:port` as the Host header wants it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an origin was found."""

    family: int
    sockaddr: tuple[object, ...]


async def resolve(origin: Origin) -> tuple[Address, ...]:
    """Every TCP address of an origin, in the resolver's order; empty when its name has none within 5 s."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # TimeoutError is an OSError; UnicodeError is what a label too long raises
        return ()
    return tuple(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))


class Budget:
    """How many connections a worker may have open at once, over all its pools."""

    def __init__(self, limit: int, count: Callable[[str], None] | None = None) -> None:
        self.limit = limit
        self.count = count
        """Takes the name of what this host was short of, or why TLS failed, once a hit that ended by it."""
        self.used = 0
        self.opened = 0
        """Connections opened so far, ever."""
        self.pools: list[Pool] = []

    def take(self) -> bool:
        """Room for one more; if there is none, an idle connection of any pool makes way."""
        if self.used >= self.limit and not any(pool.evict() for pool in self.pools):
            return False
        self.used += 1
        return True

    def give(self) -> None:
        """One less; whoever waits may open another."""
        self.used -= 1
        for pool in self.pools:
            pool.grow()

    def crowded_elsewhere(self, here: Pool) -> bool:
        """Whether another pool waits for room while this one has a connection to spare."""
        if self.used < self.limit or len(self.pools) == 1:
            return False
        return any(pool.starved for pool in self.pools if pool is not here)


class Pool:
    """Open connections to one origin and the hits that wait for one."""

    def __init__(
        self,
        origin: Origin,
        budget: Budget,
        connect_timeout_s: float,
        *,
        tls: Tls | None = None,
        kind: type[Connection] = Connection,
    ) -> None:
        self._origin = origin
        self._kind = kind
        self.addresses: list[Address] = []
        """Where it was found; empty means that its name cannot be looked up."""
        self._budget = budget
        self._connect_timeout_s = connect_timeout_s
        self._tls = context(tls or Tls()) if origin.tls else None
        self._server_name = ((tls.server_name if tls else "") or origin.host) if origin.tls else None
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self.waiting: deque[OpenHit] = deque()
        self.heads: dict[bytes, Head] = {}
        self.hot: Connection | None = None
        self.shortcut = True
        """Off if another pool may want the room, or once the server was seen to close without saying so before."""
        self._opening: set[asyncio.Task[None]] = set()
        self._shaking = False
        """Whether the attempts to connect come as far as the TLS handshake of late, and no further."""
        self._wanted = 0
        self._closed = False
        budget.pools.append(self)
        for pool in budget.pools:
            pool.shortcut = len(budget.pools) == 1

    def given_up(self, *, sent: bool) -> Outcome:
        """How a hit ends that has timed out: if it was not sent, and nothing is connected, by what was missing."""
        if sent or self.connected:
            return Outcome.TIMEOUT
        if not self._shaking:
            return Outcome.CONNECT
        if self._budget.count:
            self._budget.count(f"tls.{NO_ANSWER}")
        return Outcome.TLS

    @property
    def connected(self) -> bool:
        """Whether any connection is open: if none is, a hit that times out in the queue failed to connect."""
        return bool(self._all)

    @property
    def starved(self) -> bool:
        """Whether hits wait here without a connection being opened for them."""
        return self._wanted > len(self._opening)

    def send(self, hit: OpenHit) -> None:
        """Send on a free connection, the one used last; else wait for one."""
        if not self.addresses:
            hit.end(Outcome.DNS, time.monotonic_ns())
            return
        while self._idle:
            connection = self._idle.pop()
            if connection.alive():
                hit.sent_ns = hit.fired_ns
                connection.send(hit)
                return
            self.shortcut = False
            connection.abort()
        self.waiting.append(hit)
        self._wanted += 1
        self.grow()

    def cancel(self, hit: OpenHit) -> None:
        """Forget a hit, wherever it is; its connection, if it has one, cannot be used again."""
        if hit.link is not None:
            hit.link.abort()
        elif not hit.over:
            self._wanted -= 1
        hit.over = True

    def grow(self) -> None:
        """Open a connection for each waiting hit that has none coming, as far as the budget goes."""
        while not self._closed and self.starved and self._budget.take():
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)

    def evict(self) -> bool:
        """Close the connection that has been idle longest; False when none is idle."""
        if not self._idle:
            return False
        connection = self._idle.pop(0)
        self._all.discard(connection)
        self._budget.used -= 1
        connection.abort()
        return True

    async def close(self) -> None:
        """Close everything; what still waits is the caller's to book."""
        self._closed = True
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for connection in list(self._all):
            connection.abort()

    # --- what connections tell

    def freed(self, connection: Connection) -> None:
        """A connection has done its work: the hit that has waited longest gets it."""
        if connection not in self._all:
            return  # closed meanwhile
        hit = self._next()
        if hit is not None:
            hit.sent_ns = time.monotonic_ns()
            connection.send(hit)
        elif self._budget.crowded_elsewhere(self):
            connection.abort()
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone."""
        if connection in self._idle:
            self._idle.remove(connection)
            self.shortcut = False
        if connection in self._all:
            self._all.remove(connection)
            self._budget.give()

    # --- opening

    async def _open(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                connection = await self._connect()
        except asyncio.CancelledError:
            self._opening.discard(task)
            raise
        except OSError as error:
            self._opening.discard(task)
            # Nobody fails with an attempt that timed out: each hit that waited for it has a timeout of its own.
            hit = None if isinstance(error, TimeoutError) else self._next()
            if hit is not None:
                outcome = outcome_of(error)
                if outcome is Outcome.LOCAL and self._budget.count:
                    self._budget.count(f"here.{errno.errorcode[error.errno or 0]}")
                if self._budget.count and (isinstance(error, ssl.SSLError) or self._shaking):
                    self._budget.count(f"tls.{reason(error)}")
                hit.end(outcome, time.monotonic_ns())
            self._budget.give()
            return
        self._opening.discard(task)
        self._budget.opened += 1
        self._all.add(connection)
        hit = self._next()
        if hit is None:
            self.freed(connection)
        else:
            hit.connected_ns = hit.sent_ns = time.monotonic_ns()
            connection.send(hit)

    async def _connect(self) -> Connection:
        """Try every address, the one that worked last first. Raises OSError, the last attempt's."""
        error: OSError = OSError("no address")
        for address in list(self.addresses):
            try:
                connection = await self._connect_to(address)
            except TimeoutError:
                raise
            except OSError as failure:
                error = failure
                continue
            if address is not self.addresses[0]:
                self.addresses.remove(address)
                self.addresses.insert(0, address)
            return connection
        raise error

    async def _connect_to(self, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address.sockaddr)
        except BaseException:
            self._shaking = False
            sock.close()
            raise
        # From here on the loop owns the socket and closes it, also when the handshake fails.
        self._shaking = self._tls is not None
        _, connection = await loop.create_connection(
            lambda: self._kind(self, sock),
            sock=sock,
            ssl=self._tls,
            server_hostname=self._server_name,
        )
        self._shaking = False
        return connection

    def _next(self) -> OpenHit | None:
        while self.waiting:
            hit = self.waiting.popleft()
            if not hit.over:
                self._wanted -= 1
                return hit
        return None


def outcome_of(error: Exception) -> Outcome:
    """The class of a failed attempt to connect."""
    match error:
        case ssl.SSLError():
            return Outcome.TLS
        case ConnectionRefusedError():
            return Outcome.REFUSED
        case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError():
            return Outcome.RESET
        case socket.gaierror():
            return Outcome.DNS
        case OSError() if error.errno in SHORT_HERE:
            return Outcome.LOCAL
        case _:
            return Outcome.CONNECT
