"""What is known while the steps of a journey are read one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.placeholders import placeholders
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, quoted
from chaosrunner.logic.parse.substitute import references
from chaosrunner.logic.parse.yaml_nodes import Scalar
from chaosrunner.model.http_client import PLAIN, Client
from chaosrunner.model.journey import Again, Think


class Common(TypedDict):
    """What every step says, whatever it speaks: the fields of `Action`."""

    name: str
    think: Think
    again: Again | None
    timeout_s: float | None


SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "x-api-key")
"""Headers whose values are credentials."""


def check_secret(desk: Desk, at: Scalar, text: str, what: str) -> None:
    """Note a credential that is written out: the journal and the reports keep the file's text."""
    try:
        hidden = placeholders(text) or references(text)
    except ReadingError:
        return  # noted by whoever reads what is in it
    if text and not hidden:
        desk.wrong(at, f"{what}: a secret written out would be kept by every report; write '${{NAME}}' or '<variable>'")


@dataclass(slots=True)
class Journey:
    """What is known while the steps are read one after the other."""

    desk: Desk
    columns: frozenset[str] | None
    """Of the data file; None = unknown, so any variable may come from it."""
    kept: dict[str, str] = field(default_factory=dict)
    """Variable → the step that keeps it, of the steps read so far."""
    later: Mapping[str, str] = field(default_factory=dict)
    """Variable → the first step that keeps it, of all steps."""
    client: Client = PLAIN
    """What the client of its requests does unless they say otherwise."""
    sockets: list[str] = field(default_factory=list)
    """The steps read so far that OPEN a WebSocket."""

    def check(self, at: Scalar, what: str, *, anywhere: bool = False) -> None:
        """Note every placeholder in a text that nothing fills by then (`anywhere`: at all)."""
        try:
            names = placeholders(at.text)
        except ReadingError as bad:
            self.desk.wrong(at, f"{what}: {bad}")
            return
        known = {*self.kept, *(self.columns or ()), *(self.later if anywhere else ())}
        for name in dict.fromkeys(names):
            if name in known or self.columns is None:
                continue
            keeper = self.later.get(name)
            hint = f"; step {quoted(keeper)} keeps it, but not before this one" if keeper else _unknown(name, known)
            self.desk.wrong(at, f"{what}: nothing fills <{name}>{hint}")


def _unknown(name: str, known: set[str]) -> str:
    if not known:
        return "; no earlier step keeps a variable and there is no data file"
    return did_you_mean(name, known)
