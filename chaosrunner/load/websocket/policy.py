"""How long a client waits before it tries to reconnect. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaosrunner.logic.chance import RECONNECTS, uniform

if TYPE_CHECKING:
    from chaosrunner.model.websocket_step import Reconnect

_STEEP = 60
"""Doublings after which a backoff is at its ceiling whatever it is."""


def pause_s(policy: Reconnect, attempt: int, seed: int, *keys: int) -> float:
    """Seconds before an attempt (from 0) to reconnect.

    Backoff draws evenly from 0 to min(most, first · 2^attempt), "full jitter" (Brooker: "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015): of all that were compared there it spreads a herd best.
    """
    if policy.most_s is None:
        return policy.first_s
    ceiling = min(policy.most_s, policy.first_s * 2.0 ** min(attempt, _STEEP))
    return ceiling * uniform(seed, RECONNECTS, *keys, attempt)


def gives_up(policy: Reconnect, failed: int) -> bool:
    """Whether so many failed attempts in a row are enough."""
    return policy.attempts is not None and failed >= policy.attempts
