"""Slots and frames: what load workers report. Numbered deltas; merging is associative and lossless."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chaosrunner.model.histogram import Histogram
from chaosrunner.model.load import ERRORS, OURS, Outcome


@dataclass(slots=True)
class Slot:
    """The hits *due* in one 100 ms interval and of one request name, so far. Times in µs."""

    due: int = 0
    """Hits that became due here; due − Σ done = still open."""
    done: dict[Outcome, int] = field(default_factory=dict)
    ok: Histogram = field(default_factory=Histogram)
    """Response = done − due, of OK hits."""
    failed: Histogram = field(default_factory=Histogram)
    """Response of hits that failed."""
    adjusted: Histogram = field(default_factory=Histogram)
    """Response − generator lag, of OK hits: what the target would have shown to a perfect generator."""
    lag: Histogram = field(default_factory=Histogram)
    """Generator lag = fired − due: ours."""
    wait: Histogram = field(default_factory=Histogram)
    """Connection wait = sent − fired: the target's."""
    service: Histogram = field(default_factory=Histogram)
    """Service = done − sent, of OK hits: what the target took once it had been asked."""

    def add(self, other: Slot) -> None:
        """Merge `other` into this one."""
        self.due += other.due
        for outcome, count in other.done.items():
            self.done[outcome] = self.done.get(outcome, 0) + count
        for mine, theirs in zip(self.histograms(), other.histograms(), strict=True):
            mine.add(theirs)

    def histograms(self) -> tuple[Histogram, ...]:
        """Its histograms in wire order."""
        return (self.ok, self.failed, self.adjusted, self.lag, self.wait, self.service)

    @property
    def errors(self) -> int:
        """Finished hits that failed."""
        return sum(count for outcome, count in self.done.items() if outcome in ERRORS)

    @property
    def ours(self) -> int:
        """Hits that never reached the target, for want of something on the generator's side."""
        return sum(self.done.get(outcome, 0) for outcome in OURS)

    @property
    def finished(self) -> int:
        """Finished hits, however."""
        return sum(self.done.values())

    @property
    def open(self) -> int:
        """Hits due here that have no outcome yet."""
        return self.due - self.finished


@dataclass(frozen=True, slots=True)
class Hit:
    """One raw hit, kept where transitions matter. Times in µs; `due_us` counts from the load's epoch."""

    due_us: int
    name: int
    """Index into the profile's names."""
    outcome: Outcome
    response_us: int
    lag_us: int
    sent_us: int | None = None
    """Asked on an open connection so long after it was due; None = never."""
    connected_us: int | None = None
    """The connection it waited for was open so long after it was due; None = it waited for none, or none came."""
    first_us: int | None = None
    """The answer's first byte came so long after it was due; None = it never did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A worker's delta since its previous frame. `seq` counts from 0 without gaps."""

    worker: int
    seq: int
    until_us: int
    """Everything due before this (µs after the epoch) has been fired or counted; later deltas only finish open hits."""
    slots: Mapping[tuple[int, int], Slot]
    """(slot number since the epoch, name index) → delta."""
    hits: Sequence[Hit] = ()
    skipped: int = 0
    """Later steps never asked because an earlier step of their journey failed."""
    journeys: int = 0
    """Journeys that became due."""
    behind: int = 0
    """Of those, the ones that began later than their user's pacing says, because the one before took too long."""
    connects: int = 0
    """Connections opened."""
    cpu_us: int = 0
    """CPU time this worker used since its previous frame."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What else happened since then, by name: `chat.reconnects`, `read.sqlstate.40001`."""
    watch: Mapping[str, float] = field(default_factory=dict)
    """How the worker found itself since then: see `chaosrunner.load.selfwatch`."""
    last: bool = False
    """The worker has ended; everything still open was reported as UNFINISHED."""


def to_json(frame: Frame) -> dict[str, object]:
    """The wire form of a frame: JSON values only."""
    return {
        "worker": frame.worker,
        "seq": frame.seq,
        "until": frame.until_us,
        "slots": [
            [number, name, slot.due, dict(slot.done), *[h.pairs() for h in slot.histograms()]]
            for (number, name), slot in sorted(frame.slots.items())
        ],
        "hits": [row(hit) for hit in frame.hits],
        "skipped": frame.skipped,
        "journeys": frame.journeys,
        "behind": frame.behind,
        "connects": frame.connects,
        "cpu": frame.cpu_us,
        "counts": dict(frame.counts),
        "watch": dict(frame.watch),
        "last": frame.last,
    }


def row(hit: Hit) -> list[int | str | None]:
    """The wire form of a raw hit: its fields in their order."""
    asked = hit.sent_us, hit.connected_us, hit.first_us
    return [hit.due_us, hit.name, hit.outcome.value, hit.response_us, hit.lag_us, *asked]


def from_json(data: Mapping[str, object]) -> Frame:
    """A frame from its wire form. Raises LookupError, TypeError or ValueError when it is not one."""
    raw: Mapping[str, object] = data
    slots: dict[tuple[int, int], Slot] = {}
    for number, name, due, done, *histograms in raw["slots"]:  # type: ignore[attr-defined]
        counts = {Outcome(outcome): int(count) for outcome, count in done.items()}
        slots[int(number), int(name)] = Slot(int(due), counts, *_histograms(histograms))
    hits = tuple(Hit(h[0], h[1], Outcome(h[2]), *h[3:]) for h in raw["hits"])  # type: ignore[attr-defined]
    return Frame(
        worker=_int(raw, "worker"),
        seq=_int(raw, "seq"),
        until_us=_int(raw, "until"),
        slots=slots,
        hits=hits,
        skipped=_int(raw, "skipped"),
        journeys=_int(raw, "journeys"),
        behind=_int(raw, "behind") if "behind" in raw else 0,  # journals of earlier versions have none
        connects=_int(raw, "connects"),
        cpu_us=_int(raw, "cpu"),
        counts=dict(raw.get("counts", {})),  # type: ignore[call-overload]
        watch=dict(raw.get("watch", {})),  # type: ignore[call-overload]
        last=bool(raw["last"]),
    )


def _histograms(raw: Iterable[object]) -> list[Histogram]:
    """The histograms of a slot: cells, or the index of one before it that is equal."""
    histograms: list[Histogram] = []
    for one in raw:
        if isinstance(one, int):
            histograms.append(Histogram(dict(histograms[one].cells), histograms[one].total))
        else:
            histograms.append(Histogram.of(one))  # type: ignore[arg-type]
    return histograms


def _int(raw: Mapping[str, object], key: str) -> int:
    value = raw[key]
    if not isinstance(value, int):
        raise TypeError(f"{key}: expected a whole number, got {value!r}")
    return value
