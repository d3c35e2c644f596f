"""A circuit breaker: stop asking what keeps failing, and find out gently when it is back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

BreakerState = Literal["closed", "open", "half-open"]


class Breaker:
    """Closed; opens after `threshold` failures in a row; after `rest_s` admits one trial; its success closes it.

    Whoever is admitted must report `succeeded` or `failed`. A trial that never reports is given up after `rest_s`.

    Args:
        threshold: Failures in a row that open it, at least 1.
        rest_s: Seconds between opening (or a failed trial) and the next trial.
        clock: Monotonic seconds.
    """

    def __init__(self, *, threshold: int, rest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._threshold = threshold
        self._rest_s = rest_s
        self._clock = clock
        self._failures = 0
        self._quiet_until_s = 0.0

    @property
    def state(self) -> BreakerState:
        """What it would do with the next request."""
        if self._failures < self._threshold:
            return "closed"
        return "half-open" if self._clock() >= self._quiet_until_s else "open"

    def admit(self) -> bool:
        """Whether the next request may go through; admitting a trial shuts the door behind it."""
        match self.state:
            case "closed":
                return True
            case "half-open":
                self._quiet_until_s = self._clock() + self._rest_s
                return True
            case "open":
                return False

    def succeeded(self) -> None:
        """An admitted request came through: closed."""
        self._failures = 0

    def failed(self) -> None:
        """An admitted request failed; enough of them open it."""
        self._failures += 1
        if self._failures >= self._threshold:
            self._quiet_until_s = self._clock() + self._rest_s
