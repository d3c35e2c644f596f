"""One connection through a proxy: its two sockets, the way in, the toxics that strike it, and its end."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from chaosrunner.proxy.agenda import Agenda
from chaosrunner.proxy.dialect import Dialect, Wires
from chaosrunner.proxy.link import Link, Peer, reset_on_close
from chaosrunner.proxy.openings import Way, meet_client, reach_server
from chaosrunner.proxy.stats import AppliedToxic, ProxyTally
from chaosrunner.proxy.tls.failures import TlsFailedError
from chaosrunner.proxy.tls.openings import open_with_tls
from chaosrunner.proxy.toxics.chain import stage_for
from chaosrunner.proxy.toxics.doorstep import Doorstep, Struck, refuses
from chaosrunner.proxy.toxics.kinds import Family
from chaosrunner.proxy.toxics.luck import Luck
from chaosrunner.proxy.toxics.stage import End, Means, Stage


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the connections of a proxy have in common.

    Attributes:
        way: How both sides are opened.
        seed: What draws start from where a toxic has no seed of its own.
        tally: The proxy's counters.
        toxics: The toxics at work, in order; read whenever they have changed.
        gone: Told once when a connection is over.
        open: How many connections there are.
        agenda: To do something later.
        dialect: Makes the interpreter of a connection; None for plain TCP.
        family: The family of toxics that the dialect acts for.
        restarting_timeouts: As `Means` has it.
    """

    way: Way
    seed: str
    tally: ProxyTally
    toxics: Callable[[], Iterable[AppliedToxic]]
    gone: Callable[["Connection"], object]
    open: Callable[[], int]
    agenda: Agenda
    dialect: Callable[[Wires], Dialect] | None = None
    family: Family = "stream"
    restarting_timeouts: bool = False


class Connection:
    """A client's connection and the one that we made to the server for it."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._up = Link(around.tally.upstream, self._on_end)
        self._down = Link(around.tally.downstream, self._on_end)
        self._client = Peer(sends=self._up, takes=self._down, lost=self._lost)
        self._server = Peer(sends=self._down, takes=self._up, lost=self._lost)
        self._finished: set[Link] = set()
        self._lucks: dict[AppliedToxic, Luck] = {}
        self._accepted: socket.socket | None = None  # until it belongs to the client's transport
        self._doorstep = Doorstep(around.agenda, self._enter)
        self._dialect = self._interpreted()
        self._connecting: asyncio.Task[None] | None = None
        self._draining = False  # it is being closed: no toxic acts any more
        self._over = False
        self._gone = asyncio.Event()

    def start(self, accepted: socket.socket) -> None:
        """Relay between an accepted socket and the server, unless a toxic will not have it; returns at once."""
        self._accepted = accepted
        self._fit()
        if refuses(self._struck("connect"), self._around.open()):
            self._around.tally.refused += 1
            self.reset()
        else:
            self._doorstep.wait(self._struck("connect"))

    def refit(self) -> None:
        """Have the proxy's toxics of now at work, by their toxicity and attributes of now."""
        self._fit()
        if self._dialect is not None:
            self._dialect.refit()
        self._doorstep.wait(self._struck("connect"))

    def retune(self, applied: AppliedToxic) -> None:
        """Act by the changed toxicity and attributes of `applied`."""
        self.refit()
        for link in (self._up, self._down):
            link.retune(applied)

    def close(self) -> None:
        """Close both sides once what was written has been sent."""
        self._stop()
        self._client.close()
        self._server.close()

    async def closed(self) -> None:
        """Let go what toxics hold, close, and wait until what was written has been sent to both sides."""
        self._draining = True
        self.refit()
        self.close()
        if not (self._client.gone and self._server.gone):
            await self._gone.wait()

    def reset(self) -> None:
        """Close both sides at once, so that they see a TCP reset."""
        if self._accepted is not None:
            reset_on_close(self._accepted)
        self._stop()
        self._client.reset()
        self._server.reset()

    def _interpreted(self) -> Dialect | None:
        """The dialect's interpreter of this connection, in front of the stages of both directions."""
        around = self._around
        if around.dialect is None:
            return None
        wires = Wires(
            up=self._up.pass_on,
            down=self._down.pass_on,
            toxics=lambda: [applied for applied in self._toxics() if applied.toxic.family == around.family],
            random=self._random,
            review=self._review,
            agenda=around.agenda,
            tally=around.tally.dialect,
        )
        dialect = around.dialect(wires)
        # What a dialect says itself is bounded only by what it is asked. What the server says is bounded by its own
        # link, which stops reading far below this; so nobody else's requests are held up.
        self._up.interpret(dialect.ask, lambda: max(dialect.held_up, self._down.backlog_bytes // 2))
        self._down.interpret(dialect.answer, lambda: dialect.held_down)
        return dialect

    def _fit(self) -> None:
        self._lucks = {applied: self._luck(applied) for applied in self._toxics()}
        struck = [applied for applied, _ in self._struck("stream")]
        for link, stream in ((self._up, "upstream"), (self._down, "downstream")):
            link.refit([applied for applied in struck if applied.toxic.stream == stream], self._stage)

    def _toxics(self) -> Iterable[AppliedToxic]:
        return () if self._draining else self._around.toxics()

    def _luck(self, applied: AppliedToxic) -> Luck:
        return self._lucks.get(applied) or Luck(self._around.seed, applied)

    def _struck(self, family: Family) -> Struck:
        return [
            (applied, luck)
            for applied, luck in self._lucks.items()
            if applied.toxic.family == family and luck.strikes()
        ]

    def _random(self, applied: AppliedToxic) -> Random:
        return self._lucks[applied].random

    def _review(self) -> None:
        self._up.review()
        self._down.review()

    def _stage(self, applied: AppliedToxic) -> Stage:
        link = self._up if applied.toxic.stream == "upstream" else self._down
        review = link.review if self._dialect is None else self._review
        means = Means(review, self._around.agenda, self._around.restarting_timeouts)
        return stage_for(applied, self._lucks[applied], means)

    def _enter(self) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        accepted, self._accepted = self._accepted, None
        assert accepted is not None
        opening = self._open_plain if self._around.way.tls is None else self._open_with_tls
        if await opening(accepted):
            self._down.open()
            self._up.open()
            self._up.choke(blocked=False)

    async def _open_plain(self, accepted: socket.socket) -> bool:
        try:
            await meet_client(self._around.way, accepted, lambda: self._client)
        except OSError:  # the client is gone again
            self._stop()
            return False
        # Until the server is there the client's bytes wait in the kernel, at most one read of them here.
        self._up.choke(blocked=True)
        try:
            await reach_server(self._around.way, lambda: self._server)
        except (OSError, ValueError):
            self._around.tally.refused += 1
            self.reset()
            return False
        return True

    async def _open_with_tls(self, accepted: socket.socket) -> bool:
        try:
            await open_with_tls(self._around.way, accepted, self._client, self._server)
        except TlsFailedError:  # has been counted
            self._stop()
            return False
        except (OSError, ValueError):
            self._around.tally.refused += 1
            self._stop()
            return False
        return True

    def _on_end(self, link: Link, end: End) -> None:
        match end:
            case End.RESET:
                self.reset()
            case End.CLOSE if self._draining:
                pass  # closed anyway, behind what the other direction still lets go
            case End.CLOSE:
                self.close()
            case End.FIN:
                self._finished.add(link)
                if len(self._finished) == 2:
                    self.close()
                elif link.target.alive:
                    assert link.target.transport is not None
                    link.target.transport.write_eof()

    def _lost(self) -> None:
        if self._client.gone and self._server.gone:
            self._gone.set()
        if self._client.alive or self._server.alive:
            return  # what is still under way to the one that lives may arrive
        self._stop()

    def _stop(self) -> None:
        if self._over:
            return
        self._over = True
        self._doorstep.leave()
        if self._accepted is not None:
            self._accepted.close()
        if self._dialect is not None:
            self._dialect.drop()
        self._up.drop()
        self._down.drop()
        task = self._connecting
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self._around.gone(self)
