"""The kinds of toxics that act on single HTTP requests; for proxies whose `protocol` is http."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from chaosrunner.proxy.refusals import bad_value
from chaosrunner.proxy.toxics.kinds import Delay, Family, not_negative

MalformedKind = Literal["status_line", "header", "length", "chunk", "body"]
_METHODS = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: *, *[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
# Replies that never have a body, whatever their head says (RFC 9110 §6.4.1).
_BODILESS = frozenset({204, 205, 304})


# Without slots: a class with some could not be a base beside `Delay`, which has others.
@dataclass(frozen=True)
class Aim:
    """Which requests are meant: those of one of the `method`s (`GET,POST`) and of a `path` in which `*` is anything.

    Empty means any. The path is compared as it was sent, without the query.
    """

    family: ClassVar[Family] = "http"
    method: str = ""
    path: str = ""

    def __post_init__(self) -> None:
        if self.method and not _METHODS.fullmatch(self.method):
            raise bad_value(f"method must be a list like GET,POST, not {self.method!r}")
        if self.path and not self.path.startswith(("/", "*")):
            raise bad_value(f"path must begin with / or *, not {self.path!r}")
        if re.search(r"[\s?#]", self.path):
            raise bad_value("path is compared without the query; it has no space, ? or #")

    def meets(self, method: str, path: str) -> bool:
        """Whether a request is meant."""
        if self.method and method not in (known.strip() for known in self.method.upper().split(",")):
            return False
        return not self.path or _fits(self.path, path)


@dataclass(frozen=True)
class HttpStatus(Aim):
    """The reply is this one: downstream in the place of the server's, upstream without asking the server at all.

    Attributes:
        status: 200 to 599.
        body: Sent as UTF-8.
        content_type: Of the body.
        retry_after: Seconds; at 0 the reply does not say.
    """

    status: int = 503
    body: str = ""
    content_type: str = "text/plain"
    retry_after: int = 0

    def __post_init__(self) -> None:
        Aim.__post_init__(self)
        not_negative(retry_after=self.retry_after)
        if not 200 <= self.status <= 599:
            raise bad_value("status must be between 200 and 599")
        if self.body and self.status in _BODILESS:
            raise bad_value(f"a reply of status {self.status} has no body")
        if not (self.content_type.isascii() and self.content_type.isprintable() and self.content_type.strip()):
            raise bad_value("content_type must be printable ASCII text")


@dataclass(frozen=True, slots=True)
class HttpLatency(Delay, Aim):
    """The request (upstream) or its reply (downstream) is late by a `Delay`, and what is behind it waits."""

    def __post_init__(self) -> None:
        Delay.__post_init__(self)
        Aim.__post_init__(self)


@dataclass(frozen=True)
class HttpTruncate(Aim):
    """The reply ends after this many bytes of its body, with the connection; a shorter one is left as it is."""

    streams: ClassVar[frozenset[str]] = frozenset({"downstream"})
    after: int = 0

    def __post_init__(self) -> None:
        Aim.__post_init__(self)
        not_negative(after=self.after)


@dataclass(frozen=True)
class HttpMalformed(Aim):
    """The reply is none that a client could read.

    Attributes:
        kind: What is wrong: its `status_line`, a `header`, its `length`, a `chunk` size, or (each byte of) its `body`.
    """

    streams: ClassVar[frozenset[str]] = frozenset({"downstream"})
    kind: MalformedKind = "status_line"


def _fits(pattern: str, path: str) -> bool:
    first, *others = pattern.split("*")
    if not others:
        return path == pattern
    if not path.startswith(first):
        return False
    *between, last = others
    place = len(first)
    for part in between:
        found = path.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return path.endswith(last) and len(path) - len(last) >= place
