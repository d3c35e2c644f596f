"""A step that is one HTTP request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from chaosrunner.model.http_client import PLAIN, Check, Client
from chaosrunner.model.journey import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Action):
    """One request and what its reply must be."""

    kind: Literal["http"] = "http"
    method: str
    path: str
    """Path relative to the system's entry, or an absolute http(s) URL."""
    body: object = None
    """By `body_as`: a JSON value (a placeholder that is a whole string keeps its JSON type); a mapping of a form's
    fields to texts; a text; the path of a file."""
    body_as: Literal["json", "form", "multipart", "text", "file"] = "json"
    headers: Mapping[str, str] = field(default_factory=dict)
    expect: tuple[int, ...] = ()
    """Statuses that are ok; empty = any below 400."""
    keep: Mapping[str, str] = field(default_factory=dict)
    """Variable → where it is in the reply: a JSON path (`$.a.b[0]`), `header Location`, `/regex with (a group)/` for
    the body, or `status`."""
    checks: tuple[Check, ...] = ()
    client: Client = PLAIN

    @property
    def keeps(self) -> tuple[str, ...]:
        """The variables that later steps may use."""
        return tuple(self.keep)

    @property
    def series(self) -> tuple[str, ...]:
        """Each retry, when it was sent, with the pause before it."""
        return (f"{self.name}.retries",) if self.client.retry else ()

    @property
    def full_for(self) -> tuple[str, ...]:
        """What it needs the full path for, in words; empty = the fast path will do."""
        client = self.client
        needs = {
            "redirects": client.redirects > 0,
            "cookies": client.cookies,
            "compression": client.compression,
            "retries": client.retry is not None,
            "headers of replies": any(where.startswith("header ") for where in self.keep.values())
            or any(check.subject == "header" for check in self.checks),
        }
        return tuple(word for word, needed in needs.items() if needed)
