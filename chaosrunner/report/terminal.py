"""The end of a run on a terminal: the answer, what it rests on, and the exit code; in colour only where colour is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.hypothesis import Stat
from chaosrunner.model.verdict import FaultReport, Outcome, Return, Verdict
from chaosrunner.report import composites, words
from chaosrunner.report.beside import counted
from chaosrunner.report.columns import STYLES, Say, table_lines
from chaosrunner.report.prose import (
    as_before,
    cost,
    explain_errors,
    failures,
    lost,
    recovered,
    recovery_label,
    restored,
    trusted,
)
from chaosrunner.report.table import Row, others, rows

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

TITLE_STYLES = {
    "HELD": "bold green",
    "BROKEN": "bold red",
    "UNKNOWN": "bold yellow",
    "INTERRUPTED": "bold yellow",
    "NOT RESTORED": "bold white on red",
    "INTERNAL ERROR": "bold white on red",
}


def final(verdict: Verdict, experiment: Experiment, *, evidence: str = "", repair: str = "") -> Final:
    """The end of a run as a rich renderable; plain ASCII where the console's encoding is not a UTF.

    Args:
        verdict: the answer.
        experiment: what was asked.
        evidence: where the report is, as the user should type it.
        repair: the one command that repairs, when something may not have been restored.
    """
    return Final(verdict, experiment, evidence=evidence, repair=repair)


class Final:
    """A renderable that fits itself to the console it is printed on."""

    def __init__(self, verdict: Verdict, experiment: Experiment, *, evidence: str, repair: str) -> None:
        self.verdict, self.experiment, self.evidence, self.repair = verdict, experiment, evidence, repair

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Head, body in two columns, and the exit code."""
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        say: Say = words.ascii_only if options.ascii_only else words.printable
        word = words.title(self.verdict)
        yield Text.assemble((word, TITLE_STYLES[word]), "  ", say(self.verdict.question))
        yield Text(say(words.subtitle(self.verdict)), style="dim")
        yield Text()
        grid = Table.grid(padding=(0, 2, 0, 0))
        labels = [row.label for row in rows(self.verdict, self.experiment)]
        width = min(18 if options.max_width >= 100 else 11, max([11, *(len(label) for label in labels)]))
        grid.add_column(width=width, overflow="fold")
        grid.add_column(overflow="fold")
        for label, content in self._body(say, options.max_width - width - 6):
            grid.add_row(words.broken(say(label), width), content)
        yield Padding(grid, (0, 0, 0, 2))
        ending = f"exit {int(self.verdict.exit)}: {say(self.verdict.headline)}"
        yield Text(ending, style=TITLE_STYLES[word] if word != "HELD" else "green")

    def _body(self, say: Say, width: int) -> Iterator[tuple[str, Text]]:
        verdict = self.verdict
        yield from _labelled("faults", _faults(verdict.faults, say, width))
        yield from self._table(say, width)
        yield from self._others(say)
        yield from _labelled("failed", [_styled(say(line)) for line in failures(verdict)])
        yield recovery_label(verdict.recovery), _styled(say(recovered(verdict.recovery)), _recovery_style(verdict))
        yield from _labelled("", [_styled(say(line)) for line in filter(None, [as_before(verdict.recovery)])])
        yield "users lost", _styled(say(lost(verdict.recovery)))
        yield from _labelled("impact", [_styled(say(line)) for line in filter(None, [cost(verdict.recovery)])])
        yield from _labelled("counted", [_styled(say(line)) for line in counted(verdict)])
        yield "restored", _styled(say(restored(verdict)), "" if verdict.restored else "bold red")
        if self.repair and not verdict.restored:
            yield "repair", _styled(say(self.repair), "bold")
        yield from _labelled("trust", [_styled(say(line)) for line in trusted(verdict.trust)])
        if self.evidence:
            yield "evidence", _styled(say(self.evidence))

    def _table(self, say: Say, width: int) -> Iterator[tuple[str, Text]]:
        yield from table_lines(rows(self.verdict, self.experiment), width, say, self._below)

    def _below(self, row: Row) -> list[str]:
        """What explains a row that did not hold."""
        lines = []
        for phase, word in words.PHASE_WORDS.items():
            cell = row.cell(phase)
            if not cell.asked or cell.outcome is Outcome.HELD:
                continue
            if cell.why:
                lines.append(f"{word}: {cell.why}")
            if row.metric.stat is Stat.ERRORS and phase is Phase.FAULT:
                lines.append(explain_errors(self.verdict, phase, row.metric.of))
        return [line for line in lines if line]

    def _others(self, say: Say) -> Iterator[tuple[str, Text]]:
        """Findings that are neither in the table nor said by the recovery line."""
        for finding in others(self.verdict, self.experiment):
            if finding.outcome is Outcome.HELD or finding.name.startswith("recover"):
                continue
            text = f"{finding.name}: {finding.observed}" + (
                f" ({finding.why})" if finding.why not in ("", finding.observed) else ""
            )
            yield words.judged(finding.outcome), _styled(say(text), STYLES[finding.outcome])


def _faults(faults: tuple[FaultReport, ...], say: Say, width: int) -> list[Text]:
    """One line a fault or composite where it fits with its proof, else two."""
    grouped = composites.together(faults)
    told = [tuple(say(part) for part in composites.lines(members)) for members in grouped]
    column = max((len(what) for what, _ in told), default=0)
    wide = all(column + 2 + len(proof) <= width for _, proof in told)
    lines = []
    for (what, proof), members in zip(told, grouped, strict=True):
        style = {True: "", None: "yellow", False: "bold red"}[composites.well(members)]
        if wide:
            lines.append(_styled(f"{what:<{column}}  {proof}", style))
        else:
            lines += [_styled(what, style), _styled(f"  {proof}", style or "dim")]
    return lines or [_styled("none")]


def _labelled(label: str, lines: list[Text]) -> Iterator[tuple[str, Text]]:
    for number, line in enumerate(lines):
        yield (label if number == 0 else ""), line


def _recovery_style(verdict: Verdict) -> str:
    seen = verdict.recovery
    if seen.state == "recovered" and seen.verdict in (Return.NOT_RECOVERED, Return.RELAPSED):
        return "yellow"
    return {"late": "red", "never": "bold red", "unknown": "yellow"}.get(seen.state, "")


def _styled(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style)
