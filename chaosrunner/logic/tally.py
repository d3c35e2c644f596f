"""What the traffic looked like, phase by phase, and how far its generator may be believed."""

from __future__ import annotations

from collections.abc import Iterator

from chaosrunner.logic.http_account import amplification, http_remarks
from chaosrunner.logic.remarks import remarks
from chaosrunner.logic.traffic import Sample, Span, Traffic
from chaosrunner.model.histogram import Histogram
from chaosrunner.model.journey import SERIES
from chaosrunner.model.load import LoadProfile
from chaosrunner.model.slots import Slot
from chaosrunner.model.verdict import Of, PhaseStats, Spread, Trust


def phase_stats(traffic: Traffic) -> Iterator[PhaseStats]:
    """Lines for each phase that was entered: overall, then by step, scenario, tag and series.

    Quantiles may be infinite: failures. A name without any hit in a phase has its line, unless it is a series.
    """
    for phase, _ in traffic.state.phases:
        span = traffic.span(phase)
        if span is None:
            continue
        for name, of in _words(traffic.experiment.load).items():
            if of is not Of.SERIES or traffic.sample(span, name).hits:
                yield _stats(traffic, span, name, of)


def _words(load: LoadProfile) -> dict[str, Of]:
    """What figures are given for, in the order in which they are shown."""
    groups = [word for scenario in load.scenarios for word in (scenario.name, *scenario.tags)]
    series = [name for index, name in load.names.items() if index >= SERIES]
    steps = dict.fromkeys((step.name for step in load.steps), Of.STEP)
    return {"": Of.ALL, **steps, **dict.fromkeys(filter(None, groups), Of.GROUP), **dict.fromkeys(series, Of.SERIES)}


def _stats(traffic: Traffic, span: Span, name: str, of: Of) -> PhaseStats:
    sample = traffic.sample(span, name)
    slowest = max(sample.slot.ok.max() or 0.0, sample.slot.failed.max() or 0.0)
    return PhaseStats(
        phase=span.phase,
        name=name,
        of=of,
        seconds=span.seconds,
        hits=sample.hits,
        errors=sample.failures,
        p50=sample.quantile(0.5),
        p95=sample.quantile(0.95),
        p99=sample.quantile(0.99),
        max=slowest / 1e6 if sample.hits else None,
        rate=sample.rate,
        by_outcome={outcome.value: count for outcome, count in sorted(sample.slot.done.items())},
        service=_spread(sample.slot.service),
        wait=_spread(sample.slot.wait),
        lag=_spread(sample.slot.lag),
        amplification=amplification(traffic, span, name),
        success=_spread(sample.slot.ok),
        throughput=(sample.slot.ok.total + sample.slot.failed.total) / span.seconds if span.seconds else 0.0,
    )


def _spread(times: Histogram) -> Spread:
    return Spread(p50=_s(times, 0.5), p95=_s(times, 0.95), p99=_s(times, 0.99), max=_s(times, 1.0))


def _s(times: Histogram, share: float) -> float | None:
    micros = times.quantile(share)
    return None if micros is None else micros / 1e6


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
    return Trust(
        lag_p99_s=_s(whole.lag, 0.99),
        offered=whole.due,
        fired=whole.due - sample.late,
        unaccounted=whole.open,
        skipped=state.skipped,
        response_p99_s=sample.quantile(0.99),
        service_p99_s=_s(whole.service, 0.99),
        wait_p99_s=_s(whole.wait, 0.99),
        notes=(*remarks(traffic, whole), *http_remarks(traffic)),
    )
