"""One proxy: where it listens, where it leads, its toxics and its connections."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from socket import socket
from typing import Any, Literal

from chaosrunner.proxy.agenda import Agenda
from chaosrunner.proxy.audit import Audit
from chaosrunner.proxy.dialect import Dialect, Wires
from chaosrunner.proxy.listener import Address, Endpoint, Listener
from chaosrunner.proxy.openings import TlsWay, Way
from chaosrunner.proxy.refusals import RefusedError, bad_value, toxic_not_found
from chaosrunner.proxy.relay import Connection, Surroundings
from chaosrunner.proxy.stats import AppliedToxic, ProxyTally
from chaosrunner.proxy.tls.failures import TlsWatch
from chaosrunner.proxy.tls.settings import Tls
from chaosrunner.proxy.toxics.toxic import Toxic

Protocol = Literal["tcp", "http", "postgres"]


@dataclass(frozen=True, slots=True)
class Shared:
    """What all proxies of one process share.

    Attributes:
        seed: What their draws start from.
        audit: Told of what goes wrong.
        agenda: To do something later.
        restarting_timeouts: Whether a timeout toxic's clock starts anew with each piece of data.
        mark: The kernel's mark of connections to servers; 0 for none.
    """

    seed: int
    audit: Audit
    agenda: Agenda
    restarting_timeouts: bool = False
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set about a proxy.

    Attributes:
        listen: Where clients connect; port 0 until it has been bound.
        upstream: The server.
        enabled: Whether clients can connect.
        protocol: What the proxy understands of the bytes, so that toxics can act on single requests or statements.
        tls: Which sides have TLS; None to pass bytes as they are.
    """

    listen: Endpoint
    upstream: Address
    enabled: bool = True
    protocol: Protocol = "tcp"
    tls: Tls | None = None


class Proxy:
    """A named way through, from a listening address to a server. Starts disabled; `configure` opens it.

    Attributes:
        name: What the API calls it.
        settings: As they are now.
        listener: Where it listens, or held the port; None if it never did.
        tally: What has happened here.
    """

    def __init__(self, name: str, settings: Settings, shared: Shared) -> None:
        self.name = name
        self.settings = dataclasses.replace(settings, enabled=False)
        self.listener: Listener | None = None
        self._shared = shared
        self._applied: list[AppliedToxic] = []
        self._connections: dict[Connection, None] = {}  # in the order they came, which decides their luck
        self.tally = ProxyTally()
        self._tls_watch = TlsWatch(name, self.tally, shared.audit)
        self._down_since = time.monotonic()
        self._around = self._surroundings()

    def configure(self, wanted: Settings, listener: Listener | None = None) -> None:
        """Set everything as `wanted`; connections are cut unless nothing changes for them.

        Args:
            wanted: The settings to have.
            listener: One that listens at the wanted address already; it is owned by the proxy from here on.

        Raises:
            RefusedError: 500 if the address cannot be bound, 400 if a toxic acts on what would no longer be understood;
                nothing is changed then, and the old address still listens.
        """
        self._check_protocol(wanted.protocol)
        moved = wanted.listen.address != self.settings.listen.address
        rerouted = route(wanted) != route(self.settings)
        if listener is None and wanted.enabled:
            listener = self._listening(wanted.listen, moved=moved)
        if moved or rerouted or not wanted.enabled:
            self.cut()
        if rerouted:
            self.tally.dialect.clear()
        if self.listener is not None and self.listener is not listener:
            if moved or listener is not None:
                self.listener.close()
                self.listener = None
            elif self.settings.enabled:
                self.listener.suspend()
        if self.settings.enabled and not wanted.enabled:
            self._down_since = time.monotonic()
        self.settings = wanted
        self._around = self._surroundings()
        if listener is not None:
            self.listener = listener
            self.settings = dataclasses.replace(wanted, listen=listener.endpoint)
            listener.accept(self._accepted)

    def cut(self) -> None:
        """Reset every connection."""
        for connection in list(self._connections):
            self.tally.cut += 1
            connection.reset()

    async def close(self, drain_s: float) -> None:
        """Stop listening, and close connections once what was written has been sent, at the latest after `drain_s`."""
        if self.listener is not None:
            self.listener.close()
        connections = list(self._connections)
        closing = [asyncio.ensure_future(connection.closed()) for connection in connections]
        if closing:
            _, late = await asyncio.wait(closing, timeout=drain_s)
            for task in late:
                task.cancel()
        for connection in connections:
            connection.reset()

    def remove(self) -> None:
        """Stop listening and reset every connection."""
        if self.listener is not None:
            self.listener.close()
        self.cut()

    @property
    def open_connections(self) -> int:
        """How many connections there are, those included that have not reached the server yet."""
        return len(self._connections)

    def toxics(self) -> Iterable[AppliedToxic]:
        """The toxics at work, in the order they were added."""
        return self._applied

    def find_toxic(self, name: str) -> AppliedToxic:
        """The toxic of that name.

        Raises:
            RefusedError: 404 if there is none.
        """
        for applied in self._applied:
            if applied.toxic.name == name:
                return applied
        raise toxic_not_found()

    def add_toxic(self, toxic: Toxic) -> AppliedToxic:
        """Put a toxic behind the others, on open connections at once.

        Raises:
            RefusedError: 409 if the name is taken, 400 if it acts on what the proxy does not understand.
        """
        _check_understood(toxic, self.settings.protocol)
        if any(applied.toxic.name == toxic.name for applied in self._applied):
            raise RefusedError(409, "toxic already exists")
        applied = AppliedToxic(toxic)
        self._applied.append(applied)
        self._refit()
        return applied

    def change_toxic(self, applied: AppliedToxic, toxic: Toxic) -> None:
        """Have a toxic act by other attributes or toxicity, on open connections at once."""
        applied.toxic = toxic
        for connection in list(self._connections):
            connection.retune(applied)

    def remove_toxics(self, names: Iterable[str]) -> None:
        """Take toxics away; what they hold back is delivered at once, in order."""
        gone = set(names)
        self._applied = [applied for applied in self._applied if applied.toxic.name not in gone]
        self._refit()

    def stats_json(self) -> dict[str, Any]:
        """The live counters."""
        tally = self.tally
        stats: dict[str, Any] = {
            "enabled": self.settings.enabled,
            "connections": {
                "open": self.open_connections,
                "opened": tally.opened,
                "refused": tally.refused,
                "cut": tally.cut,
                **self._tls_counts(),
            },
            "bytes": {"upstream": tally.upstream.bytes, "downstream": tally.downstream.bytes},
            **({self.settings.protocol: self.tally.dialect} if self.settings.protocol != "tcp" else {}),
            "toxics": {applied.toxic.name: applied.as_json() for applied in self._applied},
        }
        if not self.settings.enabled:
            stats["down_since_seconds"] = round(time.monotonic() - self._down_since, 6)
        return stats

    def _listening(self, wanted: Endpoint, *, moved: bool) -> Listener:
        if self.listener is None or moved:
            return Listener(wanted, self._shared.audit)
        if not self.settings.enabled:
            self.listener.listen()
        return self.listener

    def _accepted(self, accepted: socket) -> None:
        self.tally.opened += 1
        connection = Connection(self._around)
        self._connections[connection] = None
        connection.start(accepted)

    def _tls_counts(self) -> dict[str, int]:
        tally = self.tally
        if self.settings.tls is None and not tally.tls_failed and not tally.tls_truncated:
            return {}
        return {"tls_failed": tally.tls_failed, "tls_truncated": tally.tls_truncated}

    def _way(self) -> Way:
        settings, tls = self.settings, self.settings.tls
        return Way(
            upstream=(settings.upstream.host, settings.upstream.port),
            tls=None if tls is None else TlsWay(tls.listen, tls.upstream, settings.protocol, self._tls_watch),
            mark=self._shared.mark,
        )

    def _surroundings(self) -> Surroundings:
        protocol = self.settings.protocol
        return Surroundings(
            way=self._way(),
            seed=f"{self._shared.seed}/{self.name}",
            tally=self.tally,
            toxics=self.toxics,
            gone=lambda connection: self._connections.pop(connection, None),
            open=lambda: self.open_connections,
            agenda=self._shared.agenda,
            dialect=None if protocol == "tcp" else dialect_of(protocol),
            family="stream" if protocol == "tcp" else protocol,
            restarting_timeouts=self._shared.restarting_timeouts,
        )

    def _refit(self) -> None:
        for connection in list(self._connections):
            connection.refit()

    def _check_protocol(self, protocol: Protocol) -> None:
        for applied in self._applied:
            _check_understood(applied.toxic, protocol)


def dialect_of(protocol: Protocol) -> Callable[[Wires], Dialect]:
    """Makes interpreters of that protocol; imported when the first proxy asks for it."""
    if protocol == "http":
        from chaosrunner.proxy.http.dialect import HttpDialect

        return HttpDialect
    from chaosrunner.proxy.postgres.dialect import PostgresDialect

    return PostgresDialect


def route(settings: Settings) -> tuple[object, ...]:
    """What connections depend on apart from the address they came to."""
    return settings.upstream, settings.protocol, settings.tls


def understands(protocol: Protocol, toxic: Toxic) -> bool:
    """Whether a proxy of that protocol can do what a toxic asks."""
    return toxic.family not in {"http", "postgres"} or toxic.family == protocol


def _check_understood(toxic: Toxic, protocol: Protocol) -> None:
    """Refuse a toxic that acts on what a proxy of that protocol does not understand."""
    if not understands(protocol, toxic):
        raise bad_value(f"{toxic.type} needs a proxy whose protocol is {toxic.family}, not {protocol}")
