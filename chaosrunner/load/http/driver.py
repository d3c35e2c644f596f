"""HTTP for the sender: one pool an origin, one act a request; the fast path, or the full one where a step needs it."""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaosrunner.errors import LoadBroken
from chaosrunner.load.http.connection import UNKNOWN, Connection
from chaosrunner.load.http.cookies import Jars
from chaosrunner.load.http.full import FullAsk
from chaosrunner.load.http.full_connection import FullConnection
from chaosrunner.load.http.judge import Reply
from chaosrunner.load.http.pool import Budget, Pool, resolve
from chaosrunner.load.http.samples import Samples
from chaosrunner.load.http.script import ready
from chaosrunner.model.http_client import Tls
from chaosrunner.model.http_step import Request
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaosrunner.load.act import Act, OpenHit, Setting
    from chaosrunner.load.bench import Bench
    from chaosrunner.load.http.pool import Origin
    from chaosrunner.load.http.script import Ready
    from chaosrunner.load.ledger import Ledger

_OK = Outcome.OK
_now = time.monotonic_ns

SPARE_FILES = 64
"""Descriptors this process needs beside its connections."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the acts of a worker share."""

    ledger: Ledger
    samples: Samples
    seed: int
    series: Callable[[str], int]
    """Name → index of what is measured beside the requests."""
    jars: Jars = field(default_factory=Jars)
    pools: dict[Origin, Pool] = field(default_factory=dict)


def driver(bench: Bench) -> Http:
    """The HTTP driver of a worker."""
    return Http(bench)


class Http:
    """All pools of a worker; they share its budget of connections."""

    def __init__(self, bench: Bench) -> None:
        self._entry = bench.orders.entry
        self._profile = bench.orders.profile
        self._budget = Budget(self._profile.connections, bench.ledger.count)
        self._shared = Shared(bench.ledger, Samples(bench.ledger), bench.orders.seed, bench.series)
        steps = [step for step in self._profile.steps if isinstance(step, Request)]
        self._full = any(step.full_for for step in steps)
        """One path for the whole load, since its steps share their connections."""

    @property
    def opened(self) -> int:
        """Connections opened so far, ever."""
        return self._budget.opened

    def act(self, step: Request, setting: Setting) -> Act:
        """The act of a request. Raises ValueError for one that cannot work."""
        compiled = ready(step, self._entry, setting)
        pools, origin = self._shared.pools, compiled.origin
        if origin not in pools:
            kind = FullConnection if self._full else Connection
            tls = self._profile.tls or Tls()
            pools[origin] = Pool(origin, self._budget, self._profile.timeout_s, tls=tls, kind=kind)
        return FullAsk(compiled, self._shared) if self._full else Ask(compiled, pools[origin], self._shared.samples)

    async def ready(self) -> None:
        """Look up the hosts and make room for the connections. Raises LoadBroken where the system does not allow it."""
        room_for(self._profile.connections)
        pools = self._shared.pools
        found = await asyncio.gather(*map(resolve, pools))
        for pool, addresses in zip(pools.values(), found, strict=True):
            pool.addresses = list(addresses)

    async def settle(self) -> None:
        """Nothing is left to book."""

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(pool.close() for pool in self._shared.pools.values()))


class Ask:
    """The fast path: sends one request of a journey and judges its reply."""

    __slots__ = ("_fixed", "_is_head", "_keeps_body", "_pool", "_ready", "_samples", "head", "reply", "right")

    def __init__(self, compiled: Ready, pool: Pool, samples: Samples) -> None:
        self._ready = compiled
        self._fixed = compiled.fixed
        self._pool = pool
        self._samples = samples
        self._is_head = compiled.is_head
        self._keeps_body = compiled.judge.needs_body
        judge = compiled.judge
        only_status = not judge.keep and not judge.checks
        self.right = frozenset(filter(judge.status_is_right, range(200, 600))) if only_status else frozenset()
        """Statuses that alone make a reply OK."""
        self.head = UNKNOWN
        self.reply = b""

    def begin(self, hit: OpenHit) -> None:
        """Send it on a free connection, or wait for one."""
        request = self._fixed
        if request is None:
            request = self._ready.request(hit.journey.variables)
            hit.fired_ns = _now()  # it was composed for this hit, and that took time of ours
        hit.request = request
        hit.is_head = self._is_head
        hit.keeps_body = self._keeps_body
        pool = self._pool
        connection = pool.hot
        if connection is None:
            pool.send(hit)
        else:
            pool.hot = None
            hit.sent_ns = hit.fired_ns
            connection.send(hit)

    def answered(self, hit: OpenHit, status: int, body: bytes, now_ns: int) -> None:
        """A whole reply has come. `body` is empty unless `keeps_body`."""
        if status in self.right:
            hit.road.ended(hit, _OK, now_ns)
            return
        reply = Reply(status, body, len(body), (now_ns - hit.due_ns) / NANOS)
        outcome, why = self._ready.judge(reply, hit.journey.variables)
        if outcome is not _OK:
            self._samples.add(self._ready.name, outcome, status, why)
        hit.end(outcome, now_ns)

    def cancel(self, hit: OpenHit) -> Outcome:
        """Its connection, if it has one, cannot be used again."""
        outcome = self._pool.given_up(sent=bool(hit.sent_ns))
        self._pool.cancel(hit)
        return outcome


def room_for(connections: int) -> None:
    """Raise the limit of open files as far as needed. Raises LoadBroken where the system does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY and need > hard:
        raise LoadBroken(
            f"{connections} connections need {need} open files, and {hard} are allowed",
            advice="raise `ulimit -Hn` or lower `connections`",
        )
    if soft != resource.RLIM_INFINITY and need > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
