"""Diagnostics: structlog on stderr, human on a terminal and JSON when asked; results own stdout."""

from __future__ import annotations

import sys


def set_up(log_format: str, *, verbose: bool) -> None:
    """Remember how diagnostics should look; structlog itself is imported by the first thing that logs."""
    _choice.update(form=log_format, verbose=verbose)


_choice: dict[str, object] = {"form": "human", "verbose": False}


def configure() -> None:
    """Configure structlog for this process. Verbs that do real work call this once."""
    import logging

    import structlog

    renderer = (
        structlog.processors.JSONRenderer()
        if _choice["form"] == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if _choice["verbose"] else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
