"""`chaosrunner proxy`: the embedded fault proxy, a process of its own that dies last."""

from __future__ import annotations

import click


@click.command("proxy", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(args: tuple[str, ...]) -> int:
    """Run the embedded fault proxy (Toxiproxy's HTTP API v2 on 127.0.0.1:8474)."""
    from chaosrunner.cli.diagnostics import configure
    from chaosrunner.proxy import main

    configure()
    return main(args)
