"""A search while it runs: a line for each trial, and on a terminal a bar with the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO

from chaosrunner.model.search import Trial
from chaosrunner.model.units import human_duration
from chaosrunner.report import words
from chaosrunner.report.mailbox import DirectText, Mailbox

WIDTH = 24
"""Signs of the bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """How far a search has come."""

    done: int
    """Trials."""
    left: int
    """About so many more."""
    each_s: float
    """How long one takes."""

    def remaining_s(self, under_way_s: float) -> float:
        """About how long it still takes, the trial under way having taken so long."""
        return max(0.0, self.left * self.each_s - min(under_way_s, self.each_s))


class SearchView:
    """Tells of a search on a stream; no method waits for the reader or raises because of it.

    Args:
        stream: where to; None says nothing.
        environ: `CI` and `TERM` decide whether there is a bar.
        say: a level in words.
    """

    def __init__(self, stream: TextIO | None, environ: Mapping[str, str], say: Callable[[float], str]) -> None:
        self._level = say
        self._out = None if stream is None or stream.closed else DirectText(stream)
        dumb = bool(environ.get("CI")) or environ.get("TERM", "dumb") == "dumb"
        self._bar = stream is not None and self._out is not None and stream.isatty() and not dumb
        self._box: Mailbox[str] = Mailbox(self._write, depth=1000)
        self._clear = "\r\x1b[K" if self._bar else ""
        utf = self._out is not None and self._out.encoding.lower().startswith("utf")
        self._say = words.printable if utf else words.ascii_only

    def line(self, text: str) -> None:
        """Say something."""
        self._box.post(f"{self._clear}{self._say(text)}\n")

    def trial(self, trial: Trial, ahead: Ahead) -> None:
        """Say what a trial came to."""
        seen = f"p95 {words.seconds(trial.p95)}  errors {words.share(trial.errors)}" if trial.seconds else "no data"
        rest = f"about {ahead.left} more, {human_duration(round(ahead.remaining_s(0)))}" if ahead.left else "done"
        self.line(f"{ahead.done:3}  {self._level(trial.level):>12}  {trial.outcome.name:7}  {seen}  ({rest})")
        if trial.why:
            self.line(f"     {trial.why}")

    def tick(self, level: float, ahead: Ahead, under_way_s: float) -> None:
        """Draw the bar anew, if there is one."""
        if self._bar:
            left_s = ahead.remaining_s(under_way_s)
            whole = ahead.done * ahead.each_s + ahead.left * ahead.each_s
            full = round(WIDTH * (1 - left_s / whole)) if whole else 0
            bar = "█" * full + "░" * (WIDTH - full)
            text = f"{bar}  at {self._level(level)}, about {human_duration(round(left_s))} left"
            self._box.post(self._clear + self._say(text))

    def close(self) -> None:
        """Let the last lines out."""
        self._box.post(self._clear)
        if self._box.close() and self._out is not None:
            self._out.close()

    def _write(self, text: str) -> None:
        if self._out is not None:
            self._out.write(text)
