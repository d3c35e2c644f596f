"""Secrets travel as references; only the place that opens a connection ever sees the value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that holds references such as `${file:/run/secrets/dsn}` or `${DB_PASSWORD}`, not their values.

    Its `str` and `repr` show the references, so a secret cannot leak by being printed, logged or journalled.
    """

    template: str
    """The text with its `${…}` references unresolved. Without a reference it is an ordinary, public text."""

    def __str__(self) -> str:
        return self.template
