"""A System says where things are: one experiment serves a laptop, CI and staging by naming another system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chaosrunner.model.http_client import Tls
from chaosrunner.model.rules import Rules
from chaosrunner.model.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """How to find a component's processes on this host. Exactly one way is given."""

    ports: tuple[int, ...] = ()
    """TCP ports they listen on, one process a port; the owner of the port now is the target."""
    pids: tuple[int, ...] = ()
    pidfiles: tuple[str, ...] = ()
    command: str = ""
    """A regular expression searched in the command line (arguments joined by spaces)."""
    at_most: int = 0
    """With `command`: refuse if more processes match. Required there, so a loose pattern cannot hit half the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """How to find a component's running containers. Exactly one of `names`, `labels`, `compose`, `image` is given."""

    names: tuple[str, ...] = ()
    """Their names, one an instance."""
    labels: tuple[str, ...] = ()
    """`key` or `key=value`; a container has all of them."""
    compose: str = ""
    """`project/service`, as Docker Compose labels them."""
    image: str = ""
    """The image as the container names it; without a tag `latest` is meant."""
    at_most: int = 0
    """Refuse if more containers are found; 0 = any number."""
    engine: str = ""
    """`unix:///path` or `tcp://host:port`; empty = `DOCKER_HOST`, else the engine of this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnProxy:
    """A fault proxy that is put in front of a component that has none."""

    behind: tuple[str, ...] = ()
    """`host:port` of the component's `at`, one an instance."""
    listen: str = ""
    """`host:port` that clients are pointed at, opened by `chaosrunner proxy --system`; empty = nobody is pointed
    anywhere: while a fault lasts the kernel of this host sends new connections to `at` through a proxy of ours."""
    protocol: str = "tcp"
    """What a proxy at `listen` understands of the bytes: tcp, http or postgres."""
    reset_open: bool = False
    """Whether connections that are open when the kernel begins are reset, so that they come back through the proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One named part of a system. Every field is optional; an injector says which it needs."""

    name: str
    at: tuple[str, ...] = ()
    """`host:port` or URLs where it answers."""
    processes: Processes | None = None
    containers: Containers | None = None
    proxies: tuple[str, ...] = ()
    """Names of the fault proxies in front of it, one an instance."""
    host: str = ""
    """Where its processes, namespaces and resources are, as `ssh://user@web-2:22/path/of/chaosrunner`; empty: here."""
    proxy: OwnProxy | None = None
    """The proxy that we put in front of it; one that is listened to at a port is named in `proxies` as well."""
    namespaces: tuple[str, ...] = ()
    """Names of the network namespaces (`ip netns`) it lives in, one an instance."""
    dsn: Secret | None = None
    """Postgres as the application reaches it: its role and database say whose sessions are the application's."""
    admin: Secret | None = None
    """Postgres for the injector: a role that may end the application's sessions."""
    redis: Secret | None = None
    """Redis for the injector: a user that may see and end clients, and change settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Names → where they are; environment; protections. Locks and orphan checks are per system name."""

    name: str
    file: str
    environment: str = ""
    entry: str = ""
    """Base URL; relative paths of the load start here."""
    fault_proxy: str = ""
    """Base URL of the control API of the fault proxy (Toxiproxy API v2)."""
    tls: Tls | None = None
    """How whatever speaks TLS is spoken to, unless the load says otherwise; None = as the host trusts."""
    components: Mapping[str, Component] = field(default_factory=dict)
    protect: tuple[str, ...] = ()
    """Component names no fault may target."""
    protect_line: int = 0
    """Where the file says so."""
    rules: Rules = field(default_factory=Rules)
    """What its owner allows."""
