"""`chaosrunner hand`: obey one order of a runner on another host; ssh calls it, people do not."""

from __future__ import annotations

import json
import sys

import click

from chaosrunner.errors import Exit


@click.command("hand")
def command() -> int:
    """Obey one order of a runner on another host, read from standard input; its ssh calls this."""
    from chaosrunner.world.hand import obey

    print(json.dumps(obey(sys.stdin.buffer.read())), flush=True)
    return Exit.HELD
