"""What the demo is asked to be: ports, mode, places; and what it says when it cannot be."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosrunner.errors import ChaosrunnerError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
REPLICAS = (1, 2, 3)
KEY_VARIABLE = "CHAOSRUNNER_DEMO_KEY"
"""Environment variable that gives replicas the key of the tokens: a command line is public."""
DATABASE_VARIABLE = "CHAOSRUNNER_DEMO_DATABASE"
"""Environment variable that gives replicas the DSN of the database."""
CACHE_VARIABLE = "CHAOSRUNNER_DEMO_CACHE"
"""Environment variable that gives replicas the URL of the cache; without it they have none."""
DSN_VARIABLE = "CHAOSRUNNER_DEMO_DSN"
"""Environment variable with the DSN of a database to use, for people and for `running_demo`."""
DISK_VARIABLE = "DEMO_DISK"
"""What `experiments/full-disk.yaml` calls the demo's own disk."""
FRAGILE_VARIABLE = "CHAOSRUNNER_DEMO_FRAGILE"
"""Environment variable that makes a part the fragile one, whatever its value: so a container file needs one switch."""
SPAN = 31
"""How many ports from the base port on belong to one demo."""


class DemoUnavailable(ChaosrunnerError):
    """The demo cannot start here: a port is taken, no Postgres is found. Nothing was left running."""

    exit_code = Exit.MISTAKE


class DemoFailed(ChaosrunnerError):
    """A part of the demo ended or never answered while it started; all others were ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """How one demo is started.

    Attributes:
        base_port: First of the `SPAN` ports it may use; see `Ports`.
        fragile: Whether the system has real-world defects instead of care.
        directory: Where logs, `users.csv` and the system file go; a temporary one when None.
        dsn: An existing database to use, in a schema of our own; its own Postgres is started when None.
        pg_bin: Directory of the Postgres binaries; looked for when None.
        system_file: Where to write the system file in addition to the directory.
        isolated: Whether the model gets a network namespace of its own, which needs root.
        own_disk: Whether the replicas keep an audit trail, on a small disk that only this demo has.
        cache: Whether the replicas read through a cache, in a Redis that only this demo has.
    """

    base_port: int = 18080
    fragile: bool = False
    directory: Path | None = None
    dsn: str | None = None
    pg_bin: Path | None = None
    system_file: Path | None = None
    isolated: bool = False
    own_disk: bool = False
    cache: bool = False


@dataclass(frozen=True, slots=True)
class Ports:
    """Who listens where, counted from one base port."""

    base: int

    @property
    def gateway(self) -> int:
        """The entry that users talk to."""
        return self.base

    def replica(self, number: int) -> int:
        """Where replica `number` (1..3) itself listens."""
        return self.base + number

    @property
    def model(self) -> int:
        """The slow back end behind `POST /prompts`."""
        return self.base + 4

    def proxied_replica(self, number: int) -> int:
        """Where the fault proxy listens for replica `number` (1..3)."""
        return self.base + 10 + number

    @property
    def proxied_model(self) -> int:
        """Where the fault proxy listens for the back end."""
        return self.base + 14

    @property
    def database(self) -> int:
        """Postgres itself."""
        return self.base + 20

    @property
    def proxied_database(self) -> int:
        """Where the fault proxy listens for Postgres."""
        return self.base + 21

    @property
    def cache(self) -> int:
        """Redis itself, in a demo that has a cache."""
        return self.base + 22

    @property
    def proxied_cache(self) -> int:
        """Where the fault proxy listens for Redis."""
        return self.base + 23

    @property
    def fault_proxy(self) -> int:
        """The HTTP API of the fault proxy."""
        return self.base + 30

    def all(self, *, cached: bool = True) -> Iterator[tuple[str, int]]:
        """Every part with the port it will listen on, those of a cache if there is to be one."""
        yield "the gateway", self.gateway
        for number in REPLICAS:
            yield f"api-{number}", self.replica(number)
            yield f"the proxy of api-{number}", self.proxied_replica(number)
        yield "the model", self.model
        yield "the proxy of the model", self.proxied_model
        yield "Postgres", self.database
        yield "the proxy of Postgres", self.proxied_database
        if cached:
            yield "Redis", self.cache
            yield "the proxy of Redis", self.proxied_cache
        yield "the fault proxy", self.fault_proxy


def require_free(ports: Ports, *, cached: bool = True) -> None:
    """Make sure that nothing listens on a port the demo needs, with or without a cache.

    Raises:
        DemoUnavailable: Names every part and port that is taken.
    """
    taken = [f"{port} ({part})" for part, port in ports.all(cached=cached) if not _is_free(port)]
    if taken:
        noun = "port is" if len(taken) == 1 else "ports are"
        raise DemoUnavailable(
            f"{noun} taken: {', '.join(taken)}; stop what listens there or choose another --base-port"
        )


def free_base_port(*, attempts: int = 200) -> int:
    """A base port from which on every port of a demo is free right now.

    Raises:
        DemoUnavailable: No such range was found within `attempts` tries.
    """
    for _ in range(attempts):
        # Below the kernel's ephemeral range: there, an outgoing connection could take a port before we do.
        base = random.randrange(10_000, 32_000 - SPAN)
        if all(_is_free(port) for _, port in Ports(base).all()):
            return base
    raise DemoUnavailable(f"no {SPAN} free ports found in {attempts} attempts")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection of an earlier demo that is still winding down does not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
