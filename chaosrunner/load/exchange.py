"""What a protocol driver and the sender tell each other about one request: the seam between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from chaosrunner.model.load import Outcome


class Link(Protocol):
    """An open connection, as far as an exchange may touch it."""

    def abort(self) -> None:
        """Close at once and forget the exchange; the connection is lost to the pool."""
        ...


class Exchange:
    """One request on its way. A driver calls exactly one of `answered` and `failed`, once.

    Instants are CLOCK_MONOTONIC nanoseconds. On the hot path, hence no dataclass and no properties.
    """

    __slots__ = ("is_head", "keeps_body", "link", "over", "request", "sent_ns")

    def __init__(self, request: bytes, *, is_head: bool = False, keeps_body: bool = False) -> None:
        self.request = request
        self.is_head = is_head
        self.keeps_body = keeps_body
        self.sent_ns = 0
        """When the request was handed to an open connection; 0 as long as it waits for one."""
        self.link: Link | None = None
        self.over = False
        """Nothing more may happen to it: whoever has it in a queue drops it."""

    def answered(self, status: int, body: bytes, now_ns: int) -> None:
        """A whole reply has come. `body` is empty unless `keeps_body`."""
        raise NotImplementedError

    def failed(self, outcome: Outcome, now_ns: int) -> None:
        """There will be no whole reply."""
        raise NotImplementedError
