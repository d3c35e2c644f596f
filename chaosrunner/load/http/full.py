"""The full path: acts that follow redirects, keep cookies, decompress and retry.

Chosen for a load as soon as one of its steps needs it (`Request.full_for`); otherwise the fast path does not even
know that it exists. It is built on the same raw connections and pools, not on a client library: those resend a request
when a kept-alive connection turns out dead, which hides exactly what is measured here, and they do not tell when a
request was handed to the kernel.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from chaosrunner.load.http.full_connection import Attempt
from chaosrunner.load.http.judge import Reply
from chaosrunner.load.http.redirects import CannotFollow, is_redirect, redirected
from chaosrunner.load.http.retries import Retries
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.act import OpenHit
    from chaosrunner.load.http.cookies import Jars
    from chaosrunner.load.http.driver import Shared
    from chaosrunner.load.http.script import Message, Ready


class FullAsk:
    """Sends the requests that one step of a journey may need, and judges the last reply."""

    def __init__(self, ready: Ready, shared: Shared) -> None:
        self._ready = ready
        self._shared = shared
        self._open: dict[OpenHit, Asking] = {}

    def begin(self, hit: OpenHit) -> None:
        """Send the first request on a free connection, or wait for one."""
        asking = self._open[hit] = Asking(self._ready, self._shared, hit, self._open)
        asking.send()

    def cancel(self, hit: OpenHit) -> Outcome:
        """Its connection, if it has one, cannot be used again."""
        return self._open.pop(hit).cancel()


class Asking:
    """One hit: its attempts one after the other, until one of them ends it. To an attempt it is act and road."""

    __slots__ = (
        "_attempt",
        "_begun",
        "_changed",
        "_hops",
        "_open",
        "_origin",
        "_retries",
        "_shared",
        "_timer",
        "hit",
        "ready",
    )

    def __init__(self, ready: Ready, shared: Shared, hit: OpenHit, opened: dict[OpenHit, Asking]) -> None:
        self.ready = ready
        self.hit = hit
        self._shared = shared
        self._open = opened
        self._changed: Message | None = None
        """The request, once it is not the step's own any more: a redirect made another of it."""
        self._origin = ready.origin
        self._begun = False
        self._hops = 0
        self._retries = Retries(ready.client.retry, shared.seed, hit) if ready.client.retry else None
        self._attempt: Attempt | None = None
        self._timer: asyncio.TimerHandle | None = None
        """Ends an attempt, or a pause between two."""

    def send(self) -> None:
        """Ask, for the first time or again."""
        if self._changed is None and self._jars is None:
            request, is_head = self.ready.request(self.hit.journey.variables), self.ready.is_head
        else:
            message = self._message()
            if self._jars is not None:
                message = self._jars.added(message, self._origin, self.hit.journey)
            request, is_head = message.wire(), message.method == "HEAD"
        attempt = Attempt(self, request, is_head=is_head)
        if not self._begun:
            self._begun = True
            self.hit.fired_ns = attempt.fired_ns  # it was composed for this hit, and that took time of ours
        self._attempt = attempt
        if self._retries is not None and self._retries.timeout_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self._retries.timeout_s, self._too_late)
        self._shared.pools[self._origin].send(attempt)

    def cancel(self) -> Outcome:
        """Forget it."""
        outcome = self._drop()
        self._stamp()
        return outcome

    # --- what attempts tell

    def answered(self, attempt: Attempt, status: int, body: bytes, now_ns: int) -> None:
        """A whole reply has come: it is the answer, or there is more to do."""
        self._rest()
        if self._jars is not None:
            self._jars.learn(attempt.headers, self._origin, self._message().path, self.hit.journey)
        self._account(attempt)
        if self._follow(attempt, status, now_ns) or self._again(status, None, attempt.headers.get("retry-after", "")):
            return
        took_s = (now_ns - self.hit.due_ns) / NANOS
        reply = Reply(status, body, attempt.size, took_s, attempt.headers)
        outcome, why = self.ready.judge(reply, self.hit.journey.variables)
        if outcome is not Outcome.OK:
            self._shared.samples.add(self.ready.name, outcome, status, why)
        self._end(outcome, now_ns)

    def ended(self, attempt: OpenHit, outcome: Outcome, now_ns: int) -> None:
        """There will be no whole reply to an attempt."""
        assert attempt is self._attempt
        self._rest()
        if not self._again(0, outcome, ""):
            self._end(outcome, now_ns)

    # --- what follows

    def _message(self) -> Message:
        return self._changed or self.ready.message(self.hit.journey.variables)

    @property
    def _jars(self) -> Jars | None:
        return self._shared.jars if self.ready.client.cookies else None

    def _follow(self, attempt: Attempt, status: int, now_ns: int) -> bool:
        """Whether the reply is a redirect to be followed; then its request has been sent, or the hit has ended."""
        limit, location = self.ready.client.redirects, attempt.headers.get("location")
        if not limit or location is None or not is_redirect(status) or status in self.ready.judge.expect:
            return False
        try:
            if self._hops == limit:
                raise CannotFollow(f"more than {limit} redirects")
            message, origin = redirected(self._message(), self._origin, status, location)
            if origin not in self._shared.pools:
                raise CannotFollow(f"a redirect to {origin.url}, which no step of this load names")
        except CannotFollow as error:
            self._shared.samples.add(self.ready.name, Outcome.STATUS, status, str(error))
            self._end(Outcome.STATUS, now_ns)
            return True
        self._hops += 1
        self._changed, self._origin = message, origin
        self._shared.ledger.count(f"{self.ready.name}.redirects")
        self._stamp()
        self.send()
        return True

    def _again(self, status: int, outcome: Outcome | None, retry_after: str) -> bool:
        """Whether the policy asks again; then that is under way."""
        if self._retries is None or not self._retries.wants(status, outcome):
            return False
        self._stamp()
        self._attempt = None
        pause_s = self._retries.pause_s(retry_after)
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._resend, round(pause_s * 1e6))
        return True

    def _resend(self, pause_us: int) -> None:
        """A pause is over."""
        series = self._shared.series(f"{self.ready.name}.retries")
        self._shared.ledger.observe(series, time.monotonic_ns(), pause_us)
        self.send()

    def _too_late(self) -> None:
        """An attempt has used up its own time."""
        attempt = self._attempt
        assert attempt is not None
        self.ended(attempt, self._drop(), time.monotonic_ns())

    def _end(self, outcome: Outcome, now_ns: int) -> None:
        del self._open[self.hit]
        self._stamp()
        self.hit.end(outcome, now_ns)

    # --- small things

    def _drop(self) -> Outcome:
        """Let go of the attempt under way. Returns what its time was spent on."""
        self._rest()
        attempt = self._attempt
        if attempt is None or attempt.over:
            return Outcome.TIMEOUT
        pool = self._shared.pools[self._origin]
        outcome = pool.given_up(sent=bool(attempt.sent_ns))
        pool.cancel(attempt)
        return outcome

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stamp(self) -> None:
        """A hit was sent with its first attempt, and answered with its last."""
        attempt, hit = self._attempt, self.hit
        if attempt is None:
            return
        hit.sent_ns = hit.sent_ns or attempt.sent_ns
        hit.connected_ns = hit.connected_ns or attempt.connected_ns
        hit.first_ns = attempt.first_ns

    def _account(self, attempt: Attempt) -> None:
        if self.ready.client.compression:
            self._shared.ledger.count(f"{self.ready.name}.bytes.wire", attempt.wire_size)
            self._shared.ledger.count(f"{self.ready.name}.bytes.body", attempt.size)
