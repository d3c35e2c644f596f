"""Levels of a search as people write them: read from the command line, and said again in files and reports."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass

from chaosrunner.logic.parse import scalars
from chaosrunner.logic.parse.fields import some_time, whole
from chaosrunner.logic.parse.params import accepted
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, one_of, quoted
from chaosrunner.model import units
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.fault import Fault, Injector
from chaosrunner.model.units import human_duration


@dataclass(frozen=True, slots=True)
class Unit:
    """What the levels of a search are counted in."""

    read: Callable[[str], float]
    """A level from the command line. Raises ReadingError."""
    write: Callable[[float], str]
    """As an experiment file writes it."""
    say: Callable[[float], str]
    """As a report says it."""
    whole: bool = False
    """Only whole numbers."""
    example: str = ""


def arrivals() -> Unit:
    """Journeys per second: `50/s`, `50 users/s`, `3000/min`."""
    return Unit(read=_rate, write=scalars.number_text, say=lambda level: f"{level:,.5g}/s", example="50/s")


def users() -> Unit:
    """Users of a closed model: `50`, `50 users`."""

    def read(text: str) -> float:
        return float(whole(re.sub(r"\s+users?$", "", text), 1, 100_000))

    return Unit(read, scalars.number_text, lambda level: f"{level:,.0f} users", whole=True, example="50 users")


def _rate(text: str) -> float:
    found = re.fullmatch(rf"({scalars.NUMBER})\s*(?:users?)?/(s|min)", text)
    if not found:
        raise ReadingError(f"{quoted(text)} is no load; expected journeys a second, such as '50/s'")
    return float(found[1]) / (60 if found[2] == "min" else 1)


DOSES: dict[object, Unit] = {
    units.Seconds: Unit(some_time, lambda x: scalars.duration_text(float(f"{x:.6g}")), human_duration, example="200ms"),
    units.Share: Unit(
        scalars.share, lambda x: scalars.percent_text(float(f"{x:.6g}")), lambda x: f"{x * 100:.4g} %", example="5%"
    ),
    units.Bytes: Unit(scalars.size, lambda x: f"{x:.0f}B", lambda x: f"{x:,.0f} B", whole=True, example="64KB"),
    units.BytesPerSecond: Unit(
        scalars.bytes_per_second, lambda x: f"{x:.0f}B/s", lambda x: f"{x:,.0f} B/s", whole=True, example="64KB/s"
    ),
    int: Unit(
        lambda t: float(whole(t, 1, 10**9)), lambda x: f"{x:.0f}", lambda x: f"{x:,.0f}", whole=True, example="5"
    ),
    float: Unit(scalars.number, scalars.number_text, lambda x: f"{x:.4g}", example="1.5"),
}
"""Type of a fault's parameter → how doses of it are read and written."""


@dataclass(frozen=True, slots=True)
class Dose:
    """One parameter of one fault."""

    fault: Fault
    parameter: str
    unit: Unit

    @property
    def title(self) -> str:
        """`add of proxy.latency on database`."""
        return f"{self.parameter} of {self.fault.title}"


def dose_of(experiment: Experiment, text: str, injectors: Callable[[str], Injector]) -> Dose:
    """The dose that `database add`, `proxy.latency add` or (where only one fault has it) `add` names.

    Args:
        experiment: whose faults are meant.
        text: the parameter, after the fault's injector or target.
        injectors: an injector by its name.

    Raises:
        ReadingError: no such fault or parameter, several of them, or none that is a quantity.
    """
    *who, parameter = text.split() or [""]
    faults = [fault for fault in experiment.faults if not who or " ".join(who) in _names(fault)]
    known = {name: None for fault in experiment.faults for name in _names(fault)}
    if not experiment.faults:
        raise ReadingError("there is no fault in this experiment, so there is no dose")
    if not faults:
        raise ReadingError(
            f"{quoted(' '.join(who))} is no fault of this experiment{did_you_mean(' '.join(who), known)}"
        )
    doses = {fault.index: _doses(injectors(fault.injector)) for fault in faults}
    having = [fault for fault in faults if parameter in doses[fault.index]]
    if not having:
        every = [f"{fault.injector} {name}" for fault in faults for name in doses[fault.index]]
        hint = did_you_mean(f"{faults[0].injector} {parameter}", every) if every else "; it has none"
        raise ReadingError(f"{quoted(parameter)} is no dose of {one_of(quoted(fault.title) for fault in faults)}{hint}")
    if len(having) > 1:
        raise ReadingError(f"{quoted(text)} may be of {one_of(quoted(fault.title) for fault in having)}; say which")
    return Dose(having[0], parameter, doses[having[0].index][parameter])


def _names(fault: Fault) -> list[str]:
    return [fault.injector, *([str(fault.target), fault.target.component] if fault.target else [])]


def _doses(injector: Injector) -> dict[str, Unit]:
    hints = typing.get_type_hints(injector.Params)
    kinds = {field.name: accepted(hints[field.name]) for field in dataclasses.fields(injector.Params)}
    return {name: DOSES[kind] for name, kind in kinds.items() if kind in DOSES}
