"""`chaosrunner report`: the reports of a journal, written again."""

from __future__ import annotations

from pathlib import Path

import click

from chaosrunner.cli.results import tell
from chaosrunner.errors import Exit


@click.command("report")
@click.argument("run_dir", metavar="JOURNAL", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help="Another directory than the run's own.")
def command(run_dir: Path, to: Path | None) -> int:
    """Write report.html, verdict.json, junit.xml, summary.md and latency.hlog of JOURNAL (a run directory)."""
    from chaosrunner.cli.rejudge import rejudge
    from chaosrunner.report.write import write_all

    found = rejudge(run_dir)
    target = to or run_dir
    target.mkdir(parents=True, exist_ok=True)
    for path in write_all(target, found.verdict, found.experiment, found.state, found.entries).values():
        tell(path)
    return Exit.HELD
