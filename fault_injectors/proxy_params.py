"""What the faults of a fault proxy may be told alike, and the toxic that is asked for with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chaosrunner.model.units import Share
from fault_injectors.proxy_control import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Some:
    """What every toxic may be told."""

    share: Share = field(
        default=Share(1.0), metadata={"help": "Part of the connections (or requests, statements) that is struck."}
    )

    def __post_init__(self) -> None:
        """A share of nothing is no fault."""
        if not 0 < self.share <= 1:
            raise ValueError("'share' is more than 0% and at most 100%")


@dataclass(frozen=True, slots=True, kw_only=True)
class OneWay(Some):
    """What a toxic that acts on data may be told."""

    direction: Literal["downstream", "upstream"] = field(
        default="downstream", metadata={"help": "downstream: what the target answers; upstream: what it is asked."}
    )


def toxic(params: Some, kind: str, attributes: Json, says: str, of: str = "connections") -> Json:
    """The toxic to ask for, and `says`, what it does in words.

    Args:
        params: Share and direction.
        kind: Its type.
        attributes: In the proxy's units.
        says: What it does to what it strikes.
        of: What it strikes.
    """
    part = "" if params.share >= 1 else f" on {params.share * 100:g}% of {of}"
    direction = getattr(params, "direction", None)
    return {
        "type": kind,
        **({"stream": direction} if direction else {}),
        "toxicity": params.share,
        "attributes": attributes,
        "says": f"{says}{part}{f' {direction}' if direction else ''}",
    }


def milliseconds(seconds: float) -> int | float:
    """A time in the proxy's unit."""
    return whole(seconds * 1000)


def whole(number: float) -> int | float:
    """The same number, as an integer where it is one: a plain Toxiproxy takes no others."""
    rounded = round(number, 6)
    return int(rounded) if rounded == int(rounded) else rounded
