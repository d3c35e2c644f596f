"""The command line of every part of the demo, apart from Postgres."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chaosrunner.demo.cache_server import cache_command
from chaosrunner.demo.options import CACHE_VARIABLE, DATABASE_VARIABLE, HOST, KEY_VARIABLE, REPLICAS, Ports
from chaosrunner.demo.processes import Command

if TYPE_CHECKING:
    from pathlib import Path

    from chaosrunner.demo.isolation import Isolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """Everything the parts need to know of each other.

    Attributes:
        ports: Who listens where.
        fragile: Which of the two systems this is.
        directory: Where configuration and logs go.
        database: `host:port` of the database itself.
        dsn: The database as replicas reach it, through the fault proxy.
        isolation: The network namespace that the model lives in; None: it lives on this host.
        trail: Directory of the replicas' audit trails; None: they keep none.
        redis: The program that is their cache; None: they have none.
        secret: Key of the tokens, shared by the replicas.
    """

    ports: Ports
    fragile: bool
    directory: Path
    database: str
    dsn: str
    isolation: Isolation | None = None
    trail: Path | None = None
    redis: str | None = None
    secret: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def commands(self) -> list[Command]:
        """All parts, in no particular order: each waits for what it needs."""
        return [
            self._proxy(),
            self._model(),
            *(self._replica(number) for number in REPLICAS),
            self._gateway(),
            *self._cache(),
        ]

    def health_urls(self) -> list[tuple[int, str]]:
        """Port and path of what must answer 200 before the demo is ready."""
        return [
            (self.ports.fault_proxy, "/version"),
            (self.ports.proxied_model, "/health/live"),
            *((self.ports.replica(number), "/health/ready") for number in REPLICAS),
            *((self.ports.proxied_replica(number), "/health/ready") for number in REPLICAS),
            (self.ports.gateway, "/gateway/ready"),
        ]

    def log(self, name: str) -> Path:
        """Where a part's output goes."""
        return self.directory / "logs" / f"{name}.log"

    def _cache(self) -> list[Command]:
        return [] if self.redis is None else [cache_command(self.redis, self.ports.cache, self.log("cache"))]

    def _model(self) -> Command:
        arguments = ("--host", self._model_host, "--port", str(self.ports.model))
        command = self._python("model", "model_backend", *arguments)
        return command if self.isolation is None else replace(command, argv=self.isolation.command(*command.argv))

    @property
    def _model_host(self) -> str:
        return HOST if self.isolation is None else self.isolation.there

    def _replica(self, number: int) -> Command:
        model = f"http://{HOST}:{self.ports.proxied_model}/answer"
        port = self.ports.replica(number)
        name = f"api-{number}"
        trail = [] if self.trail is None else ["--trail", str(self.trail)]
        arguments = ("--name", name, "--port", str(port), "--model", model, *trail, *self._mode())
        return self._python(name, "replica", *arguments)

    def _gateway(self) -> Command:
        replicas = [f"api-{number}=http://{HOST}:{self.ports.proxied_replica(number)}" for number in REPLICAS]
        arguments = [argument for replica in replicas for argument in ("--replica", replica)]
        return self._python("gateway", "gateway", "--port", str(self.ports.gateway), *arguments, *self._mode())

    def _mode(self) -> list[str]:
        return ["--fragile"] if self.fragile else []

    def _python(self, name: str, module: str, *arguments: str) -> Command:
        cache = {} if self.redis is None else {CACHE_VARIABLE: f"redis://{HOST}:{self.ports.proxied_cache}/0"}
        return Command(
            name=name,
            argv=(sys.executable, "-m", f"chaosrunner.demo.{module}", *arguments),
            log=self.log(name),
            environment={KEY_VARIABLE: self.secret, DATABASE_VARIABLE: self.dsn, **cache},
        )

    def _proxy(self) -> Command:
        config = self.directory / "proxies.json"
        config.write_text(json.dumps(self._proxies(), indent=2) + "\n")
        port = str(self.ports.fault_proxy)
        return Command(
            name="proxy",
            argv=(sys.executable, "-m", "chaosrunner.proxy", "--host", HOST, "--port", port, "--config", str(config)),
            log=self.log("proxy"),
        )

    def _proxies(self) -> list[dict[str, object]]:
        ports = self.ports
        routes = [
            *((f"api-{n}", ports.proxied_replica(n), f"{HOST}:{ports.replica(n)}") for n in REPLICAS),
            ("model", ports.proxied_model, f"{self._model_host}:{ports.model}"),
            ("database", ports.proxied_database, self.database),
        ]
        if self.redis is not None:
            routes.append(("cache", ports.proxied_cache, f"{HOST}:{ports.cache}"))
        speaks = {"model": {"protocol": "http"}}  # so that single answers of it can be struck
        return [
            {"name": name, "listen": f"{HOST}:{listen}", "upstream": upstream, "enabled": True, **speaks.get(name, {})}
            for name, listen, upstream in routes
        ]
