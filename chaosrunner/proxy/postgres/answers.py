"""Which of the server's messages answers what: the line of what a client has asked for and the server will answer.

The server answers in order. After an error in the extended protocol it skips everything up to the next Sync, and
while it takes a COPY it swallows Syncs (the protocol's manual, "Extended Query" and "COPY Operations").
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from chaosrunner.proxy.postgres import framing
from chaosrunner.proxy.postgres.framing import NotUnderstood
from chaosrunner.proxy.postgres.kinds import PostgresFail
from chaosrunner.proxy.postgres.lane import Hold

# A client that pipelines more than this without reading an answer is passed on without a look.
LONGEST_LINE = 1_000_000

# What only ReadyForQuery ends the answer to,
_UNTIL_READY = {framing.STARTUP, framing.QUERY, framing.CALL, framing.SYNC}
# and what else may end an answer, or for a simple query a part of it, apart from an error.
_ENDS = {
    framing.QUERY: {framing.ROWS, framing.COMPLETE, framing.EMPTY},
    framing.PARSE: {framing.PARSED},
    framing.BIND: {framing.BOUND},
    framing.DESCRIBE: {framing.ROWS, framing.NO_DATA},
    framing.EXECUTE: {framing.COMPLETE, framing.EMPTY, framing.SUSPENDED},
    framing.CLOSE: {framing.CLOSED},
}
_COPY_ENDS = {framing.COPY_DONE, framing.COPY_FAIL}
_MAY_COPY = {framing.QUERY, framing.EXECUTE}


@dataclass(slots=True, eq=False)
class Asked:
    """Something a client has asked for.

    Attributes:
        kind: The kind of its frame.
        hold: What its answer waits for.
        fail: How it is to fail; None if it is not.
        done: Called when the server has done it.
    """

    kind: int
    hold: Hold | None = None
    fail: PostgresFail | None = None
    done: Callable[[], None] | None = None


class Answers:
    """The line of what is still to be answered."""

    def __init__(self) -> None:
        self._line: deque[Asked] = deque()
        self._copying = False  # the server takes a COPY whose end the client has not sent yet
        self.skipping = False
        """Whether the server skips whatever comes until the next Sync."""

    @property
    def head(self) -> Asked | None:
        """What the server's next message answers; None if nothing was asked."""
        return self._line[0] if self._line else None

    def holds(self) -> list[Hold]:
        """What answers will wait for."""
        return [asked.hold for asked in self._line if asked.hold is not None]

    def ask(self, asked: Asked) -> None:
        """Take note of what a client asks for.

        Raises:
            NotUnderstood: It cannot be told any more what will answer what.
        """
        if self.skipping and asked.kind != framing.SYNC:
            return
        self.skipping = False
        if asked.kind in _COPY_ENDS:
            if self._line and not self._copying:
                self._line.append(asked)  # until it is known whether there is a COPY that it ends
            self._copying = False
        elif not self._copying:
            self._line.append(asked)
        elif asked.kind != framing.SYNC:
            raise NotUnderstood  # breaks the COPY, and is never answered
        if len(self._line) > LONGEST_LINE:
            raise NotUnderstood

    def answered(self, kind: int) -> None:
        """Take note of a message of the server.

        Raises:
            NotUnderstood: It answers nothing that was asked.
        """
        head = self.head
        match kind:
            case framing.ERROR:
                self._failed(head)
            case framing.READY:
                if head is None or head.kind not in _UNTIL_READY:
                    raise NotUnderstood
                self._line.popleft()
            case framing.COPY_IN:
                self._swallow_syncs()
            case framing.COPY_BOTH:
                raise NotUnderstood  # replication
            case _:
                self._completed(kind, head)
        while self._line and self._line[0].kind in _COPY_ENDS:
            self._line.popleft()

    def _completed(self, kind: int, head: Asked | None) -> None:
        if head is None or kind not in _ENDS.get(head.kind, ()):
            raise NotUnderstood
        if head.kind not in _UNTIL_READY:
            self._line.popleft()
        if head.done is not None:
            head.done()
            head.done = None

    def _failed(self, head: Asked | None) -> None:
        self._copying = False
        if head is None or head.kind in _UNTIL_READY:
            return
        while self._line and self._line[0].kind != framing.SYNC:
            self._line.popleft()
        self.skipping = not self._line

    def _swallow_syncs(self) -> None:
        """The server takes a COPY: up to its end it answers none of the Syncs that the client has sent behind it."""
        if self.head is None or self.head.kind not in _MAY_COPY:
            raise NotUnderstood
        copy = self._line.popleft()
        while self._line and self._line[0].kind == framing.SYNC:
            self._line.popleft()
        self._copying = not self._line
        if self._line and self._line[0].kind not in _COPY_ENDS:
            raise NotUnderstood  # breaks the COPY, and is never answered
        self._line.appendleft(copy)
