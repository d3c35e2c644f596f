"""The screenful of a live run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chaosrunner.logic.fault_state import FaultStatus
from chaosrunner.model.units import human_duration
from chaosrunner.report import words
from chaosrunner.report.columns import Say, table_lines
from chaosrunner.report.composites import together
from chaosrunner.report.live import fault_line
from chaosrunner.report.pulse import FaultPulse, Pulse


def picture(head: str, pulse: Pulse, *, width: int, ascii_only: bool) -> RenderableType:
    """The screenful.

    Args:
        head: the question and where it is asked, two lines.
        pulse: the moment to show.
        width: cells of a line.
        ascii_only: spell everything in ASCII.
    """
    say: Say = words.ascii_only if ascii_only else words.printable
    question, where = head.split("\n")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=11, overflow="fold")
    grid.add_column(overflow="fold")
    for row in _body(pulse, say, width - 15):
        grid.add_row(*row)
    return Group(Text(say(question), style="bold"), Text(say(where), style="dim"), Text(), Padding(grid, (0, 0, 0, 2)))


def _body(pulse: Pulse, say: Say, width: int) -> list[tuple[str, RenderableType]]:
    lines: list[tuple[str, RenderableType]] = [
        (str(pulse.phase or "starting"), _progress(pulse, say)),
        ("traffic", Text(say(_traffic(pulse)))),
    ]
    for number, members in enumerate(together(pulse.faults)):
        style = "bold yellow" if any(fault.standing for fault in members) else "dim"
        lines.append(("faults" if not number else "", Text(say(_fault(members)), style=style)))
    lines += [(say(label), line) for label, line in table_lines(list(pulse.rows), width, say, lambda row: [])]
    if pulse.why:
        lines.append(("ending", Text(say(pulse.why), style="yellow")))
    return lines


def _fault(members: Sequence[FaultPulse]) -> str:
    """A fault where it stands; of a composite how far it has come, and the one that was begun last."""
    group = members[0].group
    begun = [fault for fault in members if fault.status is not FaultStatus.PLANNED]
    if group is None or not begun:
        return f"{group.title if group else members[0].title}  {fault_line(members[0])}"
    return f"{group.title}  {len(begun)} of {len(members)}: {fault_line(begun[-1])}"


def _progress(pulse: Pulse, say: Say) -> RenderableType:
    line = Table.grid(padding=(0, 2, 0, 0))
    clock = f"{max(0.0, pulse.clock_s):.0f} s"
    left = f"at most {human_duration(round(pulse.left_at_most_s))} left"
    line.add_row(Text(clock), ProgressBar(total=1.0, completed=pulse.done, width=30), Text(say(left), style="dim"))
    return line


def _traffic(pulse: Pulse) -> str:
    rate = words.NOTHING if pulse.per_second is None else f"{pulse.per_second:,.0f}"
    p95, errors = words.seconds(pulse.p95_s), words.share(pulse.errors)
    return f"{rate} requests/s · p95 {p95} · errors {errors} · {pulse.open:,} open"
