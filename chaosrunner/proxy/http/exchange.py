"""A request with its answer, and the luck that the toxics have with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from chaosrunner.proxy.dialect import Wires
from chaosrunner.proxy.http.framing import Part
from chaosrunner.proxy.http.heads import AnswerHead, RequestHead
from chaosrunner.proxy.http.kinds import Aim, HttpLatency
from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics.stage import Item, size_bytes
from chaosrunner.proxy.toxics.toxic import Stream, Toxic


class Draw:
    """One toxic's luck with one request, drawn once; whether it acts depends on what the toxic is now.

    Attributes:
        applied: The toxic.
        stream: Whether it acts on the request (upstream) or on the answer (downstream).
        is_latency: Whether it makes late; all others decide what the answer is.
        struck: Whether it has acted.
    """

    __slots__ = ("_delay_s", "_docket", "_drawn_for", "_luck", "_random", "applied", "is_latency", "struck")

    def __init__(self, applied: AppliedToxic, random: Random, docket: "Docket") -> None:
        self.applied = applied
        self.is_latency = isinstance(applied.toxic.attributes, HttpLatency)
        self.struck = False
        self._docket = docket
        self._random = random
        self._luck = random.random()
        self._drawn_for: Toxic | None = None
        self._delay_s = 0.0
        if self.is_latency:
            self.delay_s()  # with the request, so that how fast answers come does not change anybody's luck

    @property
    def stream(self) -> Stream:
        """Which of the two it acts on."""
        return self.applied.toxic.stream

    def acts(self, request: RequestHead) -> bool:
        """Whether the toxic is still there, still means the request, and strikes it at the toxicity of now."""
        toxic = self.applied.toxic
        return (
            self._luck < toxic.toxicity
            and self._docket.at_work(self.applied)
            and aim_of(self.applied).meets(request.method, request.path)
        )

    def delay_s(self) -> float:
        """How late it makes, in seconds; drawn anew when the toxic has changed."""
        if self._drawn_for is not self.applied.toxic:
            self._drawn_for = self.applied.toxic
            latency = self._drawn_for.attributes
            assert isinstance(latency, HttpLatency)
            self._delay_s = latency.draw_s(self._random)
        return self._delay_s

    def strike(self) -> None:
        """Count that it acts, once."""
        if not self.struck:
            self.struck = True
            self.applied.struck += 1
            self._docket.touch(self.applied)


class Docket:
    """One connection's toxics, as its requests meet them."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._touched: set[AppliedToxic] = set()

    def draw(self, request: RequestHead, *, answer_only: bool) -> list[Draw]:
        """The luck of each toxic that the request is meant for, in the order they were added.

        Args:
            request: The request.
            answer_only: Whether the request itself has begun to go on, so that only its answer can still be struck.
        """
        meant = [
            applied
            for applied in self._wires.toxics()
            if aim_of(applied).meets(request.method, request.path)
            and not (answer_only and applied.toxic.stream == "upstream")
        ]
        for applied in meant:
            applied.matched += 1
        return [Draw(applied, self._wires.random(applied), self) for applied in meant]

    def at_work(self, applied: AppliedToxic) -> bool:
        """Whether the toxic has not been removed."""
        return applied in self._wires.toxics()

    def touch(self, applied: AppliedToxic) -> None:
        """Count that the toxic has acted on this connection, once."""
        if applied not in self._touched:
            self._touched.add(applied)
            applied.connections += 1


class Fate(Protocol):
    """What a toxic makes of an answer."""

    draw: Draw

    def take(self, parcel: "Parcel") -> Sequence[Item]:
        """What goes on in the place of one parcel of the answer."""
        ...


@dataclass(slots=True)
class Exchange:
    """A request with its answer.

    Attributes:
        request: What is asked.
        draws: The luck of the toxics that it is meant for.
        may_switch: Whether what follows the request may turn out to be no HTTP any more.
        asked: Whether the request has begun to leave for the server, or would have.
        swallower: The toxic that keeps it from the server, once that is sure.
        complete: Whether all of a swallowed request has come.
        broken: Whether a swallowed request ended as none.
        awaits_continue: Whether the client of a swallowed request waits for a 100 to send its body.
        fate: What becomes of the answer, once that is sure; None if it is left as it is.
    """

    request: RequestHead
    draws: list[Draw]
    may_switch: bool = False
    asked: bool = False
    swallower: Draw | None = None
    complete: bool = False
    broken: bool = False
    awaits_continue: bool = False
    fate: Fate | None = None

    @property
    def answer_at_stake(self) -> bool:
        """Whether a toxic may still act on the answer."""
        return any(draw.stream == "downstream" for draw in self.draws)

    def latencies(self, stream: Stream) -> list[Draw]:
        """The toxics that make the request, or its answer, late."""
        return [draw for draw in self.draws if draw.is_latency and draw.stream == stream and draw.acts(self.request)]

    def ending(self, *, answer_only: bool = False) -> Draw | None:
        """The first toxic that decides what the answer is, in the order they were added.

        Args:
            answer_only: Whether the request has gone on, so that only toxics of answers can.
        """
        for draw in self.draws:
            barred = draw.is_latency or (answer_only and draw.stream == "upstream")
            if not barred and draw.acts(self.request):
                return draw
        return None

    def waited(self, stream: Stream, seconds: float) -> None:
        """Count how long the request or the answer was really held, each latency its share by what it had drawn."""
        struck = [draw for draw in self.draws if draw.is_latency and draw.stream == stream and draw.struck]
        drawn_s = sum(draw.delay_s() for draw in struck)
        if seconds and drawn_s:
            for draw in struck:
                draw.applied.delayed(seconds * draw.delay_s() / drawn_s)


@dataclass(slots=True)
class Parcel:
    """A piece of a message under way, or an end.

    Attributes:
        item: What it is.
        stream: Where it goes.
        exchange: What it belongs to; None for what no toxic acts on.
        part: What it is of its message.
        last: Whether its message ends with it.
        answer: If it is the head of an answer: what that says.
        came: Monotonic clock when it came, in seconds.
        due: When it is to leave, unless something in front of it leaves later.
    """

    item: Item
    stream: Stream
    exchange: Exchange | None = None
    part: Part = Part.OPAQUE
    last: bool = False
    answer: AnswerHead | None = None
    came: float = 0.0
    due: float = 0.0

    def late_s(self) -> float:
        """How late it is to leave, in seconds, by the toxics of now."""
        if self.exchange is None or not self.exchange.draws:
            return 0.0
        late_s = 0.0
        for draw in self.exchange.latencies(self.stream):
            draw.strike()
            late_s += draw.delay_s()
        return late_s

    def count_bytes(self) -> None:
        """Count its bytes for the toxics that make it late."""
        assert self.exchange is not None
        for draw in self.exchange.latencies(self.stream):
            draw.applied.bytes += size_bytes(self.item)


def aim_of(applied: AppliedToxic) -> Aim:
    """Which requests a toxic of the family is meant for."""
    aim = applied.toxic.attributes
    assert isinstance(aim, Aim)
    return aim
