"""The traffic of a run, cut into phases and windows: slots go in, samples come out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from chaosrunner.logic.detail import GROUP
from chaosrunner.logic.fold import State
from chaosrunner.logic.relief import Missing, missing, relieved
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Slot
from chaosrunner.model.units import NANOS, SLOT_NS

SLOTS_A_SECOND = NANOS // SLOT_NS


@dataclass(frozen=True, slots=True)
class Span:
    """Slots [first, last) of the load, all of one phase."""

    phase: Phase
    first: int
    last: int
    whole: bool = True
    """Whether the phase lasted as long as it should and every hit due in it was reported."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.last - self.first) / SLOTS_A_SECOND

    @property
    def touched(self) -> range:
        """The whole seconds after the epoch of which it has a part."""
        return range(self.first // SLOTS_A_SECOND, -(-self.last // SLOTS_A_SECOND))


@dataclass(frozen=True, slots=True)
class Sample:
    """The hits due in a stretch of time, overall or of one name."""

    slot: Slot
    seconds: float

    @property
    def late(self) -> int:
        """Hits that the generator never started, or had no means to send: ours."""
        return self.slot.ours

    @property
    def hits(self) -> int:
        """Hits the target had to answer."""
        return self.slot.due - self.late

    @property
    def oks(self) -> int:
        """Hits that succeeded."""
        return self.slot.done.get(Outcome.OK, 0)

    @property
    def failures(self) -> int:
        """Hits that did not: failed, or without any outcome yet."""
        return self.hits - self.oks

    @property
    def rate(self) -> float:
        """Successful hits per second."""
        return self.oks / self.seconds if self.seconds else 0.0

    def quantile(self, share: float) -> float | None:
        """A quantile of the response in seconds, failures infinitely slow; None without any hit."""
        micros = self.slot.ok.quantile(share, self.failures)
        return None if micros is None else micros / 1e6


@dataclass(slots=True)
class Traffic:
    """Samples of one state, each gathered once."""

    experiment: Experiment
    state: State
    _samples: dict[tuple[Span, str], Sample] = field(default_factory=dict)
    _sums: dict[Span, dict[int, Slot]] = field(default_factory=dict)
    """By the index of the name; empty where a span was asked for once only."""
    _called: dict[str, frozenset[int]] = field(default_factory=dict)
    _lack: Missing | None = None
    _relieved: dict[frozenset[Phase], Traffic] = field(default_factory=dict)

    @property
    def lack(self) -> Missing:
        """When a CPU was missing, to the target or to us."""
        if self._lack is None:
            self._lack = missing(self.state)
        return self._lack

    def relieved(self, phases: frozenset[Phase]) -> Traffic:
        """The same as it would be at best, had no CPU been missing in these phases."""
        if phases not in self._relieved:
            waits = {probe.name: probe.timeout_s for probe in self.experiment.probes}
            self._relieved[phases] = Traffic(self.experiment, relieved(self.state, self.lack, phases, waits))
        return self._relieved[phases]

    def span(self, phase: Phase) -> Span | None:
        """The slots by which a phase is judged; None if it was not entered.

        BASELINE and AFTER have the length the experiment asks for. Without an AFTER (nothing recovered) it is the
        last `hold` of RECOVERY: what users were left with.
        """
        begin = self.state.phase_start_ns(phase)
        if begin is None or self.state.load_epoch_ns is None:
            return self._left_with() if phase is Phase.AFTER and self.state.load_epoch_ns is not None else None
        first = self.state.slot_number(begin)
        reported = self.slot_before(self.state.covered_ns())
        match phase:
            case Phase.BASELINE:
                last = first + slots_in(self.experiment.baseline_s)
                return Span(phase, first, last, whole=reported >= last)
            case Phase.AFTER:
                last = first + slots_in(self.experiment.recover.hold_s)
                return Span(phase, first, last, whole=reported >= last)
            case _:
                nth = next(i for i, (entered, _) in enumerate(self.state.phases) if entered is phase)
                if nth + 1 < len(self.state.phases):
                    last = self.state.slot_number(self.state.phases[nth + 1][1])
                    return Span(phase, first, last, whole=reported >= last)
                return Span(phase, first, max(first, self._end()), whole=phase is Phase.RECOVERY)

    def sample(self, span: Span, name: str = "") -> Sample:
        """What is known of the hits due in `span`, of one request name or (empty) of all."""
        if (span, name) not in self._samples:
            self._samples[span, name] = Sample(self._sum(span, self._wanted(name)), span.seconds)
        return self._samples[span, name]

    def stream(self, span: Span, nth: int) -> Slot:
        """All hits due in a span that belong to one stream of the load."""
        streams = self.experiment.load.streams
        before = sum(len(scenario.steps) for stream in streams[:nth] for scenario in stream.scenarios)
        own = sum(len(scenario.steps) for scenario in streams[nth].scenarios)
        return self._sum(span, frozenset(range(before, before + own)))

    def windows(self, span: Span, seconds: float, name: str = "") -> Iterator[Sample]:
        """Every window of that length in `span`, by steps of 1 s (or of itself, if shorter), and the last one.

        A span shorter than the window is one window. Where slots were merged windows are of whole tens of seconds, at
        least as long as asked; what is in the sums of phases only has no windows.
        """
        wide = min(slots_in(seconds), span.last - span.first)
        first, until = max(span.first, self.state.coarse_until), min(span.last, self.state.detail.until)
        if not wide or first >= until:
            yield from self._fine_windows(span, wide, name)
            return
        edges = [first, *range((first // GROUP + 1) * GROUP, until, GROUP), until]
        for begin, end in _merged_windows(edges, wide, span.last):
            yield Sample(self._bucket(span, begin, end - begin, name), (end - begin) / SLOTS_A_SECOND)
        if span.last - until >= wide:
            yield from self._fine_windows(replace(span, first=until), wide, name)

    def _fine_windows(self, span: Span, wide: int, name: str) -> Iterator[Sample]:
        """Windows by steps of a second, of which only what the next one needs is kept."""
        size = math.gcd(wide, SLOTS_A_SECOND)
        step = min(wide, SLOTS_A_SECOND)
        buckets: deque[Slot] = deque(maxlen=max(1, wide // max(1, size)))
        filled = span.first
        start = span.first
        while wide and start + wide <= span.last:
            while filled < start + wide:
                buckets.append(self._bucket(span, filled, size, name))
                filled += size
            slot = Slot()
            for bucket in buckets:
                slot.add(bucket)
            yield Sample(slot, wide / SLOTS_A_SECOND)
            start += step
        if wide and start - step + wide < span.last:
            yield self.sample(Span(span.phase, span.last - wide, span.last), name)

    def spans(self, *phases: Phase) -> list[Span]:
        """Those of these phases that there are."""
        return [span for phase in phases if (span := self.span(phase)) is not None]

    def recent(self, last: int, slots: int, name: str = "") -> Sample:
        """The hits due in the `slots` slots before slot `last`; not kept."""
        span = Span(Phase.FAULT, last - slots, last)
        return Sample(self._bucket(span, span.first, slots, name), span.seconds)

    def slot_before(self, at_ns: int) -> int:
        """The number of the slot that an instant is in: all slots below it are over by then."""
        return self.state.slot_number(at_ns) if at_ns else 0

    def _left_with(self) -> Span | None:
        recovery = self.span(Phase.RECOVERY)
        if recovery is None:
            return None
        target = self.experiment.recover
        first = max(recovery.first, recovery.last - slots_in(target.hold_s))
        whole = recovery.last - recovery.first >= slots_in(target.within_s + target.hold_s)
        return Span(Phase.AFTER, first, recovery.last, whole=whole)

    def _end(self) -> int:
        """The slot at which the play ended, or up to which there are reports."""
        reported = self.slot_before(self.state.covered_ns())
        ended = self.state.ended_ns
        return reported if ended is None else min(reported, self.slot_before(ended))

    def _bucket(self, span: Span, start: int, size: int, name: str) -> Slot:
        slot, wanted = Slot(), self._wanted(name)
        for number in range(start, min(start + size, span.last)):
            for part in self.state.named(number, wanted):
                slot.add(part)
        return slot

    def _sum(self, span: Span, wanted: frozenset[int]) -> Slot:
        slot = Slot()
        for index, part in self._parts(span):
            if index in wanted:
                slot.add(part)
        return slot

    def _parts(self, span: Span) -> Iterable[tuple[int, Slot]]:
        """What is due in a span, with the index of its name.

        A live look asks for one name, and nothing else is unpacked for it; a judge asks for all of them, one after the
        other, so whoever comes again has all that is due in the span summed up by name.
        """
        if span not in self._sums:
            self._sums[span] = {}
            return self._slots(span)
        if not self._sums[span]:
            sums: dict[int, Slot] = {}
            for index, part in self._slots(span):
                sums.setdefault(index, Slot()).add(part)
            self._sums[span] = sums
        return self._sums[span].items()

    def _slots(self, span: Span) -> Iterator[tuple[int, Slot]]:
        if span.first < self.state.coarse_until:
            for (phase, index), slot in self.state.coarse.items():
                if phase is span.phase:
                    yield index, slot
        for number in range(span.first, span.last):
            for kind in (self.state.slots, self.state.series):
                yield from kind.get(number, {}).items()

    def _wanted(self, name: str) -> frozenset[int]:
        if name not in self._called:
            self._called[name] = self.experiment.load.called(name)
        return self._called[name]


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of a length in a span, gathered whenever they are gone through: of a long run they are too many."""

    traffic: Traffic
    span: Span
    seconds: float
    name: str

    def __iter__(self) -> Iterator[Sample]:
        """One after the other."""
        return self.traffic.windows(self.span, self.seconds, self.name)


def _merged_windows(edges: list[int], wide: int, last: int) -> Iterator[tuple[int, int]]:
    """[begin, end) of windows from each edge but the last on: to an edge, or into the fine slots that follow them.

    Where too few of those follow for a window of their own, one more goes to the end.
    """
    end = edges[0]
    for begin in edges[:-1]:
        end = next((edge for edge in edges if edge >= begin + wide), begin + wide)
        if end > last:
            break
        yield begin, end
    if edges[-1] <= last < edges[-1] + wide and end != last:
        yield max(edge for edge in edges[:-1] if edge <= max(edges[0], last - wide)), last


def slots_in(seconds: float) -> int:
    """How many slots a duration takes, rounded up."""
    return math.ceil(seconds * SLOTS_A_SECOND - 1e-6)
