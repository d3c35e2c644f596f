"""`chaosrunner faults`: every installed injector, what it takes, and whether it can run here."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass

import click

from chaosrunner.errors import Exit, Unavailable

if typing.TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosrunner.model.fault import Injector


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a fault."""

    name: str
    kind: str
    """`duration`, `share`, `text` … or the values it may have."""
    default: str | None
    """As a file would write it; None = it must be given."""
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault."""

    name: str
    about: str
    parameters: tuple[Parameter, ...] = ()
    needs: tuple[str, ...] = ()
    """What the target must say in the system file; empty = there is no target."""
    reversible: bool = True
    guard: str = "runner"
    """`target` ends the fault by itself; `runner`: only runner or watchdog on this host do."""
    why_not: str = ""
    """Why it cannot run here; empty = it can."""


def faults() -> list[Row]:
    """Every installed injector by name; a broken one is a row that says what is wrong with it."""
    from chaosrunner.world.injectors import load, names

    rows = []
    for name in names():
        try:
            rows.append(describe(load(name)))
        except Unavailable as broken:
            rows.append(Row(name=name, about="", why_not=str(broken)))
    return rows


def describe(injector: Injector) -> Row:
    """An injector as a row."""
    from chaosrunner.cli.compose import why_not

    return Row(
        name=injector.name,
        about=injector.about,
        parameters=tuple(sorted(_parameters(injector.Params), key=lambda one: one.default is not None)),
        needs=injector.needs,
        reversible=injector.reversible,
        guard=injector.guard,
        why_not=why_not(injector),
    )


def written(value: object) -> str:
    """A default as people write it, where its type says no more."""
    match value:
        case bool():
            return "true" if value else "false"
        case None | "":
            return "none"
        case _:
            return str(value)


def _parameters(params: type) -> typing.Iterator[Parameter]:
    from chaosrunner.model import units
    from chaosrunner.world.injectors import word

    hints = typing.get_type_hints(params)
    in_units: dict[object, typing.Callable[[typing.Any], str]] = {
        units.Seconds: lambda seconds: units.human_duration(seconds) if seconds else "0s",
        units.Share: lambda share: f"{share * 100:g}%",
    }
    for item in dataclasses.fields(params):
        hint = hints[item.name]
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        yield Parameter(
            name=item.name,
            kind=word(hint) or str(hint),
            default=None if required else in_units.get(hint, written)(item.default),
            help=str(item.metadata.get("help", "")),
        )


@click.command("faults")
@click.option("--json", "as_json", is_flag=True, help="Rows as JSON.")
def command(as_json: bool) -> int:
    """List every fault: parameters, needs, and whether it can run here."""
    rows = faults()
    if as_json:
        import json

        click.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        _print(rows)
    return Exit.HELD


def _print(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for row in rows:
        here = Text("can run here", "green") if not row.why_not else Text(f"cannot run here: {row.why_not}", "red")
        console.print(Text.assemble((row.name, "bold"), "  ", here))
        if row.about:
            console.print(Padding(Text(row.about), (0, 0, 0, 2)))
            console.print(Padding(Text(_terms(row), "dim"), (0, 0, 0, 2)))
        for one in row.parameters:
            default = "required" if one.default is None else f"default {one.default}"
            console.print(Padding(Text.assemble((one.name, "bold"), f": {one.kind}, {default}"), (0, 0, 0, 4)))
            console.print(Padding(Text(one.help), (0, 0, 0, 6)))
        console.print()


def _terms(row: Row) -> str:
    needs = f"target needs {' and '.join(row.needs)}" if row.needs else "no target"
    if not row.reversible:
        return f"{needs}; has no undo"
    return f"{needs}; {'ends by itself at the target' if row.guard == 'target' else 'ended by runner or watchdog'}"
