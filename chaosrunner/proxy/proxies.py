"""One proxy: where it listens, where it leads, its toxics and its connections."""

import asyncio
import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from socket import socket
from typing import Any

from chaosrunner.proxy.audit import Audit
from chaosrunner.proxy.listener import Address, Endpoint, Listener
from chaosrunner.proxy.refusals import RefusedError, toxic_not_found
from chaosrunner.proxy.relay import Connection, Surroundings
from chaosrunner.proxy.stats import AppliedToxic, ProxyTally
from chaosrunner.proxy.toxics import Toxic


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set about a proxy.

    Attributes:
        listen: Where clients connect; port 0 until it has been bound.
        upstream: The server.
        enabled: Whether clients can connect.
    """

    listen: Endpoint
    upstream: Address
    enabled: bool = True


class Proxy:
    """A named way through, from a listening address to a server. Starts disabled; `configure` opens it."""

    def __init__(self, name: str, settings: Settings, seed: int, audit: Audit) -> None:
        self.name = name
        self.settings = dataclasses.replace(settings, enabled=False)
        self.listener: Listener | None = None
        self._seed = seed
        self._audit = audit
        self._applied: list[AppliedToxic] = []
        self._connections: set[Connection] = set()
        self._tally = ProxyTally()
        self._down_since = time.monotonic()

    def configure(self, wanted: Settings, listener: Listener | None = None) -> None:
        """Set everything as `wanted`; connections are cut unless nothing changes for them.

        Args:
            wanted: The settings to have.
            listener: One that listens at the wanted address already; it is owned by the proxy from here on.

        Raises:
            RefusedError: 500 if the address cannot be bound; nothing is changed then, and the old one still listens.
        """
        moved = wanted.listen.address != self.settings.listen.address
        if listener is None and wanted.enabled:
            listener = self._listening(wanted.listen, moved=moved)
        if moved or wanted.upstream != self.settings.upstream or not wanted.enabled:
            self.cut()
        if self.listener is not None and self.listener is not listener:
            if moved or listener is not None:
                self.listener.close()
                self.listener = None
            elif self.settings.enabled:
                self.listener.suspend()
        if self.settings.enabled and not wanted.enabled:
            self._down_since = time.monotonic()
        self.settings = wanted
        if listener is not None:
            self.listener = listener
            self.settings = dataclasses.replace(wanted, listen=listener.endpoint)
            listener.accept(self._accepted)

    def cut(self) -> None:
        """Reset every connection."""
        for connection in list(self._connections):
            self._tally.cut += 1
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
            RefusedError: 409 if the name is taken.
        """
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
        tally = self._tally
        stats: dict[str, Any] = {
            "enabled": self.settings.enabled,
            "connections": {
                "open": len(self._connections),
                "opened": tally.opened,
                "refused": tally.refused,
                "cut": tally.cut,
            },
            "bytes": {"upstream": tally.upstream.bytes, "downstream": tally.downstream.bytes},
            "toxics": {applied.toxic.name: applied.as_json() for applied in self._applied},
        }
        if not self.settings.enabled:
            stats["down_since_seconds"] = round(time.monotonic() - self._down_since, 6)
        return stats

    def _listening(self, wanted: Endpoint, *, moved: bool) -> Listener:
        if self.listener is None or moved:
            return Listener(wanted, self._audit)
        if not self.settings.enabled:
            self.listener.listen()
        return self.listener

    def _accepted(self, accepted: socket) -> None:
        self._tally.opened += 1
        around = Surroundings(
            upstream=(self.settings.upstream.host, self.settings.upstream.port),
            seed=f"{self._seed}/{self.name}",
            tally=self._tally,
            toxics=self.toxics,
            gone=self._connections.discard,
        )
        connection = Connection(self._tally.opened, around)
        self._connections.add(connection)
        connection.start(accepted)

    def _refit(self) -> None:
        for connection in list(self._connections):
            connection.refit()
