"""How a load speaks HTTP beyond plain requests: what a reply must hold, redirects, cookies, retries, TLS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a whole reply must hold beside its status; else the hit is CHECK."""

    says: str
    """As the file says it."""
    subject: Literal["body", "json", "header", "size", "time"]
    where: str = ""
    """A JSON path, or the name of a header."""
    test: Literal["contains", "lacks", "matches", "exists", "=", "!=", "<", "<=", ">", ">="]
    value: str = ""
    """What it is compared with: text; of `matches` a regular expression; of `json` JSON; of `size` bytes and of `time`
    seconds, in digits. `<name>` is a variable, except in a regular expression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A client's policy for what failed: ask again, each time a request of its own on the wire.

    The n-th retry (from 0) comes min(backoff · 2ⁿ, longest) later; with jitter, evenly spread between nothing and
    that ("full jitter", Brooker: "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
    """

    times: int = 1
    """Retries at most, the first attempt not counted."""
    statuses: tuple[int, ...] = ()
    outcomes: tuple[str, ...] = ()
    """Values of Outcome: refused, reset, timeout and the like."""
    backoff_s: float = 0.1
    longest_s: float = 2.0
    jitter: bool = True
    heed: bool = False
    """Wait at least as long as a reply's Retry-After asks."""
    timeout_s: float | None = None
    """Of one attempt; None: only the hit's own timeout ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What the client does by itself. Anything but the defaults needs the full path, which reads every header."""

    redirects: int = 0
    """How many redirects are followed within one hit; 0 = a redirect is an answer."""
    cookies: bool = False
    """Whether there is a cookie jar: of each journey in the open model, of each user in the closed one."""
    compression: bool = False
    """Whether compressed replies are asked for, and decompressed."""
    retry: Retry | None = None


PLAIN = Client()
"""Does nothing by itself: each request is one request, each reply an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How the target's certificate is checked, and what is shown to it. Files are read where the load is sent from."""

    verify: bool = True
    ca: str = ""
    """PEM file of the authorities to trust; empty = the system's."""
    certificate: str = ""
    """PEM file of the client's certificate chain; empty = none is shown."""
    key: str = ""
    """PEM file of its key; empty = it is in the certificate's file."""
    password: str = ""
    """Of the key; a template of references to secrets."""
    server_name: str = ""
    """Asked for (SNI) and expected in the certificate; empty = the URL's host."""
