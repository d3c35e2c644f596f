"""The end of a run on a terminal."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from samples import SCENARIOS, hostile, sample

from chaosrunner.errors import Exit
from chaosrunner.model.experiment import Phase
from chaosrunner.report.console import show
from chaosrunner.report.table import rows, stats_of
from chaosrunner.report.terminal import final


class Stream(io.StringIO):
    """A text stream that says which encoding it has."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def shown(scenario: str, width: int = 100, encoding: str = "utf-8", **more: str) -> str:
    out = Stream(encoding)
    one = sample(scenario)
    console = Console(file=out, width=width, highlight=False)
    console.print(final(one.verdict, one.experiment, **more))
    return out.getvalue()


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_it_fits_the_terminal_and_ends_with_the_exit_code(scenario: str, width: int) -> None:
    """No line is wider than the terminal, and the last thing said is the exit code and why."""
    text = shown(scenario, width)
    verdict = sample(scenario).verdict
    assert max(len(line) for line in text.splitlines()) <= width
    assert f"exit {int(verdict.exit)}: {verdict.headline}" in " ".join(text.split())


def test_the_table_says_what_was_seen_and_what_was_allowed() -> None:
    """Baseline, observed value, outcome and bound of a broken tolerance stand on one line."""
    [line] = [line for line in shown("broken").splitlines() if line.startswith("  errors  ")]
    during = stats_of(sample("broken").verdict, Phase.FAULT)
    assert during is not None
    assert f"{during.errors / during.hits * 100:.1f} %" in line
    assert re.search(r"0\.067 %\s+10\.9 %\s+BROKEN\s+<2 %\s+0\.083 %\s+ok\s+<1 %", line)


def test_the_explanation_adds_up() -> None:
    """The failures named under a broken row are all failures of the phase."""
    during = stats_of(sample("broken").verdict, Phase.FAULT)
    found = re.search(r"└ (\d+) refused, (\d+) timed out", shown("broken"))
    assert found is not None
    assert during is not None
    assert sum(map(int, found.groups())) == during.errors


def test_recovery_is_given_with_bounds_from_both_ends() -> None:
    """The time to recover stands with its bounds, counted from the last fault and from the first injection."""
    text = " ".join(shown("broken").split())
    assert "2.95 s (2.90–3.00) after the last fault, 15 s after the first injection · target 20 s" in text
    assert "NEVER: watched for 30 s" in shown("never")
    assert "no tolerance of 'after' was violated" in shown("control")


def test_what_may_be_left_is_loud_and_comes_with_its_repair() -> None:
    """A verdict that is not restored names the fault and the one command that repairs."""
    text = shown("not restored", repair="chaosrunner recover runs/7f3a")
    assert text.startswith("NOT RESTORED")
    assert "may still be in place: proxy.latency on database" in text
    assert "chaosrunner recover runs/7f3a" in text
    assert "chaosrunner recover" not in shown("broken", repair="chaosrunner recover runs/7f3a")


def test_a_terminal_without_unicode_gets_ascii() -> None:
    """Everything is spelled in ASCII where the stream's encoding is not a UTF, and nothing is lost."""
    text = shown("broken", encoding="ascii")
    assert text.isascii()
    assert "<=69.3 ms" in text


def test_a_hostile_text_cannot_drive_the_terminal() -> None:
    """Escape sequences in names and questions arrive as harmless characters."""
    one = hostile("\x1b[2J\x07evil\nline")
    out = Stream("utf-8")
    Console(file=out, width=100, highlight=False).print(final(one.verdict, one.experiment))
    assert "\x1b" not in out.getvalue()
    assert "\x07" not in out.getvalue()


def test_colour_is_for_terminals_only() -> None:
    """A console on a pipe writes no escape sequence."""
    out = Stream("utf-8")
    one = sample("broken")
    assert show(final(one.verdict, one.experiment), out)
    assert "\x1b" not in out.getvalue()


def test_a_gone_reader_changes_no_exit_code(tmp_path: Path) -> None:
    """With the pipe closed, printing says so by its result, and the process still ends by its own exit code."""
    script = tmp_path / "ends.py"
    script.write_text(
        "import sys\n"
        "from chaosrunner.report.console import show\n"
        "sys.stdin.readline()\n"
        "sys.exit(1 if show('x' * 100_000, sys.stdout) else 3)\n"
    )
    child = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    child.stdin.write("go\n")
    child.stdin.close()
    assert child.wait(30) == 3
    assert child.stderr.read() == ""
    child.stderr.close()


def test_a_closed_stream_is_no_error() -> None:
    """A stream that was closed, or that never was, takes nothing and raises nothing."""
    out = Stream("utf-8")
    out.close()
    assert not show("text", out)
    assert not show("text", None)


def test_a_tolerance_without_a_finding_is_not_judged() -> None:
    """A finding that is missing from the verdict shows as `not judged`, never as ok."""
    one = sample("held")
    verdict = replace(one.verdict, findings=(), exit=Exit.UNKNOWN)
    out = Stream("utf-8")
    Console(file=out, width=120, highlight=False).print(final(verdict, one.experiment))
    assert "not judged" in out.getvalue()
    assert " ok " not in out.getvalue()


def test_every_tolerance_has_its_cell() -> None:
    """Each tolerance of the hypothesis is found in exactly one cell of the table."""
    one = sample("broken")
    asked = one.experiment.hypothesis
    cells = [row.cell(phase) for row in rows(one.verdict, one.experiment) for phase in Phase]
    assert sum(cell.asked for cell in cells) == len(asked.before) + len(asked.during) + len(asked.after)


def test_two_bounds_on_one_metric_get_a_row_each() -> None:
    """A second tolerance on the same metric and phase does not hide the first."""
    one = sample("broken")
    during = one.experiment.hypothesis.during
    third = replace(during[1], text="errors < 3%", value=0.03)
    hypothesis = replace(one.experiment.hypothesis, during=(*during, third))
    twice = replace(one.experiment, hypothesis=hypothesis)
    bounds = [row.cell(Phase.FAULT).bound for row in rows(one.verdict, twice) if row.label == "errors"]
    assert bounds == ["<2 %", "<3 %"]
