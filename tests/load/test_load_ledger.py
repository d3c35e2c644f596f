"""The books: which raw hits are kept, and what a frame holds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.load.act import OpenHit
from chaosrunner.load.journey import Journey, Leg, Route
from chaosrunner.load.ledger import Ledger
from chaosrunner.load.raw_hits import ALL_HITS_PER_S
from chaosrunner.model.journey import Think
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.model.units import NANOS, SLOT_NS

MS = 1_000_000
ROUTE = Route([Leg(name, None, Think(), None, NANOS) for name in (0, 1)])  # type: ignore[arg-type]
KINDS = st.tuples(st.integers(0, 1), st.sampled_from([Outcome.OK, Outcome.OK, Outcome.RESET, Outcome.STATUS]))


def hit(due_ns: int, fired_ns: int | None = None, sent_ns: int | None = None, name: int = 0) -> OpenHit:
    """A hit on its way; fired when it was due and sent when it was fired, unless said otherwise."""
    fired_ns = due_ns if fired_ns is None else fired_ns
    made = OpenHit(None, Journey(None, ROUTE, 0, 0, due_ns), name, due_ns, fired_ns)  # type: ignore[arg-type]
    made.sent_ns = fired_ns if sent_ns is None else sent_ns
    return made


def book(ledger: Ledger, kinds: list[tuple[int, Outcome]], at_us: int) -> list[Hit]:
    """End hits of one second, due a microsecond after each other from `at_us`; as they are to be kept."""
    for n, (name, outcome) in enumerate(kinds):
        ledger.done(hit((at_us + n) * 1000, name=name), outcome, (at_us + n + 1) * 1000)
    return [Hit(at_us + n, name, outcome, 1, 0, 0 if at_us + n else None) for n, (name, outcome) in enumerate(kinds)]


def kept_of(kinds: list[tuple[int, Outcome]], *, before: int) -> tuple[list[Hit], list[Hit]]:
    """All hits of one second after `before` others of name 0, and those kept."""
    ledger = Ledger(worker=0, names=2)
    book(ledger, [(0, Outcome.OK)] * before, 1)
    ledger.cut(0, connects=0)
    hits = book(ledger, kinds, before + 1)
    return hits, list(ledger.cut(0, connects=0, last=True).hits)


@settings(deadline=None)
@given(st.lists(KINDS, max_size=60))
def test_failures_and_both_ends_of_each_run_are_always_kept(kinds: list[tuple[int, Outcome]]) -> None:
    """Above the limit exactly the failures and the first and last of each run of outcomes of a name are kept, once."""
    hits, kept = kept_of(kinds, before=ALL_HITS_PER_S)
    wanted = {hit for hit in hits if hit.outcome is not Outcome.OK}
    for name in (0, 1):
        runs = [list(run) for _, run in groupby([h for h in hits if h.name == name], key=lambda hit: hit.outcome)]
        if name == 0 and runs and runs[0][0].outcome is Outcome.OK:
            wanted.add(runs[0][-1])  # continues the run of the hits before
            runs = runs[1:]
        for run in runs:
            wanted |= {run[0], run[-1]}
    assert len(kept) == len(set(kept))
    assert set(kept) == wanted


@settings(deadline=None)
@given(st.lists(KINDS, max_size=60))
def test_below_the_limit_every_hit_is_kept(kinds: list[tuple[int, Outcome]]) -> None:
    """Up to 2,000 hits a second nothing is thinned."""
    hits, kept = kept_of(kinds, before=0)
    assert kept == hits


@settings(deadline=None)
@given(st.lists(st.sampled_from([Outcome.OK, Outcome.OK, Outcome.RESET]), max_size=60), st.booleans())
def test_a_hit_that_is_fired_again_leaves_no_trace_in_what_was_kept(outcomes: list[Outcome], thinned: bool) -> None:
    """One object that is many hits, one after the other, is in the books what as many objects are."""
    ledgers = Ledger(worker=0, names=1), Ledger(worker=0, names=1)
    again = hit(0)
    for n, outcome in enumerate([Outcome.OK] * (ALL_HITS_PER_S if thinned else 0) + outcomes):
        due_ns = (n + 1) * 1000
        again.due_ns, again.fired_ns, again.sent_ns = due_ns, due_ns + n, due_ns + n
        ledgers[0].done(again, outcome, due_ns + 5000 + n)
        ledgers[1].done(hit(due_ns, due_ns + n), outcome, due_ns + 5000 + n)
    one, many = (ledger.cut(0, connects=0, last=True) for ledger in ledgers)
    assert list(one.hits) == list(many.hits)
    assert dict(one.slots) == dict(many.slots)


def test_the_limit_counts_anew_each_second() -> None:
    """A second with many hits does not thin the next one."""
    ledger = Ledger(worker=0, names=1)
    book(ledger, [(0, Outcome.OK)] * (ALL_HITS_PER_S + 500), 0)
    assert len(ledger.cut(0, connects=0).hits) == ALL_HITS_PER_S
    book(ledger, [(0, Outcome.OK)], 2_000_000)
    assert [kept.due_us for kept in ledger.cut(0, connects=0).hits] == [2_000_000]


def test_a_hit_that_was_never_fired_is_kept_and_has_no_times() -> None:
    """What was shed counts as due and as an error, with its age when that was decided."""
    ledger = Ledger(worker=0, names=1, epoch_ns=NANOS)
    ledger.unfired(0, NANOS + 5 * MS, Outcome.SHED, NANOS + 7 * MS)
    frame = ledger.cut(0, connects=0)
    slot = frame.slots[0, 0]
    assert (slot.due, slot.done, slot.lag.total) == (1, {Outcome.SHED: 1}, 0)
    assert frame.hits[0] == Hit(5_000, 0, Outcome.SHED, 0, 2_000)


def test_the_times_of_a_hit() -> None:
    """Response: done − due, adjusted: response − lag, lag: fired − due, wait: sent − fired, service: done − sent."""
    ledger = Ledger(worker=3, names=1, epoch_ns=NANOS)
    due = NANOS + 5 * SLOT_NS
    ledger.done(hit(due, due + 200_000, due + 900_000), Outcome.OK, due + 1_900_000)
    frame = ledger.cut(due + SLOT_NS, connects=4)
    slot = frame.slots[5, 0]
    histograms = (slot.ok, slot.adjusted, slot.lag, slot.wait, slot.service)
    assert [list(histogram) for histogram in histograms] == [[(us, 1)] for us in (1_900, 1_700, 200, 700, 1_000)]
    assert (frame.worker, frame.seq, frame.until_us, frame.connects) == (3, 0, 600_000, 4)
    assert list(frame.hits) == [Hit(500_000, 0, Outcome.OK, 1_900, 200, 900)]


def test_a_hit_without_a_connection_waited_all_its_life() -> None:
    """What was never sent waited for a connection from when it was fired until its end."""
    ledger = Ledger(worker=0, names=1)
    ledger.done(hit(0, MS, 0), Outcome.TIMEOUT, 500 * MS)
    slot = ledger.cut(NANOS, connects=0).slots[0, 0]
    assert slot.wait.rank(1) // 1000 == 499
    assert slot.ok.total == slot.adjusted.total == slot.service.total == 0
    assert slot.failed.total == 1


def test_frames_are_deltas() -> None:
    """What one frame held is not in the next, which has the next number; what is open is due in the first."""
    ledger = Ledger(worker=0, names=1)
    opened = hit(0)
    ledger.journeys, ledger.skipped, ledger.behind = 2, 3, 1
    ledger.under_way([opened])
    first = ledger.cut(SLOT_NS, connects=5)
    ledger.under_way([opened])
    ledger.done(opened, Outcome.OK, 1000)
    second = ledger.cut(2 * SLOT_NS, connects=6, last=True)
    assert (first.seq, first.journeys, first.skipped, first.connects, first.last) == (0, 2, 3, 5, False)
    assert (second.seq, second.journeys, second.skipped, second.connects, second.last) == (1, 0, 0, 1, True)
    assert (first.behind, second.behind) == (1, 0)
    assert (first.slots[0, 0].open, second.slots[0, 0].open) == (1, -1)


def test_before_the_epoch_nothing_was_due() -> None:
    """A frame cut before the epoch says so with 0, not with a negative instant."""
    assert Ledger(worker=0, names=1, epoch_ns=NANOS).cut(0, connects=0).until_us == 0


@dataclass(frozen=True)
class Life:
    """What happens to a hit, in µs; each part counts from the one before."""

    name: int
    due: int
    lag: int
    wait: int
    service: int
    outcome: Outcome
    frames: int
    """How many frames are cut while it is open."""


LIVES = st.builds(
    Life,
    name=st.integers(0, 1),
    due=st.integers(1, 300_000),
    lag=st.one_of(st.just(0), st.integers(0, 5_000_000)),
    wait=st.one_of(st.just(0), st.integers(0, 5_000_000)),
    service=st.integers(0, 5_000_000),
    outcome=st.sampled_from([Outcome.OK, Outcome.OK, Outcome.RESET]),
    frames=st.integers(0, 2),
)


def reckoned(lives: list[Life]) -> dict[tuple[int, int], Slot]:
    """Each hit counted by itself, in histograms, as slowly as it takes."""
    slots: dict[tuple[int, int], Slot] = {}
    for life in lives:
        slot = slots.setdefault((life.due // 100_000, life.name), Slot())
        slot.due += 1
        slot.done[life.outcome] = slot.done.get(life.outcome, 0) + 1
        slot.lag.record(life.lag)
        slot.wait.record(life.wait)
        response = life.lag + life.wait + life.service
        if life.outcome is Outcome.OK:
            slot.ok.record(response)
            slot.adjusted.record(response - life.lag)
            slot.service.record(life.service)
        else:
            slot.failed.record(response)
    return slots


@settings(deadline=None)
@given(st.lists(LIVES, max_size=30))
def test_counting_fast_is_counting(lives: list[Life]) -> None:
    """However hits fall on frames, the frames add up to what counting one by one gives."""
    ledger, frames, going = Ledger(worker=0, names=2), list[Frame](), list[tuple[Life, OpenHit]]()
    for cut in range(3):
        if cut == 0:
            for life in lives:
                fired = (life.due + life.lag) * 1000
                going.append((life, hit(life.due * 1000, fired, fired + life.wait * 1000, life.name)))
        for life, its in going:
            if life.frames == cut:
                done = life.due + life.lag + life.wait + life.service
                ledger.done(its, life.outcome, done * 1000)
        going = [(life, its) for life, its in going if life.frames > cut]
        ledger.under_way(its for _, its in reversed(going))
        frames.append(ledger.cut(0, connects=0))
    added: dict[tuple[int, int], Slot] = {}
    for frame in frames:
        for key, slot in frame.slots.items():
            added.setdefault(key, Slot()).add(slot)
    assert added == reckoned(lives)
