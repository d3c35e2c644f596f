"""Numbers as JSON can hold them."""

from __future__ import annotations

import math


def number(value: float | None) -> float | str | None:
    """A number JSON can hold: infinity as text, not-a-number as null."""
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
