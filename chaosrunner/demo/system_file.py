"""The system file that says where the parts of a running demo are."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from chaosrunner.demo.options import HOST, REPLICAS
from chaosrunner.demo.postgres import ADMIN_ROLE, APP_ROLE, DATABASE

if TYPE_CHECKING:
    from chaosrunner.demo.options import Ports


def system_file(ports: Ports, *, dsn: str | None = None, namespace: str | None = None, cached: bool = False) -> str:
    """The YAML text of the system file.

    Args:
        ports: Where the parts listen.
        dsn: The database that was given; the demo's own Postgres when None. Its password is left out, because a file is
            no place for one: Postgres clients take it from PGPASSWORD.
        namespace: The network namespace of the model; None when it has none of its own.
        cached: Whether there is a cache.
    """
    replicas = ", ".join(str(ports.replica(number)) for number in REPLICAS)
    proxies = ", ".join(f"api-{number}" for number in REPLICAS)
    app = own_dsn(ports) if dsn is None else without_password(dsn)
    admin = own_dsn(ports, ADMIN_ROLE) if dsn is None else without_password(dsn)
    cache = f"cache:\n  redis: redis://{HOST}:{ports.cache}/0\n  proxies: [cache]\n" if cached else ""
    inside = f"\n  namespaces: [{namespace}]" if namespace else ""
    return f"""\
# yaml-language-server: $schema=../../chaosrunner/schema/system.schema.json
environment: demo
entry: http://{HOST}:{ports.gateway}
fault_proxy: http://{HOST}:{ports.fault_proxy}
api:
  processes: {{ports: [{replicas}]}}
  proxies: [{proxies}]
model:
  proxies: [model]{inside}
database:
  dsn: {app}
  admin: {admin}
  proxies: [database]
{cache}"""


def own_dsn(ports: Ports, role: str = APP_ROLE) -> str:
    """The DSN of the demo's own Postgres; it trusts loopback, so there is no password."""
    return f"postgresql://{role}@{HOST}:{ports.database}/{DATABASE}"


def without_password(dsn: str) -> str:
    """The same DSN without its password."""
    parts = urlsplit(dsn)
    userinfo, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{userinfo.partition(':')[0]}{at}{host}"))


def at_port(dsn: str, port: int) -> str:
    """The same DSN, reached at `port` on loopback: the way through the fault proxy."""
    parts = urlsplit(dsn)
    userinfo, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{userinfo}{at}{HOST}:{port}"))


def address_of(dsn: str) -> str:
    """`host:port` of a DSN; 5432 where it names no port."""
    parts = urlsplit(dsn)
    host = parts.hostname or HOST
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or 5432}"
