"""Who sends the load: processes on this host, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from chaosrunner.load.crew import Crew, LocalCrew
    from chaosrunner.model.system import System


@asynccontextmanager
async def crew_of(system: System, url: str | None) -> AsyncIterator[Crew]:
    """The load workers for a system, for as long as the body lasts.

    Args:
        system: what they will load.
        url: of a Dask scheduler; None for processes on this host.

    Raises:
        Mistakes: there is no such cluster, or it cannot be used; nothing was touched.
    """
    if url is None:
        yield local_crew(system)
        return
    from chaosrunner.load.cluster.crew import cluster

    async with cluster(url) as crew:
        yield crew


def local_crew(system: System) -> LocalCrew:
    """Processes on this host, which may be the system's as well."""
    from chaosrunner.load.crew import LocalCrew

    places = [system.entry, *(place for part in system.components.values() for place in part.at)]
    hosts = [urlsplit(place if "//" in place else f"//{place}").hostname for place in places]
    processes = any(part.processes for part in system.components.values())
    return LocalCrew([*filter(None, hosts), *(["localhost"] if processes else [])])
