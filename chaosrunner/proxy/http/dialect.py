"""HTTP/1 as a dialect: requests and their answers told apart, and each struck or spared by its own luck.

Everything passes two lines in which it may be late, one up and one down. What becomes of a request, or of an answer,
is decided when its head leaves its line, so that a toxic that goes meanwhile leaves no trace.
"""

from collections import deque
from collections.abc import Sequence

from chaosrunner.proxy.dialect import ROOM_BYTES, Wires
from chaosrunner.proxy.http.exchange import Docket, Exchange, Parcel
from chaosrunner.proxy.http.fates import fate_of, reply
from chaosrunner.proxy.http.flight import Flight, Outbox
from chaosrunner.proxy.http.framing import Part, Piece, Scanner
from chaosrunner.proxy.http.heads import (
    AnswerHead,
    Body,
    Framing,
    NotHttpError,
    may_be_answer,
    may_be_request,
    read_answer,
    read_request,
)
from chaosrunner.proxy.http.kinds import HttpStatus
from chaosrunner.proxy.toxics.stage import End, Item, size_bytes

# What an exchange without its answer takes of our memory: a client that asks and asks is not read from for ever.
EXCHANGE_BYTES = 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpDialect:
    """One connection's interpreter of HTTP/1.0 and 1.1.

    What it cannot read, and what follows an upgrade or a tunnel, passes untouched.
    """

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._docket = Docket(wires)
        self._requests = Scanner(self._read_request, may_be_request)
        self._answers = Scanner(self._read_answer, may_be_answer)
        self._up = Flight(wires.agenda, self._leave_up, self._on_time)
        self._down = Flight(wires.agenda, self._leave_down, self._on_time)
        self._to_server = Outbox(wires.up)
        self._to_client = Outbox(wires.down)
        self._awaiting: deque[Exchange] = deque()  # those without a complete answer, in the order of the requests
        self._asking: Exchange | None = None  # whose request is coming
        self._answering: Exchange | None = None  # whose final answer is coming
        self._answer: AnswerHead | None = None
        self._begun_request = bytearray()  # a head held back until it is complete and can be judged
        self._begun_answer = bytearray()
        self._leaked = False  # the beginning of the request's head has gone on unjudged
        self._owed_bytes = 0  # replies of ours on their way
        self._opaque = False
        self._over = False
        for key in ("requests", "answers", "opaque"):
            wires.tally.setdefault(key, 0)
        wires.tally.setdefault("statuses", {})

    @property
    def held_up(self) -> int:
        """Bytes from the client that it holds back now, and what it owes the client itself."""
        waiting = EXCHANGE_BYTES * len(self._awaiting)
        return self._up.held_bytes + len(self._begun_request) + waiting + self._owed_bytes

    @property
    def held_down(self) -> int:
        """Bytes from the server that it holds back now."""
        return self._down.held_bytes + len(self._begun_answer)

    def ask(self, item: Item) -> None:
        """Take one item from the client."""
        if item is End.RESET:
            self._wires.up(item)
        if self._over or item is End.RESET:
            return
        if isinstance(item, bytes):
            for piece in self._requests.feed(item):
                self._asked(piece)
        else:
            self._let_begun_request_go()
            self._up.put(Parcel(item, "upstream"))
        self._settle()

    def answer(self, item: Item) -> None:
        """Take one item from the server."""
        if item is End.RESET:
            self._wires.down(item)
        if self._over or item is End.RESET:
            return
        crowded = self.held_up > ROOM_BYTES
        if isinstance(item, bytes):
            for piece in self._answers.feed(item):
                self._answered(piece)
        else:
            self._let_begun_answer_go()
            self._down.put(Parcel(item, "downstream"))
        self._settle()
        if crowded:
            self._wires.review()

    def refit(self) -> None:
        """Look at the toxics again: what one that is gone holds back goes on now, in order."""
        if self._over:
            return
        if not self._wires.toxics():
            self._let_begun_request_go()
            self._let_begun_answer_go()
        self._up.refit()
        self._down.refit()
        self._on_time()

    def drop(self) -> None:
        """The connection is over."""
        self._over = True
        self._up.drop()
        self._down.drop()

    def _read_request(self, head: bytes) -> Body:
        """Take note of a request; what its toxics make of it is decided when it leaves."""
        request = read_request(head)
        self._wires.tally["requests"] += 1
        before = self._awaiting[-1] if self._awaiting else None
        # Behind an upgrade that nobody has answered yet, what looks like a request may turn out to be none.
        doubtful = before is not None and before.may_switch
        draws = [] if doubtful else self._docket.draw(request, answer_only=self._leaked)
        self._leaked = False
        self._asking = Exchange(request, draws, may_switch=request.may_switch or doubtful)
        self._awaiting.append(self._asking)
        return request.body

    def _read_answer(self, head: bytes) -> Body:
        """Take note of an answer to the oldest request without one; nobody has asked for any other."""
        exchange = self._asked_of_server()
        if exchange is None:
            raise NotHttpError
        self._answer = read_answer(head, exchange.request.method)
        self._answering = None if self._answer.interim else exchange
        return self._answer.body

    def _asked_of_server(self) -> Exchange | None:
        """The request that the server is to answer next."""
        exchange = self._awaiting[0] if self._awaiting else None
        return exchange if exchange is not None and exchange.asked and exchange.swallower is None else None

    def _asked(self, piece: Piece) -> None:
        data = piece.data
        if piece.part is Part.BEGUN:
            if self._wires.toxics() and not self._leaked:
                self._begun_request += data
            else:
                self._leaked = True
                self._up.put(Parcel(data, "upstream"))
            return
        if self._begun_request:
            data = bytes(self._begun_request) + data
            self._begun_request.clear()
        self._up.put(Parcel(data, "upstream", self._asking, piece.part, piece.last))
        if piece.part is Part.OPAQUE:
            self._note_opaque()
        if piece.last:
            self._asking = None

    def _answered(self, piece: Piece) -> None:
        data = piece.data
        if piece.part is Part.BEGUN:
            exchange = self._asked_of_server()
            if exchange is not None and exchange.answer_at_stake:
                self._begun_answer += data
            else:
                self._down.put(Parcel(data, "downstream"))
            return
        if self._begun_answer:
            data = bytes(self._begun_answer) + data
            self._begun_answer.clear()
        answer = self._answer if piece.part is Part.HEAD else None
        self._down.put(Parcel(data, "downstream", self._answering, piece.part, piece.last, answer))
        if piece.part is Part.OPAQUE:
            self._give_up()
        elif piece.last and self._answering is not None:
            self._answering = None
            self._awaiting.popleft()
            if self._answers.opaque:  # switched: no HTTP from here on
                self._give_up()
            self._pay_owed()

    def _leave_up(self, parcel: Parcel, waited_s: float) -> None:
        exchange = parcel.exchange
        if exchange is not None and parcel.part is Part.HEAD:
            exchange.waited("upstream", waited_s)
            exchange.asked = True
            self._decide_request(exchange)
        if exchange is None or exchange.swallower is None:
            self._to_server.put(parcel.item)
            return
        exchange.swallower.applied.bytes += size_bytes(parcel.item)
        exchange.broken = parcel.part is Part.OPAQUE
        exchange.complete = parcel.last or exchange.broken
        self._pay_owed()

    def _decide_request(self, exchange: Exchange) -> None:
        """Keep the request from the server if its toxics want that, and if we can still say so to the client."""
        draw = exchange.ending()
        if draw is not None and draw.stream == "upstream" and not self._answers.opaque:
            draw.strike()
            exchange.swallower = draw
            exchange.awaits_continue = exchange.request.expects_continue

    def _pay_owed(self) -> None:
        """Answer for the server what it was not asked, when it is the turn of that."""
        while self._awaiting and self._awaiting[0].swallower is not None:
            exchange = self._awaiting[0]
            if not exchange.complete:
                if exchange.awaits_continue:
                    exchange.awaits_continue = False
                    self._down.put(Parcel(_CONTINUE, "downstream"))
                return
            self._awaiting.popleft()
            self._pay(exchange)

    def _pay(self, exchange: Exchange) -> None:
        assert exchange.swallower is not None
        kind = exchange.swallower.applied.toxic.attributes
        assert isinstance(kind, HttpStatus)
        keep_alive = exchange.request.keep_alive and not exchange.broken
        ours = reply(kind, exchange.request, keep_alive=keep_alive)
        said = AnswerHead(kind.status, keep_alive, Body(Framing.NONE))
        self._owed_bytes += len(ours)
        self._down.put(Parcel(ours, "downstream", exchange, Part.HEAD, last=True, answer=said))
        if not keep_alive:
            self._down.put(Parcel(End.CLOSE, "downstream"))

    def _leave_down(self, parcel: Parcel, waited_s: float) -> None:
        exchange, answer = parcel.exchange, parcel.answer
        if exchange is not None and answer is not None:
            exchange.waited("downstream", waited_s)
            self._decide_answer(exchange, answer, size_bytes(parcel.item))
        if exchange is None or exchange.fate is None:
            items: Sequence[Item] = (parcel.item,)
        else:
            exchange.fate.draw.applied.bytes += size_bytes(parcel.item)
            items = exchange.fate.take(parcel)
        for item in items:
            self._to_client.put(item)
            self._over = self._over or item is End.CLOSE

    def _decide_answer(self, exchange: Exchange, answer: AnswerHead, size: int) -> None:
        status = answer.status
        if exchange.swallower is not None:
            self._owed_bytes -= size
        else:
            draw = exchange.ending(answer_only=True)
            exchange.fate = fate_of(draw, exchange.request, answer)
            if draw is not None and isinstance(draw.applied.toxic.attributes, HttpStatus):
                status = draw.applied.toxic.attributes.status
        tally = self._wires.tally
        tally["answers"] += 1
        hundred = f"{status // 100}xx"
        tally["statuses"][hundred] = tally["statuses"].get(hundred, 0) + 1

    def _give_up(self) -> None:
        """From here on neither side is understood."""
        self._note_opaque()
        self._requests.give_up()
        self._awaiting.clear()
        self._let_begun_request_go()

    def _note_opaque(self) -> None:
        if not self._opaque:
            self._opaque = True
            self._wires.tally["opaque"] += 1

    def _let_begun_request_go(self) -> None:
        if self._begun_request:
            self._leaked = True
            self._up.put(Parcel(bytes(self._begun_request), "upstream"))
            self._begun_request.clear()

    def _let_begun_answer_go(self) -> None:
        if self._begun_answer:
            self._awaiting[0].draws.clear()  # none of them is left, and its answer has begun
            self._down.put(Parcel(bytes(self._begun_answer), "downstream"))
            self._begun_answer.clear()

    def _on_time(self) -> None:
        self._settle()
        self._wires.review()

    def _settle(self) -> None:
        """Hand on what has left."""
        self._to_server.flush()
        self._to_client.flush()
        if self._over:
            self._up.drop()
            self._down.drop()
