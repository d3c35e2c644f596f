"""A client's retry policy at work on one hit."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from chaosrunner.logic.chance import RETRIES, uniform

if TYPE_CHECKING:
    from chaosrunner.load.act import OpenHit
    from chaosrunner.model.http_client import Retry
    from chaosrunner.model.load import Outcome

LONGEST_HEEDED_S = 3_600.0


class Retries:
    """What is left of the retries of one hit."""

    __slots__ = ("_done", "_keys", "_policy", "_seed")

    def __init__(self, policy: Retry, seed: int, hit: OpenHit) -> None:
        self._policy = policy
        self._seed = seed
        self._keys = (hit.name, hit.journey.who, hit.journey.nth)
        self._done = 0

    @property
    def timeout_s(self) -> float | None:
        """How long one attempt may take; None = as long as the hit."""
        return self._policy.timeout_s

    def wants(self, status: int, outcome: Outcome | None) -> bool:
        """Whether the policy asks again after such an end: a status, or an outcome without one."""
        if self._done == self._policy.times:
            return False
        return status in self._policy.statuses if outcome is None else outcome.value in self._policy.outcomes

    def pause_s(self, retry_after: str) -> float:
        """How long to wait before the next attempt; each call is one retry."""
        policy = self._policy
        pause = min(policy.longest_s, policy.backoff_s * 2.0 ** min(self._done, 60))
        if policy.jitter:
            pause *= uniform(self._seed, RETRIES, *self._keys, self._done)
        self._done += 1
        return max(pause, asked_for_s(retry_after)) if policy.heed else pause


def asked_for_s(retry_after: str) -> float:
    """Seconds of a Retry-After header: a number, or a date; 0 for anything else (RFC 9110, 10.2.3)."""
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), LONGEST_HEEDED_S)
    try:
        left = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(left, 0.0), LONGEST_HEEDED_S)
