"""Faults of single Postgres statements, through a fault proxy whose `protocol` is postgres.

`share` is the part of the statements that is struck, drawn once a statement; `query` says which are meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from chaosrunner.model.units import Seconds, human_duration
from fault_injectors.proxy_control import Json
from fault_injectors.proxy_fault import Toxic
from fault_injectors.proxy_params import OneWay, Some, milliseconds, toxic


class StatementToxic(Toxic):
    """A toxic that strikes statements."""

    protocol: ClassVar[str] = "postgres"


class SlowQuery(StatementToxic):
    """Statements that take long."""

    name: ClassVar[str] = "postgres.slow_query"
    about: ClassVar[str] = "Delays the statements that match, or their answers; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(OneWay):
        """How late, and which."""

        add: Seconds = field(metadata={"help": "Time added."})
        query: str = field(default="", metadata={"help": "A regular expression found in the statement; any"})

    def change(self, params: object) -> Json:
        """A postgres_delay toxic."""
        assert isinstance(params, SlowQuery.Params)
        attributes = {"latency": milliseconds(params.add), "query": params.query}
        says = f"statements{_matching(params.query)} +{human_duration(params.add)}"
        return toxic(params, "postgres_delay", attributes, says, "statements")


class FailQuery(StatementToxic):
    """Statements that fail."""

    name: ClassVar[str] = "postgres.fail_query"
    about: ClassVar[str] = "Makes the server fail the statements that match; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Some):
        """How, and which."""

        query: str = field(default="", metadata={"help": "A regular expression found in the statement; any"})
        sqlstate: str = field(default="XX000", metadata={"help": "The error's code, such as 40001."})

    def change(self, params: object) -> Json:
        """A postgres_fail toxic."""
        assert isinstance(params, FailQuery.Params)
        attributes = {"query": params.query, "sqlstate": params.sqlstate}
        says = f"statements{_matching(params.query)} fail with {params.sqlstate}"
        return toxic(params, "postgres_fail", attributes, says, "statements")


def _matching(query: str) -> str:
    return f" that match {query!r}" if query else ""
