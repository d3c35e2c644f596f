"""An Experiment: a question, immutable and complete before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from chaosrunner.model.fault import Fault
from chaosrunner.model.hypothesis import Hypothesis, Probe, Tolerance
from chaosrunner.model.load import LoadProfile
from chaosrunner.model.system import System


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
    """`within 2min, hold 30s`."""

    within_s: float = 120.0
    hold_s: float = 30.0


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
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that both files put in, never a secret's: with them the texts mean the same next year."""

    @property
    def fault_s(self) -> float:
        """The nominal length of the FAULT phase in seconds: until the latest fault's `for` ends."""
        return max((fault.at_s + fault.for_s for fault in self.faults), default=0.0)

    @property
    def longest_s(self) -> float:
        """An upper bound of the run in seconds, should recovery never come."""
        watch = self.recover.within_s + self.recover.hold_s if self.faults else 0.0
        return self.load.warmup_s + self.baseline_s + self.fault_s + watch
