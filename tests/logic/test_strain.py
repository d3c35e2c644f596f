"""What workers saw of themselves, folded and told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import Script, experiment, ns

from chaosrunner.logic import strain
from chaosrunner.logic.fold import PRESSURE_KEPT, State, fold, step
from chaosrunner.logic.judge import judge
from chaosrunner.logic.strain import Strain, Strains, Watched, note_watch
from chaosrunner.model import events as e
from chaosrunner.model.histogram import HOUR_US
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame

WELL = Script(after=27.5, end=40.0)
PORTS_SAID = (
    "worker 0 needed 27000 of 28232 local ports: what was closed keeps its port for a minute; let connections be kept"
)
CALM = [(5.0, e.Pressure(at_ns=ns(5.0), cpu_some=0.1))]


def frame(worker: int = 0, cpu_us: int = 0, **watch: float) -> Frame:
    return Frame(worker=worker, seq=0, until_us=0, slots={}, cpu_us=cpu_us, watch={k: v for k, v in watch.items() if v})


def folded(*frames: Frame) -> tuple[Watched, Strains]:
    watched: Watched = {}
    strains: Strains = {}
    for one in frames:
        note_watch(watched, strains, one)
    return watched, strains


def test_sums_add_up_and_marks_stay() -> None:
    """What is a sum is added, what is a mark keeps its highest, worker by worker; the instant is neither."""
    watched, _ = folded(
        frame(at_us=1e5, span_us=1e5, stalls=2, stall_max_us=30, files_max=7),
        frame(at_us=2e5, span_us=1e5, stalls=1, stall_max_us=20, files_max=9),
        frame(1, at_us=2e5, span_us=3e5),
    )
    assert watched == {
        0: {"span_us": 2e5, "stalls": 3, "stall_max_us": 30, "files_max": 9, "full_us": 0},
        1: {"span_us": 3e5, "full_us": 0},
    }


def test_frames_without_an_account_say_nothing() -> None:
    """Frames of an earlier version have no account, and none is made up."""
    assert folded(Frame(worker=0, seq=0, until_us=0, slots={})) == ({}, {})


def test_only_what_is_notable_is_kept_by_second() -> None:
    """A second is kept when the worker stood still in it, as long as its longest stall was, or was never idle."""
    _, strains = folded(
        frame(at_us=1_100_000, span_us=250_000, wait_us=4_000),
        frame(at_us=2_100_000, span_us=250_000, stall_us=50_000, stall_max_us=30_000),
        frame(at_us=2_350_000, span_us=250_000, stall_max_us=12_000),
        frame(at_us=2_600_000, span_us=250_000, cpu_us=240_000),
    )
    assert strains == {(2, 0): Strain(30_000, 250_000)}


@pytest.mark.parametrize(
    ("cpu_us", "wait_us", "spin_us", "span_us", "full"),
    [
        (240_000, 0, 0, 250_000, True),
        (230_000, 0, 0, 250_000, False),
        (236_000, 4_000, 0, 250_000, True),
        (249_000, 0, 200_000, 250_000, False),
        (9, 0, 0, 9, False),
    ],
)
def test_never_idle_is_running_or_waiting_to_run(
    cpu_us: int, wait_us: int, spin_us: int, span_us: int, full: bool
) -> None:
    """A worker that runs, or would if it had a CPU, is not idle; one that waits awake is."""
    watched, strains = folded(frame(at_us=1e6, cpu_us=cpu_us, wait_us=wait_us, span_us=span_us, spin_us=spin_us))
    assert bool(watched[0]["full_us"]) == bool(strains) == full


def test_memory_is_bounded() -> None:
    """However long and however bad a run is, only so many seconds of workers and of the host are kept."""
    strains: Strains = {(n, 0): Strain() for n in range(strain.SECONDS_KEPT)}
    note_watch({}, strains, frame(at_us=9e12, span_us=1e6, stall_max_us=1e6))
    assert len(strains) == strain.SECONDS_KEPT
    assert (0, 0) not in strains
    assert (9_000_000, 0) in strains
    state = State()
    for n in range(PRESSURE_KEPT + 3):
        state = step(state, e.Entry(n=n, at_ns=0, wall="", epoch=0, event=e.Pressure(at_ns=n, cpu_some=0.0)))
    assert len(state.pressure) == PRESSURE_KEPT
    assert state.pressure_dropped == 3
    assert state.pressure[0].at_ns == 3


def notes(watch: dict[str, float], *, extra: list[tuple[float, e.Event]] = CALM, **changes: float) -> list[str]:
    """The remarks on a run whose worker gave this account."""
    state = replace(WELL, extra=extra).state()
    if watch:
        state.watched = {0: {"span_us": 40e6, **watch}}
    for name, value in changes.items():
        setattr(state, name, value)
    return list(judge(experiment(), state).trust.notes)


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        ({}, []),
        ({"stalls": 3, "stall_us": 60e3, "stall_max_us": 30e3, "wait_us": 1e3, "files_max": 9}, []),
        (
            {"stalls": 3, "stall_us": 160e3, "stall_max_us": 90e3},
            ["worker 0 stood still 3 times for more than 10 ms, 90 ms at most, 160 ms in all"],
        ),
        (
            {"stalls": 40, "stall_us": 800e3, "stall_max_us": 30e3},
            ["worker 0 stood still 40 times for more than 10 ms, 30 ms at most, 800 ms in all"],
        ),
        ({"wait_us": 2e6}, ["worker 0 had no CPU for 2 s of 40 s although it was ready to run"]),
        ({"full_us": 4e6}, ["worker 0 was never idle for 4 s of 40 s, when slow answers may be its own doing"]),
        ({"spin_us": 3e6}, ["worker 0 waited awake for 3 s in all, so as to fire on time"]),
        (
            {"files_max": 1000, "files_allowed_max": 1024},
            ["worker 0 needed 1000 of 1024 open files that are allowed: raise `ulimit -n`"],
        ),
        ({"files_max": 100, "files_allowed_max": 1024, "time_wait_max": 5}, []),
        (
            {"time_wait_max": 27_000, "ports_max": 28_232},
            [PORTS_SAID],
        ),
        (
            {"clock_steps": 2, "clock_step_max_us": 3e6},
            ["worker 0 saw its wall clock set 2 times, by up to 3 s: times of day jump, durations do not"],
        ),
    ],
)
def test_what_is_said_of_a_worker(watch: dict[str, float], said: list[str]) -> None:
    """Whatever may have spoilt a measurement is said with its figures; what is in order is not mentioned."""
    assert notes(watch) == said


def test_what_was_ours_is_said() -> None:
    """Requests that found no port here are told as ours, and times beyond the range as such."""

    def answer(due: float, _name: int) -> tuple[Outcome, float]:
        return (Outcome.LOCAL, 0.0) if due < 0.1 else (Outcome.OK, 2 * HOUR_US / 1e6 if due < 0.2 else 0.005)

    seen = judge(experiment(), replace(WELL, answer=answer, extra=CALM).state()).trust
    assert seen.notes[0] == "10 requests found no free port, descriptor or memory on this host: ours, not the target's"
    assert seen.notes[1] == "10 responses took an hour or more, and count as an hour"
    assert (seen.offered, seen.fired) == (4000, 3990)


def test_what_others_had_is_said() -> None:
    """Seconds in which strangers had the target's CPU are told, with the one that had most."""
    hogs = e.Pressure(
        at_ns=0, cpu_some=0.4, target_wait_s=0.5, target_cpu=0.1, our_cpu=0.1, others_cpu=1.8, busiest="hog (7)"
    )
    extra: list[tuple[float, e.Event]] = [(float(n), replace(hogs, at_ns=ns(n))) for n in range(1, 4)]
    assert notes({}, extra=[*extra, *CALM]) == [
        "in 3 of 4 seconds others had 1.8 CPUs that the target waited for, most of it hog (7)"
    ]
    nameless: list[tuple[float, e.Event]] = [(1.0, replace(hogs, busiest=""))]
    assert notes({}, extra=nameless) == ["in 1 of 1 seconds others had 1.8 CPUs that the target waited for"]
    assert notes({}, pressure_dropped=90) == ["contention of the first 90 s was measured and is not kept"]


def test_accounts_are_folded_from_frames() -> None:
    """A journal's frames bring their workers' accounts into the state, once each."""
    entry = e.Entry(
        n=0, at_ns=0, wall="", epoch=0, event=e.SlotsArrived(frame=frame(at_us=1.5e6, span_us=1e5, stall_max_us=2e4))
    )
    state = fold([entry, entry])
    assert state.watched[0]["stall_max_us"] == 2e4
    assert state.strains == {(1, 0): Strain(2e4, 0.0)}
