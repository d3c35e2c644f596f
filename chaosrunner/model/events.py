"""Every fact a journal may hold. One frozen class each, JSON values only; instants are CLOCK_BOOTTIME nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from chaosrunner.model.experiment import Phase
from chaosrunner.model.slots import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """First event of a run: all that is needed to judge it again, next year, without any other file."""

    run: str
    question: str
    file: str
    source: str
    system: str
    system_file: str
    system_source: str
    seed: int
    boot: str
    """The boot id: under another one every deadline is overdue."""
    version: str
    plan: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    """`Experiment.variables`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerChanged(Event):
    """Another process took the lock: the watchdog, or `chaosrunner recover`."""

    epoch: int
    pid: int
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogReady(Event):
    """The watchdog has imported every injector in use, resolved its secrets, and holds the runner's pidfd."""

    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogLost(Event):
    """The watchdog died: no more injects; heal."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStarted(Event):
    """All workers are ready and will begin at `epoch_ns`."""

    epoch_ns: int
    workers: int
    why: str = ""
    """Why there are so many, where the file does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockCompared(Event):
    """A load worker is on another machine, whose clock was compared with ours: at the start, and when it strays."""

    worker: int
    error_us: int
    """The most by which instants of this worker may be off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLost(Event):
    """A worker died or broke its protocol: a gap in the result, never silence."""

    worker: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadNoted(Event):
    """Something a worker found that is no number: a slow query's plan, a leaked connection, a failover's timeline."""

    worker: int
    about: str
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadEnded(Event):
    """Every worker has sent its last frame or was lost."""

    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsArrived(Event):
    """A frame of slots. Stored in a segment under `slots/`; its number comes from the one order of events."""

    frame: Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEntered(Event):
    """A phase begins at an instant on a slot edge."""

    phase: Phase
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided(Event):
    """The next step and the numbers it rests on; journalled before it is acted on."""

    step: str
    why: str
    now_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared(Event):
    """A recipe. fsynced before any harm: this is the way back."""

    fault: int
    recipe: Mapping[str, object]
    deadline_ns: int
    """When the watchdog may act without a heartbeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injecting(Event):
    """The inject is about to be called."""

    fault: int
    called_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected(Event):
    """The inject was answered. Harm began somewhere in [called, answered]."""

    fault: int
    called_ns: int
    answered_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectFailed(Event):
    """Prepare or inject failed. With `touched` the harm may have landed all the same."""

    fault: int
    why: str
    touched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(Event):
    """Evidence from the target's own traffic or state that the fault is in effect (or, ok=False, that it is not)."""

    fault: int
    ok: bool
    says: str
    at_ns: int
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedAgain(Event):
    """The last look at a proven fault, before it is undone: it was in effect to its end, or (ok=False) it was not.

    None: nobody can tell, or what was hit has ended by itself; `says` which.
    """

    fault: int
    ok: bool | None
    says: str
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Undoing(Event):
    """The undo is about to be called for the `attempt`-th time (from 1)."""

    fault: int
    attempt: int
    called_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone(Event):
    """The undo was answered, absence was verified and the settle time has passed: the debt is paid."""

    fault: int
    called_ns: int
    answered_ns: int
    """Answer of the first undo call after which the fault was seen to be absent: harm ended in [called, answered]."""
    attempts: int
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoFailed(Event):
    """Every retry was used up: the fault may still be in place."""

    fault: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Residue(Event):
    """Found when all should have been put back: a fault that was undone is in place, or something else that is ours."""

    fault: int | None
    """Whose debt is open again; None: something of this run, found by its tag, that belongs to no open debt."""
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forbidden(Event):
    """A rule allows no fault any more, such as an hour that is over: no more injects; heal."""

    why: str
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswered(Event):
    """A probe was asked; an error is an answer."""

    probe: str
    at_ns: int
    ok: bool
    value: float | None
    says: str = ""


ABORT = "abort"
"""The name of the signal that is none: somebody gave the abort command, or pressed the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signalled(Event):
    """SIGINT, SIGTERM or SIGHUP arrived, or the abort command or key was given (`abort`)."""

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed(Event):
    """Something of ours raised; everything is healed all the same."""

    where: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure(Event):
    """How contended this host was over the last second, and by whom."""

    at_ns: int
    cpu_some: float
    """Share of the time, 0..1, in which some task waited for a CPU."""
    target_wait_s: float = 0.0
    """Run-queue delay of the target's threads on this host, all together, seconds per second."""
    target_awake: float = 0.0
    """Share of the time, 0..1, in which the thread that was busiest ran or waited to run: at 1 its work piles up."""
    lasted_s: float = 1.0
    """The time it is about, which ends at `at_ns`."""
    target_cpu: float = 0.0
    """CPUs that the target used; this and the two below are about the CPUs that the target may use, and 0 where it has
    no process on this host."""
    our_cpu: float = 0.0
    """CPUs that the runner, its load workers and whatever else it has started used."""
    others_cpu: float = 0.0
    """CPUs that whoever has no part in this experiment used."""
    busiest: str = ""
    """The one of those that used most, as `name (pid)`; empty when none used much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """The play is over; what follows is only repair."""

    why: str
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Event):
    """A kind of event this version does not know; kept, never guessed at."""

    kind: str
    raw: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Entry:
    """An event with its place in the one order of a journal."""

    n: int
    at_ns: int
    """When it was written."""
    wall: str
    """ISO 8601, for people."""
    epoch: int
    """The owner that wrote it: 0 the runner, then one more for each change."""
    event: Event


KINDS: Mapping[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        RunStarted, OwnerChanged, WatchdogReady, WatchdogLost, LoadStarted, ClockCompared, LoadLost, LoadNoted,
        LoadEnded, PhaseEntered, Decided, Prepared, Injecting, Injected, InjectFailed, Verified, VerifiedAgain, Undoing,
        Undone, UndoFailed, Residue, Forbidden, ProbeAnswered, Signalled, Crashed, Pressure, Ended,
    )
}  # fmt: skip
"""Kind → class, of the events kept as JSON lines. SlotsArrived lives in segments."""


def to_json(event: Event) -> dict[str, object]:
    """`{"kind": …, fields}`; JSON values only."""
    if isinstance(event, Unknown):
        return dict(event.raw)
    return {"kind": type(event).__name__, **{f.name: getattr(event, f.name) for f in fields(event)}}


def from_json(raw: Mapping[str, object]) -> Event:
    """An event from its JSON; Unknown when its kind or its fields are not of this version."""
    kind = KINDS.get(str(raw.get("kind")))
    if kind is None:
        return Unknown(kind=str(raw.get("kind")), raw=raw)
    given = {key: value for key, value in raw.items() if key in {f.name for f in fields(kind)}}
    if "phase" in given:
        given["phase"] = Phase(str(given["phase"]))
    try:
        return kind(**given)
    except TypeError:
        return Unknown(kind=kind.__name__, raw=raw)
