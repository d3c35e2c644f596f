"""Experiment and system files → frozen values, or every mistake at once with its line and column.

Reading is pure: what a file is read against (variables, injectors, other files) comes in as an `Around`.
"""

from __future__ import annotations

from chaosrunner.logic.parse.desk import Around, Reader
from chaosrunner.logic.parse.experiment import (
    Source,
    is_system,
    load_experiment,
    load_system,
    parse_experiment,
    parse_system,
)

__all__ = [
    "Around",
    "Reader",
    "Source",
    "is_system",
    "load_experiment",
    "load_system",
    "parse_experiment",
    "parse_system",
]
