"""What responses would have been without the time in which a CPU was missing: the kindest view of a run.

Two things delay answers and are not the target's doing. *Others*: processes that have no part in the experiment had
the CPUs while the target's threads waited for one. *Ourselves*: a load worker stood still, so that answers which had
come were not seen. Both are known by the second, never by the request, so the kindest assumptions are made:

- A response may owe all that was missing in the second it was due in and in the one before (a queue outlives its
  cause), and the same share of the time it took itself, but no more of that than was missing while it took it.
- Our own standing still delays a hit twice at most, when it is fired and when its answer is seen, each time by the
  longest stall there was. (A worker that cannot keep up is another matter: `chaosrunner.logic.doubt.unfit_worker`.)
- Where the target's busiest thread never slept, its queue was never empty: then what was missing before is owed, too.
- Of ten seconds, the slowest responses are those of the worst seconds, and slower than all are those that were given
  up. (Ten, because slots of a long run are merged to that, see `chaosrunner.world.compaction`, and judging must not
  depend on whether they were.)
- Who was given up and may owe that would have been answered as late as he was given up, less what he owes; at once
  if he owes most of it, for the queue he stood in may have been longer by more than he saw.
- Where half of a second or more was missing, and more than it had, the target *starves*: it does less than it is asked
  for, and all that it begins again or in vain (retries, deadlines of its own) makes that worse. No arithmetic tells how
  late who was given up would have been answered then: at once, at best. Whoever was denied (503, 504) may owe it, too.

A finding that is BROKEN as seen and not in this view is UNKNOWN (`chaosrunner.logic.doubt`). A target that is slow by
itself is BROKEN in both: a stranger's 200 ms do not explain two seconds, and where target and load fill the CPUs by
themselves nothing is taken off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, floor, fsum
from typing import TYPE_CHECKING

from chaosrunner.model.histogram import Histogram, cell_of, highest_in, lowest_in
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS, SLOT_NS

if TYPE_CHECKING:
    from chaosrunner.logic.fold import State
    from chaosrunner.model.events import Pressure
    from chaosrunner.model.experiment import Phase
    from chaosrunner.model.slots import Hit, Slot

WAITED = 0.05
"""Seconds a second that the target must have waited for a CPU before it is asked who had it."""

OTHERS = 0.25
"""Share of the CPU time used that must have been others' before they count: below, the target is in its own way."""

NEVER_ASLEEP = 0.9
"""Share of a second for which a thread must have run or waited before its queue counts as never empty."""

STARVED = 0.5
"""Share of a second that must be missing before the target starves; one stranger on two CPUs takes less."""

DOUBTFUL = 0.25
"""Share of its age that a request which was given up must owe to missing CPU before that may be why."""

MOSTLY = 0.5
"""Share of its age that a request must owe before nothing is left of it."""

LIFE_S = 10
"""Seconds for which it is known one by one what was missing while a request was open; beyond, its share is taken."""

GROUP_SLOTS = 100
SLOTS_A_SECOND = NANOS // SLOT_NS
SECOND_US = 1_000_000

GIVEN_UP = frozenset(
    {Outcome.TIMEOUT, Outcome.CONNECT, Outcome.SHED, Outcome.UNFINISHED, Outcome.POOL, Outcome.STALLED}
)
"""Failures that are about time: they may owe that to a slow CPU."""

DENIED = frozenset({Outcome.STATUS})
"""The target said itself that it failed."""

TOO_LATE = frozenset({"503", "504"})
"""Statuses which say that it was for the time it took: while a target starves, a deadline of its own may have passed
for that. A bad gateway (502), or an error of its own (500), is none of a stranger's doing."""


@dataclass(frozen=True, slots=True, order=True)
class Owed:
    """What a response may owe to missing CPU."""

    seconds: float = 0.0
    """However long it took."""
    share: float = 0.0
    """Of the time it took."""
    ahead: tuple[float, ...] = field(default=(), compare=False)
    """What was missing in the second it was due in and in each of the next ones: it cannot owe more while it lasts."""
    starved: bool = field(default=False, compare=False)
    """Whether the target had so little CPU that nobody knows what it would have done with more."""

    def of(self, micros: int) -> int:
        """The part of a response in µs, which may exceed it."""
        took_s = micros / SECOND_US
        lasting = fsum(self.ahead[: ceil(took_s) + 1]) + self.share * max(0.0, took_s - LIFE_S)
        return round((self.seconds + min(self.share * took_s, lasting)) * SECOND_US)


NOTHING = Owed()

Reply = tuple[int, bool, float | None]
"""What a probe answered: when it was asked (ns), whether it is well, and a number."""

Moves = dict[int, int]
"""Cell of a response → the cell it would be in without what it may owe."""


@dataclass(frozen=True, slots=True)
class Missing:
    """How much CPU was missing, by second after the epoch."""

    others: Mapping[int, float] = field(default_factory=dict)
    """To the target, because others had it: 0..1 of that second."""
    ours: Mapping[int, float] = field(default_factory=dict)
    """The longest, in seconds, that a worker stood still at once."""
    piled: Mapping[int, float] = field(default_factory=dict)
    """What the target's queue may still owe at the beginning of a second, in seconds."""
    fed: frozenset[int] = frozenset()
    """Seconds in which the target ran for as long as others kept it waiting, or longer: it was slower, not starved."""

    def __bool__(self) -> bool:
        """Whether any was."""
        return bool(self.others or self.ours)

    def owed(self, second: int) -> Owed:
        """What a request due in that second may owe."""
        before, here, after = (self.others.get(near, 0.0) for near in (second - 1, second, second + 1))
        still = max(self.ours.get(near, 0.0) for near in (second - 1, second, second + 1))
        ahead = tuple(self.others.get(later, 0.0) for later in range(second, second + LIFE_S + 1))
        starved = any(self.others.get(near, 0.0) >= STARVED for near in {second, second + 1} - self.fed)
        return Owed(max(before, self.piled.get(second, 0.0)) + here + 2 * still, max(here, after), ahead, starved)

    def seconds(self) -> set[int]:
        """Every second in which a response may owe anything."""
        known = self.others.keys() | self.ours.keys() | self.piled.keys()
        return {second + near for second in known for near in (-1, 0, 1)}

    def taken(self, seconds: range) -> float:
        """The share of some seconds that others took from the target."""
        return sum(self.others.get(second, 0.0) for second in seconds) / max(1, len(seconds))

    def still(self, seconds: range) -> float:
        """The longest that a worker stood still in some seconds."""
        return max((self.ours.get(second, 0.0) for second in seconds), default=0.0)


def taken(pressure: Pressure) -> float:
    """Seconds a second that the target waited for a CPU while others had it; 0 unless they were much in the way."""
    used = pressure.target_cpu + pressure.our_cpu + pressure.others_cpu
    share = pressure.others_cpu / used if used else 0.0
    return min(1.0, pressure.target_wait_s) * share if pressure.target_wait_s >= WAITED and share >= OTHERS else 0.0


def missing(state: State) -> Missing:
    """What is known of it in a run."""
    others: dict[int, float] = {}
    ours: dict[int, float] = {}
    piled: dict[int, float] = {}
    fed: set[int] = set()
    for pressure in state.pressure:
        if state.load_epoch_ns is None or not (share := taken(pressure)):
            continue
        end_s = (pressure.at_ns - state.load_epoch_ns) / NANOS
        for second in range(floor(end_s - pressure.lasted_s), ceil(end_s)):
            others[second] = max(others.get(second, 0.0), share)
            fed |= {second} if pressure.target_cpu >= share else set()
            if pressure.target_awake >= NEVER_ASLEEP:
                piled[second + 1] = piled.get(second, 0.0) + others[second]
    for (second, _), strain in state.strains.items():
        if strain.still_us:
            ours[second] = max(ours.get(second, 0.0), strain.still_us / SECOND_US)
    return Missing(others, ours, piled, frozenset(fed))


def relieved(state: State, lack: Missing, phases: frozenset[Phase], waits: Mapping[str, float] | None = None) -> State:
    """The state as it would be at best, had no CPU been missing in these phases. The given one is left as it is.

    Args:
        state: of a run.
        lack: what was missing.
        phases: in which to make it up.
        waits: probe → seconds for which it waits for an answer.
    """
    slots: dict[int, dict[int, Slot]] = {}
    series: dict[int, dict[int, Slot]] = {}
    late = too_late(state)
    for fresh, seen in ((slots, state.slots), (series, state.series)):
        for (group, phase), numbers in _groups(state, seen).items():
            owed = [lack.owed(second) for second in _seconds(state, group, phase)]
            known = {number: seen[number] for number in numbers}
            kindly = phase in phases and max(owed) > NOTHING
            fresh.update(_without(known, owed, _of(late, phase)) if kindly else known)
    return replace(
        state,
        slots=dict(sorted(slots.items())),
        series=dict(sorted(series.items())),
        coarse=_coarse(state, lack, phases),
        hits=list(_hits(state, lack, phases)),
        probes={
            probe: [one for one in answers if not _unsure(state, one, lack, phases, (waits or {}).get(probe, 0.0))]
            for probe, answers in state.probes.items()
        },
    )


def too_late(state: State) -> dict[Phase | None, float]:
    """Phase → which share of the statuses that nobody expected say that it took too long; None → of all of them."""
    said: dict[Phase | None, list[int]] = {}
    for (phase, name), count in state.counts.by_phase(state.phase_of_slot).items():
        _, is_status, code = name.rpartition(".status.")
        for where in {phase, None} if is_status else ():
            sums = said.setdefault(where, [0, 0])
            sums[0] += count * (code in TOO_LATE)
            sums[1] += count
    return {where: late / every for where, (late, every) in said.items()}


def _of(late: Mapping[Phase | None, float], phase: Phase | None) -> float:
    return late.get(phase, late.get(None, 0.0))


def _hits(state: State, lack: Missing, phases: frozenset[Phase]) -> Iterator[Hit]:
    """Raw hits, each relieved by what its own second lacked."""
    late = too_late(state)
    owing = {second: owed for second in lack.seconds() if (owed := lack.owed(second)) > NOTHING}
    for hit in state.hits:
        owed = owing.get(hit.due_us // SECOND_US, NOTHING)
        phase = state.phase_of_slot(hit.due_us * 1000 // SLOT_NS)
        if owed > NOTHING and phase in phases:
            yield _quicker(hit, owed, denied=_of(late, phase) >= MOSTLY)
        else:
            yield hit


def _unsure(state: State, answer: Reply, lack: Missing, phases: frozenset[Phase], wait_s: float) -> bool:
    """Whether nobody knows what a probe's answer would have been; an error may have come as late as it can."""
    at, ok, _ = answer
    number = state.slot_number(at)
    first = number // SLOTS_A_SECOND
    seconds = range(first, first + (1 if ok else 1 + ceil(wait_s)))
    return state.phase_of_slot(number) in phases and any(_in_doubt(SECOND_US, lack.owed(one)) for one in seconds)


def _groups(state: State, slots: Iterable[int]) -> dict[tuple[int, Phase | None], list[int]]:
    """(ten seconds, phase) → the slots there are."""
    found: dict[tuple[int, Phase | None], list[int]] = {}
    for number in slots:
        found.setdefault((number // GROUP_SLOTS, state.phase_of_slot(number)), []).append(number)
    return found


def _seconds(state: State, group: int, phase: Phase | None) -> list[int]:
    """The seconds, of ten, in which anything was due in that phase."""
    last = max(state.covered_us.values(), default=0) * 1000 // SLOT_NS
    of_phase = [
        number
        for number in range(group * GROUP_SLOTS, (group + 1) * GROUP_SLOTS)
        if number <= last and state.phase_of_slot(number) is phase
    ]
    return sorted({number // SLOTS_A_SECOND for number in of_phase}) or [group * 10]


def _coarse(state: State, lack: Missing, phases: frozenset[Phase]) -> dict[tuple[Phase, int], Slot]:
    """Sums by phase: the seconds of that phase stand for its tens of seconds."""
    seconds: dict[Phase | None, list[Owed]] = {}
    for number in range(0, state.coarse_until, SLOTS_A_SECOND):
        seconds.setdefault(state.phase_of_slot(number), []).append(lack.owed(number // SLOTS_A_SECOND))
    fresh, late = {}, too_late(state)
    for (phase, name), slot in state.coarse.items():
        owed = seconds.get(phase, []) if phase in phases else []
        kindly = max(owed, default=NOTHING) > NOTHING
        fresh[phase, name] = _without({0: {name: slot}}, owed, _of(late, phase))[0][name] if kindly else slot
    return fresh


def _without(slots: Mapping[int, Mapping[int, Slot]], owed: list[Owed], too_late: float) -> dict[int, dict[int, Slot]]:
    """Slots of the same stretch of time, each name's slowest responses taken to be of the worst seconds.

    Args:
        slots: by number and name.
        owed: by second.
        too_late: which share of the statuses may be about time.
    """
    worst_first = sorted(owed, reverse=True)
    fresh: dict[int, dict[int, Slot]] = {number: {} for number in slots}
    for name in sorted({name for names in slots.values() for name in names}):
        own = {number: names[name] for number, names in slots.items() if name in names}
        whole, failed = Histogram(), Histogram()
        for slot in own.values():
            whole.add(slot.ok)
            whole.add(slot.adjusted)
            failed.add(slot.failed)
        seconds, answered = len(worst_first), sum(slot.ok.total for slot in own.values())
        moves = _moves(whole, worst_first, whole.total), _moves(failed, worst_first, failed.total + answered)
        age_us = round(failed.max() or 0.0)
        late = _excused(own.values(), GIVEN_UP, sum(_in_doubt(age_us, one) for one in worst_first) / seconds)
        starved = sum(one.starved for one in worst_first) / seconds
        denied = _excused(own.values(), DENIED, starved, of_them=too_late)
        for (number, slot), *counts in zip(own.items(), late, denied, strict=True):
            fresh[number][name] = _slot(slot, moves, counts, worst_first[0])
    return fresh


def _excused(
    slots: Collection[Slot], outcomes: frozenset[Outcome], share: float, *, of_them: float = 1.0
) -> Iterator[int]:
    """How many of the failures in each slot may owe it: no more than there were hits in that share of the seconds."""
    given = [sum(slot.done.get(outcome, 0) for outcome in outcomes) for slot in slots]
    hits = sum(given) + sum(slot.ok.total for slot in slots)
    most = min(ceil(sum(given) * of_them), ceil(hits * share))
    seen = told = 0
    for count in given:
        seen += count
        upto = most * seen // max(1, sum(given))
        yield upto - told
        told = upto


def _moves(whole: Histogram, owed: list[Owed], hits: int) -> Moves:
    """Of n seconds each has its n-th of the hits, of which these are the slowest. A cell goes where its middle is."""
    moves: Moves = {}
    slower = 0
    for cell, count in reversed(whole.pairs()):
        middle = (slower + count / 2) / hits
        moves[cell] = cell_of(_less(highest_in(cell), owed[int(middle * len(owed))]))
        slower += count
    return moves


def _slot(slot: Slot, moves: tuple[Moves, Moves], excused: Sequence[int], worst: Owed) -> Slot:
    """A slot without what it owes; `excused` of those given up, and of those denied.

    Args:
        slot: as it was seen.
        moves: of those answered, and of those that failed.
        excused: how many failures it owes.
        worst: what any of it may owe at most.
    """
    ok, adjusted, done = _moved(slot.ok, moves[0]), _moved(slot.adjusted, moves[0]), dict(slot.done)
    late_us = _answered(lowest_in(min(slot.failed.cells, default=0)), worst)
    timed = 0
    for outcomes, micros, count in zip((GIVEN_UP, DENIED), (late_us, 0), excused, strict=True):
        left = count
        for outcome in sorted(outcomes & done.keys()):
            taken_back = min(left, done[outcome])
            done[outcome], left = done[outcome] - taken_back, left - taken_back
            timed += 0 if outcome is Outcome.SHED else taken_back  # who was never fired has no time
        if count:
            done[Outcome.OK] = done.get(Outcome.OK, 0) + count
            for histogram in (ok, adjusted):
                histogram.add(Histogram({cell_of(micros): count}, count))
    failed = _moved(_without_slowest(slot.failed, timed), moves[1])
    return replace(slot, ok=ok, failed=failed, adjusted=adjusted, done={one: n for one, n in done.items() if n})


def _without_slowest(seen: Histogram, many: int) -> Histogram:
    """What is left without so many of the slowest."""
    cells: dict[int, int] = {}
    slower = 0
    for cell, count in reversed(seen.pairs()):
        if (left := min(count, slower + count - many)) > 0:
            cells[cell] = left
        slower += count
    return Histogram(cells, sum(cells.values()))


def _moved(seen: Histogram, moves: Moves) -> Histogram:
    cells: dict[int, int] = {}
    for cell, count in seen.cells.items():
        cells[moves[cell]] = cells.get(moves[cell], 0) + count
    return Histogram(cells, seen.total)


def _less(micros: int, owed: Owed) -> int:
    return max(0, micros - owed.of(micros))


def _answered(age_us: int, owed: Owed) -> int:
    """When a request that was given up, and may owe that, would have been answered at the earliest."""
    return 0 if owed.starved or owed.of(age_us) >= MOSTLY * age_us else _less(age_us, owed)


def _in_doubt(age_us: int, owed: Owed) -> bool:
    """Whether a request given up at that age may owe its failure to missing CPU."""
    return owed.of(age_us) >= DOUBTFUL * max(age_us, SECOND_US)


def _quicker(hit: Hit, owed: Owed, *, denied: bool) -> Hit:
    """A hit without what it may owe; `denied` when most statuses were about time."""
    if hit.outcome is Outcome.OK:
        return replace(hit, response_us=_less(hit.response_us, owed))
    if hit.outcome in GIVEN_UP and _in_doubt(hit.response_us, owed):
        return replace(hit, outcome=Outcome.OK, response_us=_answered(hit.response_us, owed))
    if denied and hit.outcome in DENIED and owed.starved:
        return replace(hit, outcome=Outcome.OK, response_us=0)
    return hit
