"""One direction of a Postgres connection: what waits on its way, why, and for how long; order is kept."""

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random
from time import monotonic

from chaosrunner.proxy.agenda import Agenda, Entry
from chaosrunner.proxy.postgres.kinds import PostgresDelay, matches
from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics.stage import SOON_S, Item, Sink, size_bytes


@dataclass(slots=True)
class Part:
    """What one toxic adds to a hold.

    Attributes:
        applied: The toxic.
        luck: What was drawn for this statement; it is struck while this is below the toxicity.
        delay: The attributes that `seconds` was drawn by.
        seconds: How long it holds.
    """

    applied: AppliedToxic
    luck: float
    delay: PostgresDelay
    seconds: float

    @property
    def strikes(self) -> bool:
        """Whether it strikes at the toxicity of now."""
        return self.luck < self.applied.toxic.toxicity


class Hold:
    """The wait of one statement, or of its answer: of several toxics the sum.

    Attributes:
        seconds: How long what belongs to it waits, each piece from when it came.
    """

    __slots__ = ("_begun", "_over", "_parts", "_struck", "_text", "seconds")

    def __init__(self, text: str | None, struck: Callable[[AppliedToxic], None]) -> None:
        """Hold a statement of this text; `struck` is told of each toxic that holds it, once it really does."""
        self.seconds = 0.0
        self._text = text
        self._struck = struck
        self._parts: list[Part] = []
        self._begun = self._over = False

    def add(self, part: Part) -> None:
        """Wait for another toxic too."""
        self._parts.append(part)
        self.seconds += part.seconds

    def redraw(self, live: Collection[AppliedToxic], random: Callable[[AppliedToxic], Random]) -> None:
        """Let go of what no toxic holds any more, and draw anew what a changed one does."""
        self._parts = [part for part in self._parts if part.applied in live]
        for part in self._parts:
            delay = part.applied.toxic.attributes
            assert isinstance(delay, PostgresDelay)
            if delay is not part.delay:
                part.delay, part.seconds = delay, delay.draw_s(random(part.applied))
        self._parts = [part for part in self._parts if part.strikes and matches(part.delay.query, self._text)]
        self.seconds = sum(part.seconds for part in self._parts)

    def begins(self, size: int) -> None:
        """Count bytes that are held."""
        for part in self._parts:
            part.applied.bytes += size
            if not self._begun:
                self._struck(part.applied)
        self._begun = True

    def ends(self, waited_s: float) -> None:
        """Count how long the first piece was held; only the first call counts."""
        if self._over:
            return
        self._over = True
        # What is more than was drawn, for order's sake or by a late timer, is the last one's.
        for part in self._parts[:-1]:
            part.applied.delayed(part.seconds)
            waited_s -= part.seconds
        for part in self._parts[-1:]:
            part.applied.delayed(max(waited_s, 0.0))


class Lane:
    """Passes items on in order, each when it has waited as long as its hold says; one without does not wait by itself.

    Attributes:
        held_bytes: Bytes that wait now.
    """

    __slots__ = ("_agenda", "_entry", "_line", "_passing", "_review", "_sink", "held_bytes")

    def __init__(self, sink: Sink, agenda: Agenda, review: Callable[[], None]) -> None:
        """Pass items to `sink`; `review` is called after time alone let something go."""
        self._sink = sink
        self._agenda = agenda
        self._review = review
        self._line: deque[tuple[float, Hold | None, Item]] = deque()  # when it came
        self._passing: list[bytes] = []  # what goes with the next flush: many messages, one write
        self._entry: Entry | None = None
        self.held_bytes = 0

    def put(self, item: Item, hold: Hold | None = None) -> None:
        """Take one item; with nothing to wait for it passes with the next `flush`."""
        if not item:
            return
        if hold is None and not self._line:
            self._pass(item)
            return
        self._line.append((monotonic(), hold, item))
        self.held_bytes += size_bytes(item)
        if len(self._line) == 1:
            self._let_go()

    def overtake(self, item: Item) -> None:
        """Pass on one item before everything that waits."""
        self._sink(item)

    def flush(self) -> None:
        """Pass on, in one piece, what has nothing to wait for."""
        if self._passing:
            passing, self._passing = self._passing, []
            self._sink(passing[0] if len(passing) == 1 else b"".join(passing))

    def holds(self) -> list[Hold]:
        """What holds something here."""
        return [hold for _, hold, _ in self._line if hold is not None]

    def release(self) -> None:
        """Pass on what has waited long enough, and wake up for the next."""
        self._let_go()
        self.flush()

    def drop(self) -> None:
        """Forget what waits."""
        self._line.clear()
        self._passing.clear()
        self.held_bytes = 0
        self._sleep()

    def _let_go(self) -> None:
        self._sleep()
        now = monotonic()
        while self._line:
            came, hold, item = self._line[0]
            due = came + (hold.seconds if hold else 0.0)
            if due > now + SOON_S:
                self._entry = self._agenda.at(due, self._wake)
                return
            self._line.popleft()
            self.held_bytes -= size_bytes(item)
            if hold is not None:
                hold.ends(now - came)
            self._pass(item)

    def _pass(self, item: Item) -> None:
        if isinstance(item, bytes):
            self._passing.append(item)
        else:
            self.flush()
            self._sink(item)

    def _wake(self) -> None:
        self._entry = None
        self.release()
        self._review()

    def _sleep(self) -> None:
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None
