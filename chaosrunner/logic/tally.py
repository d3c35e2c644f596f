"""What the traffic looked like, phase by phase, and how far its generator may be believed."""

from __future__ import annotations

from collections.abc import Iterator

from chaosrunner.logic.traffic import Sample, Span, Traffic
from chaosrunner.model.journey import SERIES
from chaosrunner.model.load import LoadProfile
from chaosrunner.model.slots import Slot
from chaosrunner.model.units import human_duration
from chaosrunner.model.verdict import PhaseStats, Trust

CONTENDED = 0.5
"""Share of a second in which some task waited for a CPU, above which the second counts as contended."""


def phase_stats(traffic: Traffic) -> Iterator[PhaseStats]:
    """One line a phase that was entered, overall and then by request name. Quantiles may be infinite: failures."""
    for phase, _ in traffic.state.phases:
        span = traffic.span(phase)
        if span is None:
            continue
        for name in _words(traffic.experiment.load):
            yield _stats(span, name, traffic.sample(span, name))


def _words(load: LoadProfile) -> tuple[str, ...]:
    """What figures are given for: everything, each step, each scenario, each tag, and what is measured beside them."""
    scenarios = [scenario.name for scenario in load.scenarios if scenario.name]
    tags = [tag for scenario in load.scenarios for tag in scenario.tags]
    steps = [step.name for step in load.steps]
    series = [name for index, name in load.names.items() if index >= SERIES]
    return tuple(dict.fromkeys(["", *steps, *scenarios, *tags, *series]))


def _stats(span: Span, name: str, sample: Sample) -> PhaseStats:
    slowest = max(sample.slot.ok.max() or 0.0, sample.slot.failed.max() or 0.0)
    return PhaseStats(
        phase=span.phase,
        name=name,
        seconds=span.seconds,
        hits=sample.hits,
        errors=sample.failures,
        p50=sample.quantile(0.5),
        p95=sample.quantile(0.95),
        p99=sample.quantile(0.99),
        max=slowest / 1e6 if sample.hits else None,
        rate=sample.rate,
        by_outcome={outcome.value: count for outcome, count in sorted(sample.slot.done.items())},
    )


def trust(traffic: Traffic) -> Trust:
    """The generator's own account, over the whole run."""
    state, whole = traffic.state, Slot()
    for (_, name), slot in state.coarse.items():
        if name < SERIES:
            whole.add(slot)
    for names in state.slots.values():
        for slot in names.values():
            whole.add(slot)
    sample = Sample(whole, 0.0)
    lag = whole.lag.quantile(0.99)
    return Trust(
        lag_p99_s=None if lag is None else lag / 1e6,
        offered=whole.due,
        fired=whole.due - sample.late,
        unaccounted=whole.open,
        skipped=state.skipped,
        notes=tuple(_notes(traffic)),
    )


def _closed(traffic: Traffic) -> Iterator[str]:
    """What a closed model cannot see, and how far it kept its pace."""
    load, state = traffic.experiment.load, traffic.state
    if not load.closed:
        return
    yield (
        "closed model: who waits for an answer asks nothing more meanwhile, so while the target is slow there are "
        "fewer requests, and percentiles flatter it (coordinated omission)"
    )
    turns = [
        human_duration(stream.closed.every_s) for stream in load.streams if stream.closed and stream.closed.every_s
    ]
    if turns:
        yield (
            f"{state.behind} of {state.journeys} journeys began behind their turn, "
            f"because the one before took longer than {' or '.join(dict.fromkeys(turns))}"
        )


def _notes(traffic: Traffic) -> Iterator[str]:
    state = traffic.state
    yield from _closed(traffic)
    yield from (f"the load has gaps: {gap}" for gap in state.gaps)
    if state.hits_dropped:
        yield f"{state.hits_dropped} raw hits were not kept; slots of 100 ms stand in for them"
    if not state.pressure:
        yield "contention of this host was not measured"
        return
    contended = sum(some > CONTENDED for _, some, _ in state.pressure)
    if contended:
        waited = sum(wait for _, _, wait in state.pressure) / len(state.pressure)
        yield (
            f"this host was short of CPU in {contended} of {len(state.pressure)} seconds; "
            f"the target waited {human_duration(waited)} a second for one"
        )
