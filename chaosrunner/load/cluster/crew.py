"""The load workers of a cluster: one for each Dask worker there is."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from chaosrunner import __version__
from chaosrunner.errors import LoadBroken, Mistake, Mistakes
from chaosrunner.load.cluster.relay import Relay
from chaosrunner.load.cluster.remote import RemoteWorker
from chaosrunner.load.crew import Size

if TYPE_CHECKING:
    from chaosrunner.model.load import LoadProfile

CONNECT_S = 5.0
DASK_PORT = 8786
"""Where a scheduler listens unless it is told otherwise."""
JOIN_S = 3.0
CLOSE_S = 5.0
TLS = "Dask's configuration says which certificates to use (distributed.comm.tls: ca-file, client.cert, client.key)"
PLACE_S = 20.0
"""A Dask worker that does not begin with its relay in this time is busy with something else."""


class ClusterCrew:
    """One worker a Dask worker; see `chaosrunner.load.crew.Crew`."""

    lead_ns = 1_000_000_000
    """Word of the epoch goes through the scheduler, and may have to be said twice."""

    def __init__(self, url: str, members: list[RemoteWorker]) -> None:
        self._url = url
        self._members = members

    async def size(self, profile: LoadProfile) -> Size:
        """All of them, whatever the file says of processes on this host."""
        there = len(self._members)
        return Size(there, f"one for each of the {there} Dask workers at {self._url}")

    async def spawn(self, number: int) -> RemoteWorker:
        """Take the next one. Raises LoadBroken when it does not answer."""
        member = self._members[number]
        try:
            await member.compare_clocks()
        except Exception as error:  # whatever Dask raises when its worker is gone
            raise LoadBroken(f"load worker {number} ({member.address}): {error}") from error
        return member


@asynccontextmanager
async def cluster(url: str) -> AsyncIterator[ClusterCrew]:
    """The load workers of the cluster at a scheduler's address, for as long as the body lasts.

    TLS files are those of Dask's own configuration.

    Raises:
        Mistakes: there is no such cluster, no worker in it, or one that cannot be used; nothing was touched.
    """
    found = re.fullmatch(r"(?:tcp|tls)://(.+?)(:\d+)?", url)
    if not found or not found[2]:
        meant = f"; did you mean {url}:{DASK_PORT}?" if found else "; expected tcp://host:port or tls://host:port"
        raise _mistake(f"'{url}' is no address of a Dask scheduler{meant}")
    try:
        from distributed import Client
    except ImportError as error:
        raise _mistake(f"needs Dask ({error}); install it with: pip install 'chaosrunner[cluster]'") from error
    await _look_up(found[1])
    # What it says of lost connections becomes facts, and one line that a person can act on.
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    connecting: Any = Client
    about_tls = f"; {TLS}" if url.startswith("tls") else ""
    try:
        client = connecting(url, asynchronous=True, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise _mistake(f"{url} cannot be used: {error}{about_tls}") from error
    try:
        try:
            await client
        except (OSError, ValueError, TypeError) as error:  # a TypeError is how Dask says that there is no certificate
            why = "no certificate is known" if isinstance(error, TypeError) else error
            raise _mistake(f"no Dask scheduler answers at {url}: {why}{about_tls}") from error
        yield ClusterCrew(url, await _place(client, url))
    finally:
        await client.close(timeout=CLOSE_S)


async def _look_up(host: str) -> None:
    """Raise Mistakes for a name that nobody knows: waiting for it would say only that nobody answers."""
    try:
        async with asyncio.timeout(CONNECT_S):
            await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), None)
    except (OSError, UnicodeError) as error:
        raise _mistake(f"no host is known by the name '{host}'") from error


async def _place(client: Any, url: str) -> list[RemoteWorker]:
    """A relay in every Dask worker; in the order of their addresses."""
    try:
        await client.wait_for_workers(1, timeout=JOIN_S)
    except TimeoutError as error:
        raise _mistake(f"no worker has joined the Dask scheduler at {url}") from error
    addresses = sorted((await client.scheduler.identity())["workers"])
    # Only there, only once, and never the result of an earlier run: a share of load is never fired twice.
    once = {"actor": True, "allow_other_workers": False, "retries": 0, "pure": False}
    futures = [client.submit(Relay, workers=[address], **once) for address in addresses]
    places = zip(addresses, futures, strict=True)
    try:
        async with asyncio.timeout(PLACE_S):
            return list(await asyncio.gather(*(_member(n, *place) for n, place in enumerate(places))))
    except TimeoutError as error:
        raise _mistake(f"the Dask workers at {url} are busy: one did not begin within {PLACE_S:g} s") from error


async def _member(number: int, address: str, future: Any) -> RemoteWorker:
    try:
        actor = await future
        place = await actor.place()
    except TimeoutError:
        raise
    except Exception as error:  # whatever it raises there, a missing package above all
        raise _mistake(f"{address} cannot run load: {type(error).__name__}: {error}") from error
    if place.version != __version__:
        raise _mistake(f"{address} has chaosrunner {place.version}, this is {__version__}; both must be the same")
    return RemoteWorker(number, address, actor, place)


def _mistake(message: str) -> Mistakes:
    return Mistakes([Mistake("--cluster", 0, 0, message)])
