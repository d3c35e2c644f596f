"""The small events of a journal as lines a person can read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.units import NANOS
from chaosrunner.report.words import plural, seconds


@dataclass(frozen=True, slots=True)
class Line:
    """One event."""

    n: int
    at_ns: int
    wall: str
    what: str
    loud: bool
    """Whether it is about harm, its way back, or an end."""


def story(entries: Iterable[e.Entry], experiment: Experiment) -> list[Line]:
    """The events in order, without traffic, without host pressure, and of probes only what changed."""
    lines: list[Line] = []
    answers: dict[str, tuple[bool, str]] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, e.SlotsArrived | e.Pressure):
            continue
        if isinstance(event, e.ProbeAnswered):
            answer = (event.ok, event.says)
            if answers.get(event.probe) == answer:
                continue
            answers[event.probe] = answer
        lines.append(Line(entry.n, entry.at_ns, entry.wall, tell(event, experiment), _loud(event)))
    return lines


def tell(event: e.Event, experiment: Experiment) -> str:
    """One event in words."""
    return _tell_run(event) or _tell_watch(event) or _tell_fault(event, experiment)


def _tell_run(event: e.Event) -> str:
    match event:
        case e.RunStarted(run=run, version=version, seed=seed):
            return f"run {run} started, chaosrunner {version}, seed {seed}"
        case e.PhaseEntered(phase=phase):
            return f"phase {phase}"
        case e.Decided(step=step, why=why):
            return f"decided: {step}" + (f", because {why}" if why else "")
        case e.Signalled(signal=signal):
            return f"{signal} arrived"
        case e.Crashed(where=where, why=why):
            return f"crashed in {where}: {why}"
        case e.Ended(why=why):
            return f"ended: {why}"
        case e.Unknown(kind=kind):
            return f"{kind}: an event of another version"
        case _:
            return ""


def _tell_watch(event: e.Event) -> str:
    match event:
        case e.OwnerChanged(who=who, pid=pid, epoch=epoch):
            return f"{who} (pid {pid}) took over as owner {epoch}"
        case e.WatchdogReady(pid=pid):
            return f"watchdog ready, pid {pid}"
        case e.WatchdogLost(why=why):
            return f"watchdog lost: {why}"
        case e.ProbeAnswered(probe=probe, ok=ok, says=says):
            return f"probe {probe}: {'ok' if ok else 'NOT ok'} {says}".rstrip()
        case e.LoadStarted(workers=workers, why=why):
            return f"load ready, {plural(workers, 'worker')}" + (f" ({why})" if why else "")
        case e.ClockCompared(worker=worker, error_us=error_us):
            return f"load worker {worker} is on another machine; its clock is known to ±{error_us / 1000:.3g} ms"
        case e.LoadLost(worker=worker, why=why):
            return f"load worker {worker} lost: {why}"
        case e.LoadNoted(worker=worker, about=about):
            return f"load worker {worker} noted: {about}"
        case e.LoadEnded():
            return "load ended"
        case _:
            return ""


def _tell_fault(event: e.Event, experiment: Experiment) -> str:
    def name(index: int) -> str:
        known = [fault.title for fault in experiment.faults if fault.index == index]
        return known[0] if known else f"fault {index}"

    match event:
        case e.Prepared(fault=i, recipe=recipe):
            return f"{name(i)}: way back written: {recipe.get('says', '')}"
        case e.Injecting(fault=i):
            return f"{name(i)}: injecting"
        case e.Injected(fault=i, called_ns=called, answered_ns=answered):
            return f"{name(i)}: injected, answered after {_took(called, answered)}"
        case e.InjectFailed(fault=i, why=why, touched=touched):
            return f"{name(i)}: inject failed{', but may have landed' if touched else ''}: {why}"
        case e.Verified(fault=i) | e.VerifiedAgain(fault=i):
            return f"{name(i)}: {_seen(event)}: {event.says}"
        case e.Undoing(fault=i, attempt=attempt):
            return f"{name(i)}: undoing, attempt {attempt}"
        case e.Undone(fault=i, called_ns=called, answered_ns=answered, says=says):
            return f"{name(i)}: undone, answered after {_took(called, answered)}: {says}"
        case e.UndoFailed(fault=i, why=why):
            return f"{name(i)}: UNDO FAILED: {why}"
        case _:
            return type(event).__name__


def _seen(event: e.Verified | e.VerifiedAgain) -> str:
    if isinstance(event, e.Verified):
        return "proven" if event.ok else "NOT in effect"
    return {True: "still in effect at its end", None: "at its end", False: "NOT in effect to its end"}[event.ok]


def _took(called_ns: int, answered_ns: int) -> str:
    return seconds((answered_ns - called_ns) / NANOS)


def _loud(event: e.Event) -> bool:
    loud = (e.Injected, e.InjectFailed, e.Undone, e.UndoFailed, e.Signalled, e.Crashed, e.WatchdogLost, e.LoadLost)
    return isinstance(event, loud)
