"""Faults that belong together: in turn, at the same time, at random, again and again; what a file asks before a seed.

A composite is never played as such: `chaosrunner.logic.composite` lays it out as plain faults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from chaosrunner.model.fault import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class InTurn:
    """One after the other: each begins when the one before has ended, and `pause_s` has passed."""

    parts: tuple[Part, ...]
    title: str
    at_s: float = 0.0
    """Seconds after what it is part of begins; so for each of these."""
    pause_s: float = 0.0
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """All begin at once, or at their own `at_s` after that: they overlap."""

    parts: tuple[Part, ...]
    title: str
    at_s: float = 0.0
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AtRandom:
    """Some of several, chosen by the run's seed as is their order; one after the other, at random within a window."""

    parts: tuple[Part, ...]
    title: str
    choose: int
    within_s: float
    at_s: float = 0.0
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """The same again and again: each begins `every_s` after the one before began, never before it has ended."""

    part: Part
    title: str
    times: int
    every_s: float
    at_s: float = 0.0
    line: int = 0


Composite = InTurn | Together | AtRandom | Again
Part = Fault | Composite


def span_s(part: Part) -> float:
    """How long it lasts at most by plan, in seconds from its own begin; what undoing takes comes on top."""
    match part:
        case Fault(for_s=for_s):
            return for_s
        case InTurn(parts=parts, pause_s=pause_s):
            return sum(one.at_s + span_s(one) for one in parts) + pause_s * (len(parts) - 1)
        case Together(parts=parts):
            return ends_s(parts)
        case AtRandom(within_s=within_s):
            return within_s
        case Again(part=one, times=times, every_s=every_s):
            return every_s * (times - 1) + span_s(one)
        case never:
            assert_never(never)


def ends_s(parts: tuple[Part, ...]) -> float:
    """When the last of some that begin together ends at the latest, in seconds; 0 without any."""
    return max((part.at_s + span_s(part) for part in parts), default=0.0)


def most(part: Part) -> int:
    """How many faults it can be at most."""
    match part:
        case Fault():
            return 1
        case InTurn(parts=parts) | Together(parts=parts):
            return sum(most(one) for one in parts)
        case AtRandom(parts=parts, choose=choose):
            return sum(sorted((most(one) for one in parts), reverse=True)[:choose])
        case Again(part=one, times=times):
            return times * most(one)
        case never:
            assert_never(never)
