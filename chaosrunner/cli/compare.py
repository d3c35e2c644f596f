"""`chaosrunner compare`: several runs of two versions; what differs, and what may be said of it."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosrunner.errors import Exit, Mistake, Mistakes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosrunner.logic.search.figures import Figures
    from chaosrunner.logic.search.versus import Difference, Groups
    from chaosrunner.report.search import Telling

FOLDER = click.Path(path_type=Path)


@click.command("compare")
@click.argument("one", metavar="DIR_A", type=FOLDER)
@click.argument("other", metavar="DIR_B", type=FOLDER)
@click.option("--noise", type=FOLDER, help="A/A runs (`run --repeat N --control`) that say what noise is.")
@click.option("--margin", default="10%", show_default=True, help="A difference within this is none.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def command(one: Path, other: Path, noise: Path | None, margin: str, as_json: bool) -> int:
    """Compare the runs in DIR_A (before) with those in DIR_B (after): directories that `run --repeat` made.

    Exit codes: 0 every metric is the same within the margin or better, 1 one is worse, 3 it cannot be told.
    """
    from chaosrunner.logic.parse.scalars import share
    from chaosrunner.logic.parse.spelling import ReadingError
    from chaosrunner.logic.search.versus import Groups, differences, too_few, unlike
    from chaosrunner.report.search import plain, show_telling

    try:
        allowed = share(margin)
    except ReadingError as error:
        raise Mistakes([Mistake("--margin", 0, 0, str(error))]) from None
    groups = Groups(
        one=tuple(runs_in(one)),
        other=tuple(runs_in(other)),
        noise=tuple(runs_in(noise) if noise else ()),
        margin=allowed,
    )
    if why := unlike(groups):
        raise Mistakes([Mistake("compare", 0, 0, why)])
    found, few = differences(groups), too_few(groups)
    told = _telling(groups, found, few, (one, other))
    if as_json:
        data = {"schema": "chaosrunner/compare/v1", "exit": int(told.exit), "headline": told.headline}
        data |= {"metrics": plain(found), "runs": plain({"a": groups.one, "b": groups.other})}
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        show_telling(told, sys.stdout)
    return told.exit


def runs_in(folder: Path) -> list[Figures]:
    """The figures of every run in a directory, in the order of their names. Raises Mistakes when there is none."""
    from chaosrunner.logic.search.figures import figures_of

    found = []
    for file in sorted(folder.glob("*/verdict.json")):
        try:
            found.append(figures_of(json.loads(file.read_text())))
        except (OSError, ValueError) as error:
            raise Mistakes([Mistake(str(file), 0, 0, f"cannot be compared: {error}")]) from None
    if not found:
        why = "no run is here; expected a directory of runs, such as `run --repeat 5` makes"
        raise Mistakes([Mistake(str(folder), 0, 0, why)])
    return found


def texts_in(folder: Path) -> set[str]:
    """The texts that the runs in a directory were played from; of a journal that cannot be read, none."""
    found = set()
    for file in folder.glob("*/events.jsonl"):
        with suppress(OSError, ValueError, LookupError), file.open() as lines:
            found.add(str(json.loads(lines.readline())["event"]["source"]))
    return found


def _telling(groups: Groups, found: Sequence[Difference], few: str, folders: tuple[Path, Path]) -> Telling:
    from chaosrunner.cli.repeats import recovered
    from chaosrunner.logic.search.versus import Claim
    from chaosrunner.report.search import Telling

    worse = [one.metric for one in found if one.claim is Claim.WORSE]
    unclear = [one.metric for one in found if one.claim is Claim.UNCLEAR]
    code = Exit.BROKEN if worse else Exit.UNKNOWN if unclear or few else Exit.HELD
    headline = {
        Exit.BROKEN: f"worse: {', '.join(worse)}",
        Exit.UNKNOWN: few or f"cannot be told: {', '.join(unclear)}",
        Exit.HELD: "nothing is worse",
    }[code]
    facts = [("A recovered", recovered(groups.one)), ("B recovered", recovered(groups.other))]
    facts += [(one.metric, said(one)) for one in found]
    if texts_in(folders[0]) != texts_in(folders[1]):
        facts.append(("beware", "A and B were played from different texts: what differs may be the experiment"))
    left_out = [run.run for run in (*groups.one, *groups.other) if not run.usable]
    if left_out:
        facts.append(("not counted", f"UNKNOWN: {', '.join(left_out)}"))
    return Telling(
        word={Exit.BROKEN: "WORSE", Exit.HELD: "NOT WORSE"}.get(code, "UNKNOWN"),
        question=groups.one[0].question,
        where=f"A {folders[0]} ({len(groups.one)} runs), B {folders[1]} ({len(groups.other)} runs)",
        facts=tuple(facts),
        exit=code,
        headline=headline,
    )


def said(one: Difference) -> str:
    """`WORSE  +12 % (8 % to 17 %), p = 0.012, noise ±3 %`."""
    from chaosrunner.logic.search.versus import RATIOS

    if one.shift is None:
        return f"{one.claim}  {one.why}"

    def amount(value: float) -> str:
        value = round(value, 9) + 0.0
        return f"{value * 100:+.3g} %" if one.metric in RATIOS or one.metric == "errors" else f"{value:+.3g} s"

    text = f"{one.claim}  {amount(one.shift)}"
    if one.low is not None and one.high is not None:
        text += f" ({amount(one.low)} to {amount(one.high)})"
    if one.p is not None:
        text += f", p = {one.p:.2g}"
    if one.floor is not None:
        text += f", noise {amount(abs(one.floor)).replace('+', '±')}"
    return text + (f"; {one.why}" if one.why else "")
