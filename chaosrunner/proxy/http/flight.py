"""What an HTTP proxy has under way in one direction: pieces of messages, each to leave at its time, in order."""

from collections import deque
from collections.abc import Callable
from time import monotonic

from chaosrunner.proxy.agenda import Agenda, Entry
from chaosrunner.proxy.http.exchange import Parcel
from chaosrunner.proxy.toxics.stage import SOON_S, End, Item, Sink, size_bytes


class Flight:
    """Each parcel leaves as late as its exchange's toxics make it, never before the one in front of it.

    Attributes:
        held_bytes: Bytes under way now.
    """

    def __init__(self, agenda: Agenda, leave: Callable[[Parcel, float], None], rung: Callable[[], None]) -> None:
        """Begin with nothing under way.

        Args:
            agenda: To do something later.
            leave: Takes each parcel when it leaves, and the seconds that it was held.
            rung: Called after a timer let parcels leave.
        """
        self.held_bytes = 0
        self._agenda = agenda
        self._leave = leave
        self._rung = rung
        self._line: deque[Parcel] = deque()
        self._entry: Entry | None = None

    def put(self, parcel: Parcel) -> None:
        """Put one parcel on its way; with nothing to wait for it leaves at once."""
        late_s = parcel.late_s()
        if late_s:
            parcel.count_bytes()
        if not self._line and late_s <= SOON_S:
            self._leave(parcel, 0.0)
            return
        parcel.came = monotonic()
        parcel.due = parcel.came + late_s
        self._line.append(parcel)
        self.held_bytes += size_bytes(parcel.item)
        if len(self._line) == 1:
            self._wake()

    def refit(self) -> None:
        """Look again when each parcel is due, counted from when it came; what is due now leaves."""
        for parcel in self._line:
            parcel.due = parcel.came + parcel.late_s()
        self._release()

    def drop(self) -> None:
        """Lose everything under way."""
        self._line.clear()
        self.held_bytes = 0
        self._wake()

    def _on_time(self) -> None:
        self._release()
        self._rung()

    def _release(self) -> None:
        until = monotonic() + SOON_S
        while self._line and self._line[0].due <= until:
            parcel = self._line.popleft()
            self.held_bytes -= size_bytes(parcel.item)
            self._leave(parcel, monotonic() - parcel.came)
        self._wake()

    def _wake(self) -> None:
        if self._entry is not None:
            self._entry.cancel()
        self._entry = self._agenda.at(self._line[0].due, self._on_time) if self._line else None


class Outbox:
    """What leaves in one turn, handed on together, so that a message in pieces is still one write."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._bytes: list[bytes] = []
        self._end: End | None = None

    def put(self, item: Item) -> None:
        """Hand an item on at the next `flush`; nothing follows an end."""
        if self._end is None:
            if isinstance(item, End):
                self._end = item
            elif item:
                self._bytes.append(item)

    def flush(self) -> None:
        """Hand on what there is."""
        pieces, self._bytes = self._bytes, []
        if pieces:
            self._sink(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        end, self._end = self._end, None
        if end is not None:
            self._sink(end)
