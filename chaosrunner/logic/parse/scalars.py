"""One-word values with units: durations, shares, sizes. Numbers are decimal, so what is written is what is meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from chaosrunner.logic.parse.spelling import ReadingError, one_of, quoted

NUMBER = r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,12})?"
"""A plain decimal number: no sign, no exponent, no leading zero."""

SECONDS: Mapping[str, Decimal] = {
    "us": Decimal("0.000001"),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "min": Decimal(60),
    "h": Decimal(3600),
}
"""Duration unit → seconds."""

BYTES: Mapping[str, int] = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
"""Size unit → bytes."""

DURATION = rf"{NUMBER} ?(?:{'|'.join(SECONDS)})"
PERCENT = rf"{NUMBER} ?%"
SIZE = rf"{NUMBER} ?(?:{'|'.join(BYTES)})"


def number(text: str) -> float:
    """A plain decimal number. Raises ReadingError."""
    if not re.fullmatch(NUMBER, text):
        raise ReadingError(f"{quoted(text)} is no number; expected digits, such as 5 or 0.5")
    return float(text)


def duration(text: str) -> float:
    """Seconds of `250us`, `300ms`, `30s`, `2min` (or `2m`), `1h`. Raises ReadingError."""
    amount, unit = _with_unit(text)
    if amount is not None and not unit:
        raise ReadingError(f"a duration needs a unit; write '{text}s' or '{text}min'")
    if amount is None or unit not in SECONDS:
        raise ReadingError(f"{quoted(text)} is no duration; expected a number and {one_of(SECONDS)}, such as '300ms'")
    return float(amount * SECONDS[unit])


def share(text: str) -> float:
    """0..1 of `0%` to `100%`. Raises ReadingError."""
    amount = percent(text)
    if amount > 1:
        raise ReadingError(f"{quoted(text)} is more than 100%")
    return amount


def percent(text: str) -> float:
    """`150%` as 1.5. Raises ReadingError."""
    amount, unit = _with_unit(text)
    if amount is not None and not unit:
        raise ReadingError(f"a share needs a percent sign; write '{text}%'")
    if amount is None or unit != "%":
        raise ReadingError(f"{quoted(text)} is no share; expected a number and %, such as '30%'")
    return float(amount / 100)


def size(text: str) -> int:
    """Bytes of `512B`, `64KB` (1000s), `64KiB` (1024s). Raises ReadingError."""
    amount, unit = _with_unit(text)
    if amount is not None and not unit:
        raise ReadingError(f"a size needs a unit; write '{text}B' or '{text}KB'")
    if amount is None or unit not in BYTES:
        raise ReadingError(f"{quoted(text)} is no size; expected a number and {one_of(BYTES)}, such as '64KB'")
    exact = amount * BYTES[unit]
    if exact != int(exact):
        raise ReadingError(f"{quoted(text)} is not a whole number of bytes")
    return int(exact)


def bytes_per_second(text: str) -> float:
    """Bytes a second of `64KB/s`. Raises ReadingError."""
    if not text.endswith("/s"):
        raise ReadingError(f"{quoted(text)} is no rate; expected a size a second, such as '64KB/s'")
    return float(size(text.removesuffix("/s").rstrip()))


def duration_text(seconds: float) -> str:
    """The exact spelling of a duration in its largest whole unit: `duration(duration_text(x)) == x`."""
    exact = Decimal(repr(seconds))
    for unit in ("h", "min", "s", "ms"):
        amount = exact / SECONDS[unit]
        if amount and amount == int(amount):
            return f"{int(amount)}{unit}"
    return f"{plain(exact)}s"


def percent_text(fraction: float) -> str:
    """The exact spelling of a share: `2%`, `0.5%`."""
    return f"{plain(Decimal(repr(fraction)) * 100)}%"


def number_text(value: float) -> str:
    """The exact spelling of a number, without exponent."""
    return plain(Decimal(repr(value)))


def plain(amount: Decimal) -> str:
    """A decimal without exponent and without trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _with_unit(text: str) -> tuple[Decimal | None, str]:
    """The number and the letters behind it; None when it does not begin with a number."""
    found = re.fullmatch(rf"({NUMBER}) ?([^0-9 ]*)", text)
    return (Decimal(found[1]), found[2]) if found else (None, text)
