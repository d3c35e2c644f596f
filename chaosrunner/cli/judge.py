"""`chaosrunner judge`: the verdict of a journal, computed again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command("judge")
@click.argument("run_dir", metavar="JOURNAL", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def command(run_dir: Path, as_json: bool) -> int:
    """Judge JOURNAL (a run directory) again, and exit by its verdict. Touches nothing."""
    from chaosrunner.cli.rejudge import rejudge
    from chaosrunner.report.console import show
    from chaosrunner.report.json import verdict_json
    from chaosrunner.report.terminal import final

    found = rejudge(run_dir)
    if found.skipped:
        click.echo(f"chaosrunner: {found.skipped} damaged parts of the journal were skipped", err=True)
    if as_json:
        click.echo(json.dumps(verdict_json(found.verdict, found.experiment, found.state), indent=2, ensure_ascii=False))
    else:
        show(final(found.verdict, found.experiment), sys.stdout)
    return found.verdict.exit
