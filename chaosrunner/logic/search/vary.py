"""The same experiment at another load, at another dose, with one of its faults, or with none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from chaosrunner.logic.parse.arrivals import render_stream
from chaosrunner.logic.parse.scalars import duration_text
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.search.draft import Draft, Path
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.hypothesis import Against, Tolerance
from chaosrunner.model.load import Shape, Stage, Stream

COMING = ("arrivals", "users")


def level_of(experiment: Experiment) -> float:
    """The load of an experiment as one number: journeys per second, or users, of all its streams.

    Raises:
        ReadingError: it has both.
    """
    streams = experiment.load.streams
    if any(stream.closed for stream in streams) and not all(stream.closed for stream in streams):
        raise ReadingError("this load has 'arrivals' and 'users', so no one number says how much it is")
    return sum(stream.plateau for stream in streams)


def unit_of(experiment: Experiment) -> str:
    """What `level_of` counts: `users/s`, or `users` in a closed model."""
    return "users" if experiment.load.closed else "users/s"


def at_load(experiment: Experiment, level: float) -> Draft:
    """The experiment at a load of `level`, its streams and stages in proportion.

    Raises:
        ReadingError: its load is not one number.
    """
    factor = level / level_of(experiment)
    draft = Draft(experiment.source)
    for place, stream in zip(draft.places(COMING), experiment.load.streams, strict=True):
        draft = draft.put(place, render_stream(scaled(stream, factor)))
    return draft


def scaled(stream: Stream, factor: float) -> Stream:
    """A stream with so many times the journeys, or users (whole ones, one at least)."""

    def times(value: float) -> float:
        scaled = value * factor
        return round(scaled, 6) if stream.closed is None else float(max(1, round(scaled))) if value else 0.0

    def shape(stage: Shape) -> Shape:
        if isinstance(stage, Stage):
            return replace(stage, start=times(stage.start), end=times(stage.end))
        return replace(stage, low=times(stage.low), high=times(stage.high))

    return replace(stream, stages=tuple(shape(stage) for stage in stream.stages), starts_s=0.0)


def healthy(draft: Draft, experiment: Experiment, lasts_s: float | None = None) -> Draft:
    """Without faults: what is asked before anything is broken is all that is asked.

    Args:
        draft: of the experiment.
        experiment: what was asked.
        lasts_s: how long to look; None: as long as the baseline.

    Raises:
        ReadingError: nothing is asked that could hold or break without a fault.
    """
    asked = capacity_tolerances(experiment)
    if not asked:
        raise ReadingError("nothing in 'before', and nothing absolute in 'during', says what must hold under load")
    draft = draft.drop("faults").drop("recover").put(("hypothesis",), f"{{before: {_texts(asked)}}}")
    return looking(draft, lasts_s)


def looking(draft: Draft, lasts_s: float | None) -> Draft:
    """With another length of the baseline; None leaves it."""
    return draft if lasts_s is None else draft.put(("baseline",), duration_text(lasts_s))


def capacity_tolerances(experiment: Experiment) -> tuple[Tolerance, ...]:
    """What must hold under load alone: `before`, and of `during` what is absolute and not bounded by `before`."""
    before = experiment.hypothesis.before
    bounded = {(one.metric, one.cmp[0]) for one in before}
    more = (one for one in experiment.hypothesis.during if one.against is Against.ABSOLUTE)
    return (*before, *(one for one in more if (one.metric, one.cmp[0]) not in bounded))


def dosed(experiment: Experiment, place: Path, text: str) -> Draft:
    """The experiment with another dose at a place of its file. Raises KeyError: the file does not write it."""
    return Draft(experiment.source).put(place, text)


def with_only(draft: Draft, fault: int) -> Draft:
    """With one fault, from the phase's first moment on."""
    return draft.keep("faults", fault)


def control(experiment: Experiment) -> Draft:
    """The experiment with nothing broken: every fault is a `noop` of the same length. What it shows is noise."""
    draft = Draft(experiment.source)
    for injector, line in dict.fromkeys((fault.injector, fault.line) for fault in experiment.faults):
        draft = draft.swap(draft.find(injector, line), "noop: {}")
    return draft


def alone(experiment: Experiment) -> None:
    """Nothing, if each fault is an entry of its own, that can be played without the others.

    Raises:
        ReadingError: some are composed.
    """
    if Draft(experiment.source).count("faults") != len(experiment.faults):
        raise ReadingError("its faults are composed, so none of them can be played alone; write a plain list")


def _texts(tolerances: Iterable[Tolerance]) -> str:
    return json.dumps([one.text for one in tolerances], ensure_ascii=False)


def overload(experiment: Experiment, levels: tuple[float, float], seconds: float) -> Draft:
    """A ramp up and down as the trigger: from the lower level to the higher one and back, then the lower one again.

    The trigger's time is that of a fault that does nothing, so what follows it is a recovery like any other.

    Args:
        experiment: its hypothesis says what is asked before, and after.
        levels: of the load, the lower and the higher one.
        seconds: how long each ramp takes.

    Raises:
        ReadingError: it has several streams, a closed model, or asks nothing.
    """
    if len(experiment.load.streams) > 1 or experiment.load.closed:
        raise ReadingError("a ramp up and down is for a load with one line of 'arrivals'")
    asked = capacity_tolerances(experiment)
    if not asked:
        raise ReadingError("nothing in 'before', and nothing absolute in 'during', says what must hold under load")
    (stream,), (low, high) = experiment.load.streams, levels
    stages = (
        Stage(start=low, end=low, lasts_s=lead_s(experiment)),
        Stage(start=low, end=high, lasts_s=seconds),
        Stage(start=high, end=low, lasts_s=seconds),
        Stage(start=low, end=low, lasts_s=None),
    )
    draft = Draft(experiment.source)
    [place] = draft.places(COMING)
    draft = draft.put(place, render_stream(replace(stream, stages=stages, starts_s=0.0)))
    after = _texts([one for one in experiment.hypothesis.after if one.against is Against.ABSOLUTE] or asked)
    draft = draft.put(("hypothesis",), f"{{before: {_texts(asked)}, after: {after}}}")
    lasts_s = 2 * seconds + experiment.unanswered_s + LEAD_S  # not over before the ramp is, however soon it began
    return draft.put(("faults",), f"[{{noop: {{}}, for: {duration_text(lasts_s)}}}]")


LEAD_S = 2.0
"""From the end of the baseline to the ramp: time for the last answers to come in and be judged."""


def lead_s(experiment: Experiment) -> float:
    """How long the lower level is held at first: warm-up, baseline, and what it takes to judge it."""
    return max(WARM_S, experiment.load.warmup_s) + experiment.baseline_s + experiment.unanswered_s + LEAD_S


WARM_S = 3.0
"""The warm-up of a load that begins level, unless the file says otherwise."""


def texts_of(tolerances: Sequence[Tolerance]) -> str:
    """Tolerances as a person reads them: `p95 <= 400ms, errors < 1%`."""
    return ", ".join(one.text for one in tolerances)
