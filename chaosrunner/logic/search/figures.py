"""A run among others: the few figures by which repeats are told and versions compared, from its written verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chaosrunner.logic.search.survival import Time

SCHEMA = "chaosrunner/verdict/v1"

PHASE = "fault"

QUANTITIES = ("goodput", "errors", "p50", "p95", "p99")
"""What is compared beside the time to recover; of the time in which faults were in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run came to."""

    run: str
    question: str
    load: str = ""
    """As the file asked for it."""
    faults: tuple[str, ...] = ()
    outcome: str
    headline: str
    time: Time | None
    """Until it had recovered, or for how long it was seen not to; None if that is not known, or nothing was broken."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Of `QUANTITIES` what there is; requests a second, a share, seconds. Infinite where a quantile is a failure."""

    @property
    def usable(self) -> bool:
        """Whether it may be counted: what is UNKNOWN is no evidence, neither for nor against."""
        return self.outcome != "UNKNOWN"


def figures_of(data: object) -> Figures:
    """The figures of a `verdict.json`.

    Raises:
        ValueError: it is none of this version.
    """
    if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
        raise ValueError(f"expected a verdict of schema {SCHEMA}")
    try:
        recovery, phases, broken = _table(data["recovery"]), data["phases"], data["faults"]
        assert isinstance(phases, list)
        assert isinstance(broken, list)
        faults = tuple(str(fault["title"]) for fault in broken)
        during = next((one for one in phases if one["phase"] == PHASE and not one["name"]), None)
        return Figures(
            run=str(data["run"]),
            question=str(data["question"]),
            load=str(_table(data["load"])["asked"]),
            faults=faults,
            outcome=str(data["outcome"]),
            headline=str(data["headline"]),
            time=_time(recovery) if faults else None,
            values=_values(during) if during else {},
        )
    except (KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"this verdict lacks what it should have: {error}") from None


def times(runs: Sequence[Figures]) -> list[Time]:
    """The times to recover of the runs that have one."""
    return [run.time for run in runs if run.usable and run.time is not None]


def values(runs: Sequence[Figures], quantity: str) -> list[float]:
    """One quantity of the runs that may be counted."""
    return [run.values[quantity] for run in runs if run.usable and quantity in run.values]


def _time(recovery: Mapping[str, object]) -> Time | None:
    match recovery["state"]:
        case "recovered" | "late":
            return Time(_number(recovery["time_s"]))
        case "none":
            return Time(0.0)
        case "never":
            longer = recovery.get("longer_than_s") or recovery["target_s"]
            return Time(_number(longer), seen=False)
        case _:
            return None


def _values(during: Mapping[str, object]) -> dict[str, float]:
    found = {name: _number(during[f"{name}_s"]) for name in ("p50", "p95", "p99") if during[f"{name}_s"] is not None}
    hits = _number(during["hits"])
    if hits:
        found |= {"goodput": _number(during["ok_per_s"]), "errors": _number(during["errors"]) / hits}
    return found


def _table(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError("expected an object")
    return value


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    if value == "Infinity":
        return math.inf
    raise TypeError(f"expected a number, not {value!r}")
