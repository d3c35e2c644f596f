"""The kindest view of a run: what responses would have been had no CPU been missing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import EPOCH, ns
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.logic.fold import State
from chaosrunner.logic.relief import Missing, missing, relieved, taken
from chaosrunner.logic.strain import Strain
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase
from chaosrunner.model.histogram import Histogram
from chaosrunner.model.journey import SERIES
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Hit, Slot

EVERYWHERE = frozenset(Phase)


HOGS = e.Pressure(at_ns=0, cpu_some=0.9, target_wait_s=0.5, target_cpu=0.1, our_cpu=0.1, others_cpu=1.8)


def second(at_s: float, **changes: float) -> e.Pressure:
    """A second of this host that ends at `at_s`: two hogs unless said otherwise."""
    return replace(HOGS, at_ns=ns(at_s), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "share"),
    [
        pytest.param(second(1), 0.5 * 1.8 / 2, id="two hogs"),
        pytest.param(second(1, target_wait_s=3.0), 0.9, id="many threads waited at once"),
        pytest.param(second(1, target_wait_s=0.04), 0.0, id="hardly any waiting"),
        pytest.param(second(1, others_cpu=0.1, target_cpu=1.8), 0.0, id="the target is in its own way"),
        pytest.param(second(1, others_cpu=0.1, our_cpu=1.8), 0.0, id="the load is in its way"),
        pytest.param(e.Pressure(at_ns=1, cpu_some=1.0, target_wait_s=0.5), 0.0, id="nobody knows who had it"),
    ],
)
def test_what_others_took(seen: e.Pressure, share: float) -> None:
    """Of the target's waiting the others' part counts, once they and it are large enough to matter."""
    assert taken(seen) == pytest.approx(share)


def test_missing_cpu_by_second() -> None:
    """A sample covers every second it touches; of several workers the one that stood still longest counts."""
    state = State(load_epoch_ns=EPOCH)
    state.pressure = [second(3.5), second(1.0, target_wait_s=0.01)]
    state.strains = {
        (2, 0): Strain(still_us=300_000),
        (2, 1): Strain(still_us=100_000),
        (7, 0): Strain(still_us=3e6),
        (9, 0): Strain(full_us=1e6),
    }
    found = missing(state)
    assert found.others == pytest.approx({2: 0.45, 3: 0.45})
    assert found.ours == {2: 0.3, 7: 3.0}
    assert found
    assert not missing(State())
    assert found.taken(range(2, 6)) == pytest.approx(0.225)
    assert found.taken(range(0)) == 0
    assert (found.still(range(10)), found.still(range(3, 5))) == (3.0, 0)


def test_what_a_request_may_owe() -> None:
    """What others took in its second and the one before, their share of its own time, our longest stall twice."""
    lack = Missing(others={2: 0.4, 3: 0.1}, ours={6: 0.3})
    owed = [lack.owed(n) for n in range(9)]
    assert [round(one.seconds, 2) for one in owed] == [0, 0, 0.4, 0.5, 0.1, 0.6, 0.6, 0.6, 0]
    assert [round(one.share, 2) for one in owed] == [0, 0.4, 0.4, 0.1, 0, 0, 0, 0, 0]
    assert lack.owed(2).of(1_000_000) == 800_000


def test_a_queue_that_is_never_empty_owes_all_that_was_missing() -> None:
    """While the busiest thread never sleeps what was missing adds up, and is forgotten once it has slept."""
    state = State(load_epoch_ns=EPOCH)
    state.pressure = [second(n, target_awake=1.0 if n < 4 else 0.5) for n in range(1, 6)]
    found = missing(state)
    assert [round(found.owed(n).seconds, 2) for n in range(7)] == [0.45, 0.9, 1.35, 1.8, 0.9, 0.45, 0]


def test_without_an_epoch_no_second_is_known() -> None:
    """Pressure from before the load has an epoch is nobody's second."""
    state = State()
    state.pressure = [second(1)]
    assert not missing(state)


def slot(values: dict[int, int], failed: dict[Outcome, int] | None = None, age_us: int = 0) -> Slot:
    """A slot with these responses (µs → how many)."""
    one = Slot()
    for micros, count in values.items():
        for histogram in (one.ok, one.adjusted):
            histogram.add(Histogram.of([[cell, count] for cell, _ in recorded(micros)]))
    one.done = {Outcome.OK: sum(values.values()), **(failed or {})}
    one.due = sum(one.done.values())
    for _ in range(sum((failed or {}).values())):
        one.failed.record(age_us)
    return one


def recorded(micros: int) -> Histogram:
    histogram = Histogram()
    histogram.record(micros)
    return histogram


def in_fault(slots: dict[int, dict[int, Slot]]) -> State:
    state = State(load_epoch_ns=EPOCH, covered_us={0: 20_000_000})
    state.phases = [(Phase.FAULT, EPOCH)]
    state.slots = slots
    return state


def test_the_slowest_of_ten_seconds_are_those_of_the_worst_second() -> None:
    """With one second of ten short of CPU, a tenth of the responses is relieved: the slowest, wherever they are."""
    state = in_fault({n: {0: slot({40_000: 9, 900_000: 1})} for n in range(100)})
    view = relieved(state, Missing(others={4: 0.5}), EVERYWHERE)
    whole = Histogram()
    for names in view.slots.values():
        whole.add(names[0].ok)
    assert whole.quantile(0.9) == pytest.approx(40_000, rel=0.01)
    assert whole.max() == pytest.approx(40_000, rel=0.01)  # 900 − 0.5 · 1900 ms is below zero
    assert whole.total == 1000
    assert state.slots[0][0].ok.max() == pytest.approx(900_000, rel=0.01)


def test_whether_slots_were_merged_makes_no_difference() -> None:
    """Ten seconds of slots, or their sums in one slot, give the same view: judging again later is judging the same."""
    fine = in_fault({n: {0: slot({1000 * (n + 1): 3})} for n in range(100)})
    merged = Slot()
    for names in fine.slots.values():
        merged.add(names[0])
    lack = Missing(others={3: 0.3, 4: 0.01}, ours={8: 0.1})
    view = Slot()
    for names in relieved(fine, lack, EVERYWHERE).slots.values():
        view.add(names[0])
    assert view == relieved(in_fault({0: {0: merged}}), lack, EVERYWHERE).slots[0][0]


def test_only_the_phases_asked_for_are_relieved() -> None:
    """Other phases, and tens of seconds in which nothing was missing, are as they were."""
    state = State(load_epoch_ns=EPOCH, covered_us={0: 20_000_000})
    state.phases = [(Phase.BASELINE, EPOCH), (Phase.FAULT, ns(5))]
    state.slots = {n: {0: slot({90_000: 1})} for n in (0, 60, 100)}
    state.series = {60: {SERIES: slot({90_000: 1})}}
    view = relieved(state, Missing(others=dict.fromkeys(range(9), 0.9)), frozenset({Phase.FAULT}))
    assert view.slots[0] == state.slots[0]
    assert view.slots[60][0].ok.max() == 0
    assert view.slots[100] == state.slots[100]
    assert view.series[60][SERIES].ok.max() == 0
    assert list(view.slots) == [0, 60, 100]


def test_a_phase_has_only_its_own_seconds() -> None:
    """Where a phase, or the load, has only some of ten seconds, their shortage is that of all its hits."""
    state = State(load_epoch_ns=EPOCH, covered_us={0: 6_900_000})
    state.phases = [(Phase.BASELINE, EPOCH), (Phase.FAULT, ns(5))]
    state.slots = {n: {0: slot({90_000: 1})} for n in range(69)}
    view = relieved(state, Missing(others=dict.fromkeys(range(5, 7), 0.9)), frozenset({Phase.FAULT}))
    assert {view.slots[n][0].ok.max() for n in range(50, 69)} == {0}
    assert view.slots[49] == state.slots[49]


def test_what_became_due_after_all_reports_still_counts() -> None:
    """A slot beyond what workers have reported is relieved by the first second of its ten."""
    state = in_fault({250: {0: slot({90_000: 1})}})
    assert relieved(state, Missing(others={20: 0.9}), EVERYWHERE).slots[250][0].ok.max() == 0


def test_sums_of_a_phase_are_relieved_by_all_its_seconds() -> None:
    """What was merged by phase is relieved by as many of its seconds as were short of CPU."""
    state = State(load_epoch_ns=EPOCH, coarse_until=1000)
    state.phases = [(Phase.BASELINE, EPOCH), (Phase.FAULT, ns(50))]
    state.coarse = {(Phase.BASELINE, 0): slot({90_000: 100}), (Phase.FAULT, 0): slot({90_000: 100})}
    view = relieved(state, Missing(others=dict.fromkeys(range(50), 0.9)), EVERYWHERE)
    assert view.coarse[Phase.BASELINE, 0].ok.max() == 0
    assert view.coarse[Phase.FAULT, 0] == state.coarse[Phase.FAULT, 0]


@pytest.mark.parametrize(
    ("outcome", "age_us", "share", "excused"),
    [
        (Outcome.TIMEOUT, 1_000_000, 0.2, True),
        (Outcome.TIMEOUT, 10_000_000, 0.2, False),
        (Outcome.SHED, 0, 0.3, True),
        (Outcome.SHED, 0, 0.1, False),
        (Outcome.REFUSED, 1_000_000, 0.9, False),
        (Outcome.RESET, 1_000_000, 0.9, False),
        (Outcome.CHECK, 1_000_000, 0.9, False),
        (Outcome.STATUS, 1_000_000, 0.9, True),
        (Outcome.STATUS, 1_000_000, 0.5, True),
        (Outcome.STATUS, 1_000_000, 0.45, False),
        (Outcome.SQL, 2_000, 0.9, False),
    ],
)
def test_failures_that_missing_cpu_may_explain(outcome: Outcome, age_us: int, share: float, excused: bool) -> None:
    """Who was given up may owe that if much of his time was missing; who was denied, if the target had not even half of
    the CPU it wanted, for then its own deadlines pass; who was refused or got a wrong answer never does.
    """
    state = in_fault({0: {0: slot({5_000: 4}, {outcome: 2}, age_us)}})
    state.counts.outside(None, "read.status.504", 2)
    state.hits = [Hit(500_000, 0, outcome, age_us, 0), Hit(15_000_000, 0, outcome, age_us, 0)]
    view = relieved(state, Missing(others=dict.fromkeys(range(10), share)), EVERYWHERE)
    seen = view.slots[0][0]
    assert seen.due == 6
    assert seen.done == ({Outcome.OK: 6} if excused else {Outcome.OK: 4, outcome: 2})
    assert seen.ok.total == seen.adjusted.total == seen.done[Outcome.OK]
    assert (view.hits[0].outcome is Outcome.OK) == excused
    assert view.hits[1] == state.hits[1]


def test_one_bad_second_excuses_no_more_requests_than_a_second_has() -> None:
    """Of ten seconds of timeouts one second without CPU explains a tenth, and those took all but what they owe."""
    state = in_fault({n: {0: slot({}, {Outcome.TIMEOUT: 1, Outcome.POOL: 1}, 3_000_000)} for n in range(100)})
    view = relieved(state, Missing(others={4: 0.4}), EVERYWHERE)
    whole = Slot()
    for names in view.slots.values():
        whole.add(names[0])
    assert whole.done == {Outcome.OK: 20, Outcome.TIMEOUT: 100, Outcome.POOL: 80}
    assert whole.ok.total == whole.adjusted.total == 20
    assert whole.ok.quantile(0.0) == pytest.approx(2_200_000, rel=0.02)


def test_a_starved_second_excuses_no_more_denials_than_a_second_has() -> None:
    """Of ten seconds of 503 one second without CPU explains a tenth, beside what was given up, and at best at once."""
    state = in_fault({n: {0: slot({}, {Outcome.TIMEOUT: 1, Outcome.STATUS: 2}, 900_000)} for n in range(100)})
    state.counts.outside(None, "read.status.503", 200)
    whole = Slot()
    for names in relieved(state, Missing(others={4: 0.6}), EVERYWHERE).slots.values():
        whole.add(names[0])
    assert whole.done == {Outcome.OK: 30 + 40, Outcome.TIMEOUT: 70, Outcome.STATUS: 160}
    assert whole.ok.total == whole.adjusted.total == 70
    assert whole.ok.max() == 0
    assert whole.due == 300


def test_who_is_excused_has_not_failed_late() -> None:
    """Of the failures the slowest are excused; what is left is quicker by what it may owe, and no more than that."""
    state = in_fault({0: {0: slot({5_000: 6}, {Outcome.TIMEOUT: 2, Outcome.RESET: 1}, 2_000_000)}})
    assert relieved(state, Missing(others=dict.fromkeys(range(10), 0.9)), EVERYWHERE).slots[0][0].failed.total == 1
    mixed = in_fault({0: {0: slot({5_000: 6}, {Outcome.TIMEOUT: 2, Outcome.RESET: 1})}})
    mixed.slots[0][0].failed = Histogram.of([pair for us in (4_000_000, 1_500_000) for pair in recorded(us)])
    mixed.slots[0][0].failed.record(4_000_000)
    light = relieved(mixed, Missing(others=dict.fromkeys(range(10), 0.4)), EVERYWHERE).slots[0][0]
    assert light.done == {Outcome.OK: 8, Outcome.RESET: 1}
    assert light.failed.max() == pytest.approx(100_000, rel=0.03)  # 1.5 s − 0.8 s − 0.4 · 1.5 s
    plain = relieved(mixed, Missing(others={17: 0.4}), EVERYWHERE).slots[0][0]
    assert plain == mixed.slots[0][0]


def test_who_was_never_sent_takes_nobodys_time_along() -> None:
    """A request that was shed has no time of its own: excused, it leaves those of others that failed."""
    state = in_fault({0: {0: slot({5_000: 4}, {Outcome.SHED: 2})}})
    state.slots[0][0].done[Outcome.RESET] = 1
    state.slots[0][0].failed = recorded(9_000_000)
    seen = relieved(state, Missing(others=dict.fromkeys(range(10), 0.4)), EVERYWHERE).slots[0][0]
    assert seen.done == {Outcome.OK: 6, Outcome.RESET: 1}
    assert seen.failed.max() == pytest.approx(9_000_000 - 800_000 - 3_200_000, rel=0.01)


@pytest.mark.parametrize(
    ("said", "left"),
    [
        pytest.param({}, 40, id="nobody knows which"),
        pytest.param({"read.status.502": 30, "read.status.500": 10, "read.retried": 9}, 40, id="not about time"),
        pytest.param({"read.status.502": 30, "read.status.504": 10}, 30, id="a quarter"),
        pytest.param({"read.status.503": 30, "list.status.504": 10}, 0, id="all"),
    ],
)
def test_only_statuses_about_time_are_excused(said: dict[str, int], left: int) -> None:
    """A target that starves says 503 or 504; that it finds nobody behind it, or fails itself, is its own matter."""
    state = in_fault({n: {0: slot({5_000: 1}, {Outcome.STATUS: 4}, 900_000)} for n in range(10)})
    state.coarse = {(Phase.FAULT, 0): slot({5_000: 1}, {Outcome.STATUS: 4}, 900_000)}
    state.coarse_until = 100
    state.hits = [Hit(500_000, 0, Outcome.STATUS, 900_000, 0)]
    for name, count in said.items():
        state.counts.add(5, name, count, state.phase_of_slot)
    view = relieved(state, Missing(others=dict.fromkeys(range(10), 0.9)), EVERYWHERE)
    assert sum(names[0].done.get(Outcome.STATUS, 0) for names in view.slots.values()) == left
    assert view.coarse[Phase.FAULT, 0].done.get(Outcome.STATUS, 0) == left // 10
    assert (view.hits[0].outcome is Outcome.OK) == (left == 0)


def test_who_owes_most_of_his_wait_owes_all_of_it() -> None:
    """A request given up that missed CPU for half of its age or more would have been answered at once at best."""
    state = in_fault({})
    state.hits = [Hit(4_500_000, 0, Outcome.TIMEOUT, age_us, 0) for age_us in (1_500_000, 3_000_000)]
    view = relieved(state, Missing(others={4: 0.4}), EVERYWHERE)
    assert [hit.response_us for hit in view.hits] == [0, 2_200_000]


def test_how_late_a_starving_target_would_have_been_nobody_knows() -> None:
    """Who was given up, or denied, by a target with less than half of the CPU it wanted would be answered at once."""
    state = in_fault({})
    state.counts.outside(None, "read.status.503", 1)
    state.hits = [Hit(4_500_000, 0, outcome, 3_000_000, 0) for outcome in (Outcome.TIMEOUT, Outcome.STATUS)]
    view = relieved(state, Missing(others={4: 0.5}), EVERYWHERE)
    assert [(hit.outcome, hit.response_us) for hit in view.hits] == [(Outcome.OK, 0)] * 2


def test_who_ran_longer_than_he_waited_does_not_starve() -> None:
    """A target that one stranger keeps waiting for half of a second, and that ran for more, owes no denial to that."""
    state = in_fault({})
    state.counts.outside(None, "read.status.503", 1)
    state.hits = [Hit(4_500_000, 0, Outcome.STATUS, 900_000, 0)]
    assert relieved(state, Missing(others={4: 0.6}, fed=frozenset({4})), EVERYWHERE).hits == state.hits
    known = State(load_epoch_ns=EPOCH)
    known.pressure = [second(1, target_wait_s=2.0, target_cpu=0.9), second(2, target_wait_s=2.0, target_cpu=0.3)]
    assert missing(known).fed == {0}


def test_a_long_wait_owes_no_more_than_was_missing_while_it_lasted() -> None:
    """Half a second missing takes half a second off three; beyond ten seconds the same share is taken of the rest."""
    lack = Missing(others={4: 0.5})
    assert lack.owed(4).of(3_000_000) == 1_000_000
    assert lack.owed(4).of(12_000_000) == 2_000_000
    assert lack.owed(3).of(500_000) == 250_000


def test_raw_hits_are_relieved_by_their_own_second() -> None:
    """A hit is quicker by what was missing when it was due and before, and by that share of the time it took."""
    state = in_fault({})
    state.hits = [Hit(at, 0, Outcome.OK, 2_000_000, 0) for at in (500_000, 1_500_000, 2_500_000, 3_500_000)]
    view = relieved(state, Missing(others={1: 0.5}), EVERYWHERE)
    assert [hit.response_us for hit in view.hits] == [1_500_000, 1_000_000, 1_500_000, 2_000_000]
    assert relieved(state, Missing(others={1: 0.5}), frozenset()).hits == state.hits


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 5_000_000), min_size=1, max_size=50),
    st.dictionaries(st.integers(0, 9), st.floats(0, 1), max_size=5),
)
def test_the_kindest_view_is_never_worse(values: list[int], others: dict[int, float]) -> None:
    """No quantile grows by it, no request is lost, and more missing CPU never makes it worse."""
    one = Slot()
    for value in values:
        one.ok.record(value)
    one.due = len(values)
    one.done = {Outcome.OK: len(values)}
    state = in_fault({0: {0: one}})
    view = relieved(state, Missing(others=others), EVERYWHERE).slots[0][0]
    more = relieved(state, Missing(others=dict.fromkeys(range(10), 1.0)), EVERYWHERE).slots[0][0]
    assert view.ok.total == len(values)
    for share in (0.1, 0.5, 0.95, 1.0):
        seen, kind, kinder = (h.quantile(share) for h in (one.ok, view.ok, more.ok))
        assert seen is not None
        assert kind is not None
        assert kinder is not None
        assert kinder <= kind <= seen
