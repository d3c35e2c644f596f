"""A safeguard that tripped blames the target by what it tripped on, and by nothing that came before or after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from building import HOGS, SLOT_US, Script, count, errors, experiment, fault, host, ns, p95, slow, tolerance, well

from chaosrunner.logic.judge import judge
from chaosrunner.logic.strain import Strain
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Stat
from chaosrunner.model.load import Closed
from chaosrunner.model.load import Outcome as Hits
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.model.verdict import Finding, Outcome

NOTHING = Hypothesis()
QUEUE = Metric(stat=Stat.PROBE, probe="queue")
MANY = tolerance("queue > 5", QUEUE, ">", 5.0)
SLOWLY = p95(0.2, cmp=">", for_s=3.0, text="p95 > 200ms for 3s")
FAILING = errors(0.1, cmp=">", for_s=3.0, text="errors > 10% for 3s")
LONGEST = Metric(stat=Stat.MAX)
STARVED = replace(HOGS, target_wait_s=0.9)
Facts = list[tuple[float, e.Event]]


def said(value: float, *at: float, ok: bool = True) -> Facts:
    """What a probe answered, by when it was asked."""
    return [(one, e.ProbeAnswered(probe="queue", at_ns=ns(one), ok=ok, value=value)) for one in at]


def every_second(value: float, begin: float, end: float) -> Facts:
    return said(value, *(begin + nth for nth in range(round(end - begin))))


def stop(at: float, why: str) -> Facts:
    return [(at, e.Decided(step="abort", why=why, now_ns=ns(at)))]


def abort(script: Script, asked: Experiment, full: Sequence[int] = (), start: str = "abort") -> Finding:
    """The finding, with a worker that was never idle in these seconds."""
    state = script.state()
    state.strains = {(second, 1): Strain(full_us=1e6) for second in full}
    return next(one for one in judge(asked, state).findings if one.name.startswith(start))


def guarded(*tolerances: object, **changes: object) -> Experiment:
    return experiment(hypothesis=NOTHING, abort=tolerances, **changes)


def closed(plain: Experiment) -> Experiment:
    (stream,) = plain.load.streams
    return replace(plain, load=replace(plain.load, streams=(replace(stream, closed=Closed()),)))


@dataclass(kw_only=True)
class Open(Script):
    """Hits are reported when they are answered, not when they become due."""

    def frames(self) -> list[tuple[float, Frame]]:
        plain = [self._hit(due, 0) for due in self._dues()]
        found = []
        for nth in range(round(self.end * 2)):
            begin, end = nth * 500_000, (nth + 1) * 500_000
            slots: dict[tuple[int, int], Slot] = {}
            for hit in plain:
                slot = slots.setdefault((hit.due_us // SLOT_US, 0), Slot())
                slot.due += begin <= hit.due_us < end
                if begin <= hit.due_us + hit.response_us < end:
                    count(slot, hit)
            found.append((end / 1e6, Frame(worker=0, seq=nth, until_us=end, slots=slots)))
        return found


@dataclass(kw_only=True)
class LateIn(Script):
    """The generator was late for the hits of a stretch."""

    begin: float
    until: float
    by: float

    def _hit(self, due: float, name: int) -> Hit:
        outcome, response = self.answer(due, name)
        lag = self.by if self.begin <= due < self.until else 0.0
        return Hit(round(due * 1e6), name, outcome, round((response + lag) * 1e6), round(lag * 1e6))


@pytest.mark.parametrize(
    ("hogs", "outcome"),
    [
        (host(HOGS, 20, 30), Outcome.UNKNOWN),
        (host(HOGS, 5, 10), Outcome.BROKEN),
        ([], Outcome.BROKEN),
    ],
    ids=["hogs", "hogs elsewhere", "nobody"],
)
@pytest.mark.parametrize(
    "later",
    [[], said(1.0, 27.7), every_second(1.0, 27.7, 31.7), [(28.2, said(1.0, 26.9)[0][1])]],
    ids=["nothing", "one good answer", "wind-down", "asked before, answered after"],
)
def test_what_a_probe_said_later_takes_no_doubt_away(hogs: Facts, outcome: Outcome, later: Facts) -> None:
    """A probe is asked on while the run winds down; what it tripped on is what it had said by then."""
    answers = [*every_second(1.0, 1, 22), *every_second(9.0, 22.2, 26.2), *later]
    script = Script(end=32.0, extra=[*hogs, *answers, *stop(27.0, "queue > 5: 9")])
    assert abort(script, guarded(MANY)).outcome is outcome


@pytest.mark.parametrize(
    ("hogs", "outcome"),
    [
        (host(HOGS, 27, 29), Outcome.BROKEN),
        (host(HOGS, 25, 29), Outcome.UNKNOWN),
        (host(HOGS, 24, 25), Outcome.UNKNOWN),
        (host(HOGS, 10, 15), Outcome.BROKEN),
    ],
    ids=["too late", "too soon", "between", "long before"],
)
def test_a_probe_that_strangers_interrupt(hogs: Facts, outcome: Outcome) -> None:
    """What a probe said among strangers may have been good: `for 3s` needs three seconds of bad answers beside that."""
    long = replace(MANY, for_s=3.0, text="queue > 5 for 3s")
    answers = [*every_second(1.0, 1, 22), *every_second(9.0, 22.2, 28.2)]
    script = Script(end=29.0, extra=[*hogs, *answers, *stop(28.0, "queue > 5 for 3s: 9")])
    assert abort(script, guarded(long)).outcome is outcome


@pytest.mark.parametrize(("hogs", "outcome"), [(host(HOGS, 20, 28), Outcome.UNKNOWN), ([], Outcome.BROKEN)])
def test_a_probe_of_which_nothing_bad_is_left(hogs: Facts, outcome: Outcome) -> None:
    """Where the answers that tripped are not to be seen, strangers near that moment are doubt enough."""
    script = Script(end=28.0, extra=[*hogs, *every_second(1.0, 1, 27), *stop(27.0, "queue > 5: 9")])
    assert abort(script, guarded(MANY)).outcome is outcome


@pytest.mark.parametrize("at", [27.0, 27.3, 27.5])
@pytest.mark.parametrize(("first", "outcome"), [(20, Outcome.UNKNOWN), (3, Outcome.BROKEN)])
def test_seconds_begin_with_the_baseline(at: float, first: int, outcome: Outcome) -> None:
    """What filled three seconds when it tripped fills them when judged, whenever the run was given up."""
    most = errors(0.9, cmp=">", for_s=3.0, text="errors > 90% for 3s")
    script = Script(
        answer=lambda due, name: (Hits.TIMEOUT, 1.0) if 24 <= due < 27 else well(due, name),
        end=30.0,
        extra=[*host(HOGS, first, first + 10), *stop(at, "errors > 90% for 3s: 100 %")],
    )
    assert abort(script, guarded(most)).outcome is outcome


@pytest.mark.parametrize(
    ("hogs", "outcome"),
    [
        (host(STARVED, 22, 35), Outcome.UNKNOWN),
        (host(STARVED, 5, 12), Outcome.BROKEN),
        (host(replace(HOGS, target_wait_s=0.08), 22, 35), Outcome.BROKEN),
        ([], Outcome.BROKEN),
    ],
    ids=["hogs", "hogs elsewhere", "a little in the way", "nobody"],
)
def test_what_was_open_when_it_tripped(hogs: Facts, outcome: Outcome) -> None:
    """Requests that were open too long count, though they were answered in the end."""
    script = Open(
        answer=lambda due, name: (Hits.OK, 6.0) if 24 <= due < 29.6 else well(due, name),
        end=36.0,
        heal=(29.6, 29.6),
        recovery=None,
        extra=[*hogs, *stop(29.0, "errors > 10% for 3s: 100 %")],
    )
    assert abort(script, guarded(FAILING)).outcome is outcome


def test_a_worker_that_was_full_while_requests_were_open() -> None:
    """Requests are open too long, too, where a worker is too busy to see that they were answered."""
    script = Open(
        answer=lambda due, name: (Hits.OK, 6.0) if 24 <= due < 29.6 else well(due, name),
        end=36.0,
        recovery=None,
        extra=stop(29.0, "errors > 10% for 3s: 100 %"),
    )
    assert abort(script, guarded(FAILING), range(24, 29)).outcome is Outcome.UNKNOWN
    assert abort(script, guarded(FAILING), range(10, 15)).outcome is Outcome.BROKEN


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(("first", "outcome"), [(7, Outcome.UNKNOWN), (1, Outcome.BROKEN)])
def test_what_failed_in_the_warm_up_takes_no_doubt_away(warm: bool, first: int, outcome: Outcome) -> None:
    """A safeguard sleeps until the baseline begins, so nothing before it was what it tripped on."""

    def answer(due: float, name: int) -> tuple[Hits, float]:
        if warm and 2 <= due < 3.9:
            return Hits.RESET, 0.001
        return (Hits.TIMEOUT, 1.0) if 8 <= due < 9 else well(due, name)

    script = Script(
        answer=answer,
        baseline=4.0,
        fault=7.2,
        inject=(7.5, 7.5),
        heal=(9.6, 9.6),
        recovery=None,
        end=10.0,
        extra=[*host(STARVED, first, first + 3), *stop(9.5, "errors > 10%: 100 %")],
    )
    asked = guarded(errors(0.1, cmp=">", text="errors > 10%"), baseline_s=3.0)
    assert abort(script, asked).outcome is outcome


BEYOND = slow(215.0, 230.0, 0.3)


@pytest.mark.parametrize(
    ("script", "full", "outcome"),
    [
        pytest.param(
            Script(rate=20.0, answer=BEYOND, heal=(220.5, 220.5), recovery=None, end=221.0, extra=stop(220.0, "")),
            range(215, 221),
            Outcome.UNKNOWN,
            id="at the end of a long fault",
        ),
        pytest.param(
            Script(rate=20.0, answer=BEYOND, heal=(220.5, 220.5), recovery=None, end=221.0, extra=stop(220.0, "")),
            range(100, 200),
            Outcome.BROKEN,
            id="long before",
        ),
        pytest.param(
            Script(answer=slow(24.0, 28.6, 0.3), end=29.0, extra=stop(28.0, "")),
            range(23, 27),
            Outcome.UNKNOWN,
            id="before the recovery",
        ),
        pytest.param(
            Script(answer=slow(30.0, 35.0, 0.3), after=28.5, end=34.0, extra=stop(33.0, "")),
            range(30, 33),
            Outcome.UNKNOWN,
            id="after it",
        ),
    ],
)
def test_a_worker_that_was_full_when_it_tripped(script: Script, full: Sequence[int], outcome: Outcome) -> None:
    """A full worker counts by the seconds that tripped, whatever phase they were in and however long that was."""
    ((at, _),) = script.extra
    script = replace(script, extra=stop(at, "p95 > 200ms for 3s: 300 ms"))
    assert abort(script, guarded(SLOWLY, faults=(fault(for_s=300.0),)), full).outcome is outcome


@pytest.mark.parametrize(("begin", "outcome"), [(96.0, Outcome.UNKNOWN), (60.0, Outcome.BROKEN)])
def test_a_load_that_was_not_there_when_it_tripped(begin: float, outcome: Outcome) -> None:
    """A short failure of the generator is no excuse in a long phase, unless it was then."""

    def answer(due: float, name: int) -> tuple[Hits, float]:
        if begin <= due < begin + 4.5:
            return Hits.LATE, 0.0
        return (Hits.RESET, 0.001) if due >= 96 else well(due, name)

    low = tolerance("rate < 5/s for 3s", Metric(stat=Stat.RATE), "<", 5.0, for_s=3.0)
    script = Script(rate=20.0, answer=answer, heal=(100.6, 100.6), recovery=None, end=101.0)
    script = replace(script, extra=stop(100.5, "rate < 5/s for 3s: 0 /s"))
    assert abort(script, guarded(low, faults=(fault(for_s=900.0),))).outcome is outcome


@pytest.mark.parametrize(("ill", "outcome"), [(False, Outcome.UNKNOWN), (True, Outcome.BROKEN)])
def test_each_second_must_be_the_targets(ill: bool, outcome: Outcome) -> None:
    """One second of sixty that was bad only for want of load is enough not to trip."""

    def answer(due: float, name: int) -> tuple[Hits, float]:
        second = round(due * 20) % 20
        if 50 <= due < 51:
            return (Hits.LATE, 0.0) if second < 10 else (Hits.RESET, 0.001) if ill else well(due, name)
        return (Hits.RESET, 0.001) if second < 10 and due >= 22 else well(due, name)

    low = tolerance("rate < 15/s for 60s", Metric(stat=Stat.RATE), "<", 15.0, for_s=60.0)
    script = Script(rate=20.0, answer=answer, heal=(83.0, 83.0), recovery=None, end=83.0)
    script = replace(script, extra=stop(82.2, "rate < 15/s for 60s: 10 /s"))
    one = abort(script, guarded(low, faults=(fault(for_s=900.0),)))
    assert one.outcome is outcome
    assert one.why.startswith("load not delivered" if outcome is Outcome.UNKNOWN else "")


@pytest.mark.parametrize("recovery", [None, 27.5])
@pytest.mark.parametrize(("first", "outcome"), [(20, Outcome.UNKNOWN), (5, Outcome.BROKEN)])
def test_users_who_waited_when_it_tripped(recovery: float | None, first: int, outcome: Outcome) -> None:
    """Users who wait for answers ask less in the seconds of the strangers, whatever phase began since."""
    low = tolerance("rate < 80/s for 3s", Metric(stat=Stat.RATE), "<", 80.0, for_s=3.0)
    dues = [*(nth / 100 for nth in range(2300)), *(23 + nth / 50 for nth in range(280))]
    extra = [*host(HOGS, first, first + 7), *stop(28.0, "rate < 80/s for 3s: 50/s")]
    script = Script(dues=dues, end=28.6, recovery=recovery, extra=extra)
    assert abort(script, closed(guarded(low))).outcome is outcome


@pytest.mark.parametrize(
    ("lag", "hogs", "full", "outcome"),
    [
        (0.3, [], (), Outcome.UNKNOWN),
        (0.0, host(HOGS, 5, 13), (), Outcome.UNKNOWN),
        (0.0, [], range(5, 13), Outcome.UNKNOWN),
        (0.0, [], (), Outcome.BROKEN),
    ],
    ids=["lag", "hogs", "a full worker", "the target"],
)
def test_a_run_without_faults_is_doubted_too(lag: float, hogs: Facts, full: Sequence[int], outcome: Outcome) -> None:
    """Where nothing is broken on purpose a safeguard trips in the baseline, and what tripped it is asked as well."""
    script = Script(answer=well if lag else slow(8.0, 13.0, 0.3), lag=lag, fault=None, inject=None, end=13.0)
    script = replace(script, heal=None, recovery=None, extra=[*hogs, *stop(12.0, "p95 > 200ms for 3s: 305 ms")])
    assert abort(script, guarded(SLOWLY, faults=()), full).outcome is outcome


def test_lag_and_missing_cpu_trip_together() -> None:
    """What neither explains alone trips a safeguard, and blames nobody, where both together explain it."""
    light = replace(HOGS, target_wait_s=0.1)
    script = Script(answer=slow(22.0, 28.0, 0.3), lag=0.15, end=28.0)
    for hogs, outcome in (host(light, 20, 28), Outcome.UNKNOWN), (host(light, 2, 8), Outcome.BROKEN):
        one = replace(script, extra=[*hogs, *stop(27.0, "p95 > 200ms for 3s: 450 ms")])
        assert abort(one, guarded(SLOWLY)).outcome is outcome


@pytest.mark.parametrize(
    ("hogs", "full", "outcome"),
    [
        (host(HOGS, 20, 28), (), Outcome.UNKNOWN),
        ([], range(20, 28), Outcome.UNKNOWN),
        ([], (), Outcome.BROKEN),
        (host(HOGS, 2, 8), range(2, 8), Outcome.BROKEN),
    ],
    ids=["hogs", "a full worker", "nobody", "elsewhere"],
)
def test_what_tripped_is_not_found_again(hogs: Facts, full: Sequence[int], outcome: Outcome) -> None:
    """Where nothing of what tripped is left, any trouble near that moment is doubt enough."""
    script = Script(end=28.0, extra=[*hogs, *stop(27.0, "p95 > 200ms for 3s: 300 ms")])
    assert abort(script, guarded(SLOWLY), full).outcome is outcome


@pytest.mark.parametrize(
    ("hogs", "outcome"), [(host(STARVED, 20, 28), Outcome.UNKNOWN), ([], Outcome.BROKEN)], ids=["hogs", "nobody"]
)
def test_the_longest_of_all_may_be_the_strangers(hogs: Facts, outcome: Outcome) -> None:
    """A request that was given up for want of CPU is not the longest that the target took."""

    def answer(due: float, name: int) -> tuple[Hits, float]:
        return (Hits.TIMEOUT, 2.0) if 24 <= due < 25 and round(due * 100) % 10 == 0 else well(due, name)

    longest = tolerance("max > 1s", LONGEST, ">", 1.0)
    script = Script(answer=answer, end=28.0, extra=[*hogs, *stop(27.0, "max > 1s: 2 s")])
    assert abort(script, guarded(longest)).outcome is outcome
    asked = experiment(hypothesis=Hypothesis(during=(tolerance("max < 1s", LONGEST, "<", 1.0),)))
    script = Script(answer=answer, after=28.5, end=42.0, extra=hogs)
    assert abort(script, asked, start="during").outcome is outcome


@pytest.mark.parametrize(
    ("lagging", "outcome"), [(24.02, Outcome.UNKNOWN), (24.01, Outcome.BROKEN), (24.0, Outcome.BROKEN)]
)
def test_the_lag_of_a_request_that_failed_is_not_the_targets(lagging: float, outcome: Outcome) -> None:
    """Of two that waited too long for an answer both must owe it to the generator; without any lag neither does."""

    def answer(due: float, name: int) -> tuple[Hits, float]:
        return (Hits.TIMEOUT, 1.0 if due < lagging else 1.3) if 24 <= due < 24.02 else well(due, name)

    asked = experiment(hypothesis=Hypothesis(during=(tolerance("max <= 1.2s", LONGEST, "<=", 1.2),)))
    script = LateIn(answer=answer, after=28.5, end=42.0, begin=24.0, until=lagging, by=0.3)
    assert abort(script, asked, start="during").outcome is outcome


@pytest.mark.parametrize(
    ("full", "outcomes"),
    [
        (range(60, 63), (Outcome.UNKNOWN, Outcome.UNKNOWN, Outcome.BROKEN)),
        ((), (Outcome.BROKEN, Outcome.BROKEN, Outcome.BROKEN)),
    ],
)
def test_as_little_as_decides_a_quantile(full: Sequence[int], outcomes: Sequence[Outcome]) -> None:
    """A worker that is full for 3 % of the time decides p99 and the longest response, and not p95."""
    p99 = tolerance("p99 <= 0.2s", Metric(stat=Stat.QUANTILE, quantile=0.99), "<=", 0.2)
    longest = tolerance("max <= 0.2s", LONGEST, "<=", 0.2)
    asked = experiment(hypothesis=Hypothesis(during=(p99, longest, p95(0.2))), faults=(fault(for_s=100.0),))
    script = Script(
        rate=50.0, answer=slow(60.0, 70.0, 0.3), heal=(122.5, 122.5), recovery=122.5, after=123.5, end=136.0
    )
    starts = ("during: p99", "during: max", "during: p95")
    assert [abort(script, asked, full, start).outcome for start in starts] == list(outcomes)


@pytest.mark.parametrize(
    ("again", "full", "hogs", "outcome"),
    [
        (0.0, range(100, 104), [], Outcome.UNKNOWN),
        (12.0, range(100, 104), [], Outcome.BROKEN),
        (12.0, range(100, 104), host(HOGS, 49, 64), Outcome.UNKNOWN),
        (12.0, range(100, 104), host(HOGS, 80, 90), Outcome.BROKEN),
        (0.0, range(75, 76), [], Outcome.BROKEN),
        (0.0, (), [], Outcome.BROKEN),
    ],
    ids=["full", "guilty elsewhere", "strangers there", "strangers elsewhere", "full elsewhere", "nobody"],
)
@pytest.mark.parametrize("against", [Against.ABSOLUTE, Against.TIMES_BASELINE])
def test_a_worker_that_was_full_for_a_window(
    again: float, full: Sequence[int], hogs: Facts, outcome: Outcome, against: Against
) -> None:
    """A worker that was full for a window of a long phase explains that one, and no other."""
    times = 0.2 if against is Against.ABSOLUTE else 40.0
    asked = experiment(
        hypothesis=Hypothesis(during=(p95(times, window_s=10.0, against=against),)), faults=(fault(for_s=100.0),)
    )
    answer = slow(100.0, 104.0, 0.3)
    if again:
        first = answer
        answer = lambda due, name: (Hits.OK, 0.3) if 50 <= due < 50 + again else first(due, name)  # noqa: E731
    script = Script(rate=20.0, answer=answer, heal=(122.5, 122.5), recovery=122.5, after=123.5, end=136.0, extra=hogs)
    assert abort(script, asked, full, "during").outcome is outcome
