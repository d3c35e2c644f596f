"""Diagnostics: structlog on stderr, human on a terminal and JSON when asked; results own stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from chaosrunner.errors import Mistakes

if TYPE_CHECKING:
    from chaosrunner.model.events import Entry

_choice: dict[str, object] = {"log_format": "human", "verbose": False}

TROUBLE = frozenset({"Crashed", "WatchdogLost", "LoadLost", "InjectFailed", "UndoFailed", "OwnerChanged"})
"""Kinds of events that are warnings, with `-v` or without."""


def set_up(**choice: object) -> None:
    """Remember how diagnostics should look; structlog itself is imported by the first thing that logs."""
    _choice.update(choice)


def as_json() -> bool:
    """Whether every line on stderr is to be a JSON object."""
    return _choice["log_format"] == "json"


def configure() -> None:
    """Configure structlog, and have it render what libraries log. Verbs that do real work call this once."""
    import logging

    import structlog

    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    plain = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    rendered = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()] if as_json() else [plain]
    level = logging.DEBUG if _choice["verbose"] else logging.WARNING
    structlog.configure(
        processors=[*shared, *rendered],  # type: ignore[list-item]
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,  # type: ignore[arg-type]
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    logging.basicConfig(handlers=[libraries], level=logging.WARNING, force=True)


def log_entry(entry: Entry) -> None:
    """Log a fact as it is written: trouble as a warning, anything else for `-v`; never the frames of the load."""
    import structlog

    from chaosrunner.model.events import SlotsArrived, to_json

    if isinstance(entry.event, SlotsArrived):
        return
    raw = to_json(entry.event)
    kind = str(raw.pop("kind"))
    if kind in {"RunStarted", "Prepared"}:  # long, and in the journal
        raw = {key: raw[key] for key in ("run", "system", "fault") if key in raw}
    log = structlog.get_logger()
    try:
        (log.warning if kind in TROUBLE else log.debug)(kind, n=entry.n, **raw)
    except (OSError, ValueError):
        pass  # nobody reads our diagnostics: no reason to stop


def complain(error: BaseException, *, advice: str = "", code: int) -> None:
    """Say on stderr why the program ends: lines for people, or a JSON object a line."""
    try:
        for line in _complaint(error, advice, code):
            print(line, file=sys.stderr)
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody reads them; the exit code says it all


def _complaint(error: BaseException, advice: str, code: int) -> list[str]:
    if as_json():
        return _objects(error, advice, code)
    if isinstance(error, Mistakes):
        count = len(error.mistakes)
        plural = "s" if count != 1 else ""
        return [*map(str, error.mistakes), f"{count} mistake{plural}, nothing was touched (exit {code})"]
    return [f"chaosrunner: {error}", *([advice] if advice else [])]


def _objects(error: BaseException, advice: str, code: int) -> list[str]:
    import json
    from dataclasses import asdict

    told: dict[str, object] = {"level": "error", "exit": code} | ({"advice": advice} if advice else {})
    if isinstance(error, Mistakes):
        return [json.dumps({"event": str(one), **asdict(one), **told}) for one in error.mistakes]
    return [json.dumps({"event": str(error), **told})]
