"""An Experiment: a question, immutable and complete before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from chaosrunner.model.composite import Part, ends_s
from chaosrunner.model.fault import Fault
from chaosrunner.model.hypothesis import Hypothesis, Probe, Tolerance
from chaosrunner.model.load import LoadProfile
from chaosrunner.model.rules import Rules
from chaosrunner.model.system import System

HANDOVER_S = 2.0
"""Allowed for undoing a fault that another one waits for, in the upper bound of a run."""


PUNCTUAL_S = 1.0
"""By so much a probe's question may be late."""


class Phase(StrEnum):
    """Every hit belongs to exactly one, by its due time."""

    WARMUP = "warmup"
    BASELINE = "baseline"
    FAULT = "fault"
    RECOVERY = "recovery"
    AFTER = "after"
    """Found, not scheduled: it begins at the moment of recovery, or when FAULT ends if recovery came inside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryTarget:
    """`within 2min, hold 30s, to within 10% of baseline`."""

    within_s: float = 120.0
    hold_s: float = 30.0
    margin: float | None = None
    """Asked for: proven to be as before, to this share of latency and goodput. None: what is proven is only told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """question + system + load + faults + hypothesis + recovery target + safeguards."""

    question: str
    file: str
    source: str
    """The file's text, so that a journal can be re-judged without it. Secrets in it are references."""
    system: System
    system_source: str
    load: LoadProfile
    baseline_s: float
    faults: tuple[Fault, ...]
    hypothesis: Hypothesis
    recover: RecoveryTarget
    abort: tuple[Tolerance, ...] = ()
    probes: tuple[Probe, ...] = ()
    unanswered_s: float = 2.0
    """Safeguards count a request unanswered after this long as an error."""
    seed: int | None = None
    repeat: int = 1
    """How many runs `run` plays, unless its command line says otherwise."""
    rules: Rules = field(default_factory=Rules)
    """What it allows itself, within what the system's owner allows."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that both files put in, never a secret's: with them the texts mean the same next year."""
    asked: tuple[Part, ...] = ()
    """What `faults` is drawn from by a run's seed, see `logic.composite`; empty when the file has no composite."""

    @property
    def all_rules(self) -> tuple[Rules, Rules]:
        """The owner's rules and its own: both hold."""
        return self.system.rules, self.rules

    def silence_of(self, probe: str) -> float:
        """Seconds between a probe's answers that are too many; infinite for one that is not asked."""
        own = next((one for one in self.probes if one.name == probe), None)
        return own.every_s + own.timeout_s + PUNCTUAL_S if own else math.inf

    @property
    def fault_s(self) -> float:
        """The nominal length of the FAULT phase in seconds, whatever a seed chooses: until the latest `for` ends."""
        return ends_s(self.asked or self.faults)

    @property
    def longest_s(self) -> float:
        """An upper bound of the run in seconds, should recovery never come."""
        watch = self.recover.within_s + self.recover.hold_s if self.faults else 0.0
        handovers = HANDOVER_S * sum(bool(fault.after) for fault in self.faults)
        return self.load.warmup_s + self.baseline_s + self.fault_s + handovers + watch
