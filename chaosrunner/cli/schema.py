"""`chaosrunner schema`: the JSON Schema that editors use, with every fault that is installed."""

from __future__ import annotations

import json

import click

WHICH = ("experiment", "system")


def schema(which: str) -> str:
    """The schema of `experiment` or `system` files as JSON text, with the faults installed here.

    Raises:
        InjectorError: an installed injector cannot be loaded.
    """
    from chaosrunner.logic.parse.schema import experiment_schema, system_schema
    from chaosrunner.world.injectors import load, names

    found = system_schema() if which == "system" else experiment_schema(map(load, names()))
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


@click.command("schema")
@click.argument("which", type=click.Choice(WHICH), default="experiment")
def command(which: str) -> None:
    """Print the JSON Schema of experiment (default) or system files."""
    click.echo(schema(which), nl=False)
