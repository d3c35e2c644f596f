"""The live views: what they show, and that no reader can hold up or break a run."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest
from samples import EPOCH_NS, sample

from chaosrunner.logic.fold import State, step
from chaosrunner.model.experiment import Phase
from chaosrunner.model.units import NANOS
from chaosrunner.report.live import LiveView, PlainView, SilentView, View, second_line, view_for
from chaosrunner.report.pulse import Pulses
from chaosrunner.report.table import stats_of


class Reader:
    """Collects what comes out of a file descriptor until it ends."""

    def __init__(self, fd: int) -> None:
        self.data = b""
        self._fd = fd
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._fd, 65536):
                self.data += chunk
        except OSError:
            pass  # a pty says EIO when its other side is closed

    def text(self) -> str:
        self._thread.join(10)
        return self.data.decode()


@contextmanager
def piped() -> Iterator[tuple[TextIO, Reader]]:
    readable, writable = os.pipe()
    with os.fdopen(writable, "w", encoding="utf-8") as stream:
        yield stream, Reader(readable)


@contextmanager
def terminal(columns: int = 100) -> Iterator[tuple[TextIO, Reader]]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield stream, Reader(ours)


def play(view: View, scenario: str, *, until_s: float = 1e9) -> State:
    """Show a whole journal to a view, entry by entry."""
    state = State()
    for entry in sample(scenario).entries:
        if entry.at_ns > EPOCH_NS + until_s * NANOS:
            break
        state = step(state, entry)
        view.update(state, entry.at_ns)
    return state


def test_plain_lines_tell_the_run() -> None:
    """A pipe gets one line a phase, one a change of a fault and one a second, and no escape sequence."""
    with piped() as (stream, reader), PlainView(sample("broken").experiment, "7f3a", stream) as view:
        play(view, "broken")
    text = reader.text()
    lines = text.splitlines()
    assert "\x1b" not in text
    assert [line.split("  phase ")[1] for line in lines if "  phase " in line] == [phase.value for phase in Phase]
    assert len([line for line in lines if "req/s" in line]) == 49
    assert "10 s  baseline  100 req/s" in text
    assert any("fault proxy.latency on database: removed" in line for line in lines)
    assert lines[-1].endswith("proven")


def test_a_second_without_a_whole_second_of_traffic_has_no_numbers() -> None:
    """Before the first second is covered there are dashes, never zeros."""
    one = sample("broken")
    state = State()
    for entry in one.entries:
        if entry.at_ns > EPOCH_NS + 0.5 * NANOS:
            break
        state = step(state, entry)
    line = second_line(Pulses(one.experiment).at(state, EPOCH_NS + NANOS // 2))
    assert "– req/s  p95 –  errors –" in line


@pytest.mark.parametrize("scenario", ["held", "broken", "never"])
def test_the_table_fills_up_to_the_verdicts_numbers(scenario: str) -> None:
    """At the end of a run the live figures are those of the verdict, although they were summed piece by piece."""
    one = sample(scenario)
    pulses, state = Pulses(one.experiment), State()
    for entry in one.entries:
        state = step(state, entry)
        pulse = pulses.at(state, entry.at_ns)
    [errors] = [row for row in pulse.rows if row.label == "errors"]
    for phase in (Phase.BASELINE, Phase.FAULT):
        stats = stats_of(one.verdict, phase)
        assert stats is not None
        percent = float(errors.cell(phase).value.removesuffix(" %"))
        assert percent == pytest.approx(stats.errors / stats.hits * 100, abs=0.2)
    assert pulse.open == 0


def test_the_pulse_does_not_depend_on_how_often_it_was_taken() -> None:
    """Summing what is new since the last look gives what summing everything gives, at every entry."""
    one = sample("broken")
    often, state = Pulses(one.experiment), State()
    for number, entry in enumerate(one.entries):
        state = step(state, entry)
        seen = often.at(state, entry.at_ns)
        if number % 10 == 0:
            assert seen == Pulses(one.experiment).at(state, entry.at_ns)


def test_progress_never_runs_back() -> None:
    """The bar only grows, from nothing to all."""
    one = sample("broken")
    pulses, state, done = Pulses(one.experiment), State(), [0.0]
    for entry in one.entries:
        state = step(state, entry)
        done.append(pulses.at(state, entry.at_ns).done)
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_a_kill_stands_only_as_long_as_it_was_asked_to() -> None:
    """What has no undo counts as an open fault during its time and not after."""
    one = sample("broken")
    pulses, state, standing = Pulses(one.experiment), State(), {}
    for entry in one.entries:
        state = step(state, entry)
        pulse = pulses.at(state, entry.at_ns)
        standing[pulse.phase] = sum(fault.standing for fault in pulse.faults)
        if entry.at_ns == EPOCH_NS + 25 * NANOS:
            assert standing[Phase.FAULT] == 2
    assert standing[Phase.AFTER] == 0


def test_a_terminal_gets_a_screenful_in_place() -> None:
    """The screen shows phase, traffic, faults and table, is redrawn in place, and gives the cursor back."""
    with terminal() as (stream, reader), LiveView(sample("broken").experiment, "7f3a", stream) as view:
        state = play(view, "broken", until_s=25)
        deadline = time.monotonic() + 10
        while b"baseline" not in reader.data and time.monotonic() < deadline:
            view.update(state, EPOCH_NS + 26 * NANOS + time.monotonic_ns())
            time.sleep(0.01)
    text = reader.text()
    assert "requests/s" in text
    assert "process.kill on 1 of 3 api" in text
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


@pytest.mark.parametrize("kind", [PlainView, LiveView])
def test_a_reader_that_goes_away_is_no_error(kind: type[PlainView | LiveView]) -> None:
    """A closed pipe silences the view; the run goes on and nothing is raised."""
    readable, writable = os.pipe()
    with (
        os.fdopen(writable, "w", encoding="utf-8") as stream,
        kind(sample("broken").experiment, "7f3a", stream) as view,
    ):
        os.close(readable)
        play(view, "broken")
        play(view, "broken")


def test_a_reader_that_stops_reading_delays_nothing() -> None:
    """With the pipe full, updates return and leaving the view takes no longer than its patience."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    try:
        while True:
            os.write(writable, b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(writable, True)
    with os.fdopen(writable, "w", encoding="utf-8") as stream:
        begun = time.monotonic()
        with PlainView(sample("broken").experiment, "7f3a", stream) as view:
            play(view, "broken")
        assert time.monotonic() - begun < 20  # a blocking write would never return
        os.close(readable)


def test_ci_and_pipes_get_plain_lines() -> None:
    """The screen is for a person at a capable terminal only."""
    asked = sample("broken").experiment
    with terminal() as (stream, _):
        assert isinstance(view_for(asked, "r", stream, {"TERM": "xterm"}), LiveView)
        assert isinstance(view_for(asked, "r", stream, {"TERM": "xterm", "CI": "true"}), PlainView)
        assert isinstance(view_for(asked, "r", stream, {"TERM": "dumb"}), PlainView)
    with piped() as (stream, _):
        assert isinstance(view_for(asked, "r", stream, {"TERM": "xterm"}), PlainView)


def test_without_a_descriptor_there_is_silence() -> None:
    """A closed or missing stdout, or one that is no file, gets a view that shows nothing and raises nothing."""
    asked = sample("broken").experiment
    closed = io.StringIO()
    closed.close()
    with piped() as (stream, _):
        pass
    for stream_or_none in (None, io.StringIO(), closed, stream):
        with view_for(asked, "r", stream_or_none, {}) as view:
            play(view, "broken", until_s=3)
        assert isinstance(view, SilentView)
