"""Which toxics strike a statement, and what the client is told about one that they made fail."""

from dataclasses import dataclass

from chaosrunner.proxy.dialect import Wires
from chaosrunner.proxy.postgres import framing
from chaosrunner.proxy.postgres.framing import Frame, message
from chaosrunner.proxy.postgres.kinds import PostgresDelay, PostgresFail, matches
from chaosrunner.proxy.postgres.lane import Hold, Part
from chaosrunner.proxy.stats import AppliedToxic

# What the server is given in place of a statement that is to fail: SQL that no server parses, a portal that nobody
# has. Its own error then does to the transaction what an error does, in any state of it and whatever the role may do.
_NO_STATEMENT = b"chaosrunner failed this statement on purpose"
_INSTEAD = {
    framing.QUERY: message(framing.QUERY, _NO_STATEMENT + b"\0"),
    framing.EXECUTE: message(framing.EXECUTE, _NO_STATEMENT + b"\0" + bytes(4)),
}
# The SQLSTATE by which that error is known: syntax_error, and invalid_cursor_name.
_TOKEN = {framing.QUERY: b"42601", framing.EXECUTE: b"34000"}


@dataclass(slots=True)
class Strike:
    """What becomes of a statement.

    Attributes:
        up: What it waits for on its way to the server.
        down: What its answer waits for.
        fail: How it is to fail.
    """

    up: Hold | None = None
    down: Hold | None = None
    fail: PostgresFail | None = None


UNTOUCHED = Strike()


class Strikes:
    """The luck of one connection's statements."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._seen: set[AppliedToxic] = set()

    def draw(self, text: str | None, size: int) -> Strike:
        """What becomes of a statement, drawn once for each toxic that is meant for it.

        Args:
            text: Its beginning, None if it is not known.
            size: Bytes of the message that has it executed.
        """
        toxics = self._wires.toxics()
        if not toxics:
            return UNTOUCHED
        strike = Strike()
        for applied in toxics:
            attributes = applied.toxic.attributes
            assert isinstance(attributes, PostgresDelay | PostgresFail)
            if not matches(attributes.query, text):
                continue
            applied.matched += 1
            # Drawn also when it is sure to strike, so that changing the toxicity leaves the others' luck as it was.
            luck = self._wires.random(applied).random()
            if luck >= applied.toxic.toxicity:
                continue
            if isinstance(attributes, PostgresDelay):
                self._delay(
                    strike, text, Part(applied, luck, attributes, attributes.draw_s(self._wires.random(applied)))
                )
            elif strike.fail is None:
                strike.fail = attributes
                applied.bytes += size
                self.struck(applied)
        return strike

    def redraw(self, hold: Hold) -> None:
        """Have a hold be what the toxics of now make of it."""
        hold.redraw(self._wires.toxics(), self._wires.random)

    def struck(self, applied: AppliedToxic) -> None:
        """Count a statement that a toxic acts on."""
        applied.struck += 1
        if applied not in self._seen:
            self._seen.add(applied)
            applied.connections += 1

    def _delay(self, strike: Strike, text: str | None, part: Part) -> None:
        if part.applied.toxic.stream == "upstream":
            hold = strike.up = strike.up or Hold(text, self.struck)
        else:
            hold = strike.down = strike.down or Hold(text, self.struck)
        hold.add(part)


def failing(kind: int) -> bytes:
    """What the server is given in place of a message that has a statement executed, so that it raises an error."""
    return _INSTEAD[kind]


def is_ours(kind: int, error: Frame) -> bool:
    """Whether an error is the one that `failing(kind)` provoked, and not that the server goes down, for example."""
    if len(error.raw) < error.size:
        return False  # long, which ours are not
    fields = error.raw[framing.HEADER_BYTES :].split(b"\0")
    return b"C" + _TOKEN[kind] in fields


def error_of(fail: PostgresFail) -> bytes:
    """The error that the client is told instead, encoded in UTF-8."""
    fields = {"S": "ERROR", "V": "ERROR", "C": fail.sqlstate, "M": fail.message}
    body = "".join(f"{key}{value}\0" for key, value in fields.items()) + "\0"
    return message(framing.ERROR, body.encode())
