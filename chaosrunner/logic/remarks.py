"""What is to be said about how far a load and its host may be believed: one remark a thing, none where all is well."""

from __future__ import annotations

from collections.abc import Iterator

from chaosrunner.logic.relief import taken
from chaosrunner.logic.traffic import Traffic
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Slot
from chaosrunner.model.units import human_duration

CONTENDED = 0.5
"""Share of a second in which some task waited for a CPU, above which the second counts as contended."""

NEARLY = 0.8
"""Share of what there is, above which it is said that it runs out."""

LONG_STALL_US = 50_000
"""An event loop that stood still at once for longer than this is told of; shorter ones, if there were many."""

MANY_STALLS = 0.01
"""Share of its time for which a loop may stand still before that is told."""


def remarks(traffic: Traffic, whole: Slot) -> Iterator[str]:
    """The remarks on a run, the most important first.

    Args:
        traffic: the experiment and what is known of its run.
        whole: all its hits.
    """
    state = traffic.state
    yield from _closed(traffic)
    yield from (f"the load has gaps: {gap}" for gap in state.gaps)
    if state.hits_dropped:
        yield f"{state.hits_dropped} raw hits were not kept; slots of 100 ms stand in for them"
    if local := whole.done.get(Outcome.LOCAL, 0):
        yield f"{local} requests found no free port, descriptor or memory on this host: ours, not the target's"
    if longest := whole.ok.hour_or_more + whole.failed.hour_or_more:
        yield f"{longest} responses took an hour or more, and count as an hour"
    for worker, seen in sorted(state.watched.items()):
        yield from (f"worker {worker} {said}" for said in _worker(seen))
    yield from _host(traffic)


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


def _worker(seen: dict[str, float]) -> Iterator[str]:
    """What a worker saw of itself that may have spoilt what it measured."""
    span_us = seen.get("span_us", 0.0)
    if full_us := seen.get("full_us", 0.0):
        yield f"was never idle for {_time(full_us)} of {_time(span_us)}, when slow answers may be its own doing"
    longest, still = seen.get("stall_max_us", 0.0), seen.get("stall_us", 0.0)
    if longest > LONG_STALL_US or still > MANY_STALLS * span_us > 0:
        often = f"{seen.get('stalls', 0.0):.0f} times for more than 10 ms"
        yield f"stood still {often}, {_time(longest)} at most, {_time(still)} in all"
    if (waited := seen.get("wait_us", 0.0)) > MANY_STALLS * span_us > 0:
        yield f"had no CPU for {_time(waited)} of {_time(span_us)} although it was ready to run"
    if spun := seen.get("spin_us", 0.0):
        yield f"waited awake for {_time(spun)} in all, so as to fire on time"
    for what, have, advice in (
        ("files", "files_allowed", "open files that are allowed: raise `ulimit -n`"),
        ("time_wait", "ports", "local ports: what was closed keeps its port for a minute; let connections be kept"),
    ):
        used, there = seen.get(f"{what}_max", 0.0), seen.get(f"{have}_max", 0.0)
        if used > NEARLY * there > 0:
            yield f"needed {used:.0f} of {there:.0f} {advice}"
    if steps := seen.get("clock_steps", 0.0):
        most = _time(seen.get("clock_step_max_us", 0.0))
        yield f"saw its wall clock set {steps:.0f} times, by up to {most}: times of day jump, durations do not"


def _host(traffic: Traffic) -> Iterator[str]:
    """Whether this host had CPU enough for the target and for us."""
    state = traffic.state
    if not state.pressure:
        yield "contention of this host was not measured"
        return
    if state.pressure_dropped:
        yield f"contention of the first {human_duration(state.pressure_dropped)} was measured and is not kept"
    seconds = len(state.pressure)
    contended = sum(one.cpu_some > CONTENDED for one in state.pressure)
    if contended:
        waited = human_duration(sum(one.target_wait_s for one in state.pressure) / seconds)
        found = any(one.target_cpu or one.others_cpu for one in state.pressure)
        whose = f"the target waited {waited} a second for one" if found else "no process of the target was found on it"
        yield f"this host was short of CPU in {contended} of {seconds} seconds; {whose}"
    robbed = [one for one in state.pressure if taken(one)]
    if robbed:
        others = sum(one.others_cpu for one in robbed) / len(robbed)
        names = [one.busiest for one in robbed if one.busiest]
        who = f", most of it {max(sorted(set(names)), key=names.count)}" if names else ""
        yield f"in {len(robbed)} of {seconds} seconds others had {others:.2g} CPUs that the target waited for{who}"


def _time(micros: float) -> str:
    return human_duration(micros / 1e6)
