"""Arguments → real world → run → exit code. The composition root: one short file a verb, imported when it is called.

`chaosrunner --help` imports click and nothing else of weight; a test holds it to 0.3 s of CPU.
"""

from __future__ import annotations

import importlib
import sys

import click

from chaosrunner import __version__
from chaosrunner.errors import ChaosrunnerError, Exit, Mistakes

VERBS = {
    "run": "Play an experiment and judge it.",
    "plan": "Show what would be hit, for how long, under which load, and the way back. Touches nothing.",
    "judge": "Judge a journal again.",
    "report": "Write the reports of a journal again.",
    "recover": "Undo what a dead run left behind.",
    "watchdog": "Guard all runs of a state directory from outside.",
    "validate": "Check experiment and system files. Touches nothing.",
    "schema": "Print the JSON Schema that editors use.",
    "faults": "List every fault: parameters, needs, and whether it can run here.",
    "doctor": "Check what this host can do.",
    "demo": "Start the bundled system and run an experiment on it.",
    "proxy": "Run the embedded fault proxy (Toxiproxy's HTTP API).",
}


class Verbs(click.Group):
    """A group that knows its verbs by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the manual."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"chaosrunner.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown verb is answered with the nearest spelling."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; expected one of {', '.join(VERBS)}"
            raise click.UsageError(f"'{args[0]}' is no command{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chaosrunner")
@click.option("--log-format", type=click.Choice(["human", "json"]), default="human", help="Diagnostics on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="Diagnostics of every step.")
def cli(log_format: str, verbose: bool) -> None:
    """Break a system on purpose, under load, and measure how fast it heals.

    Exit codes: 0 held, 1 broken, 2 wrong command or file (nothing touched), 3 unknown,
    4 a fault may still be in place, 70 internal error (restored), 130 interrupted (restored).
    """
    from chaosrunner.cli.diagnostics import set_up

    set_up(log_format, verbose=verbose)


def main(args: list[str] | None = None) -> None:
    """The console script: every way out ends in a published exit code."""
    try:
        code = cli.main(args=args, prog_name="chaosrunner", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else Exit.HELD)
    except click.ClickException as error:
        error.show()
        sys.exit(Exit.MISTAKE)
    except click.Abort:
        sys.exit(Exit.INTERRUPTED)
    except Mistakes as error:
        click.echo(str(error), err=True)
        count = len(error.mistakes)
        click.echo(f"{count} mistake{'s' if count != 1 else ''}, nothing was touched (exit 2)", err=True)
        sys.exit(Exit.MISTAKE)
    except ChaosrunnerError as error:
        click.echo(f"chaosrunner: {error}", err=True)
        if error.advice:
            click.echo(error.advice, err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader went away. Nothing is left in place: verbs that harm finish their undo before they print.
        sys.stderr.close()
        sys.exit(Exit.INTERNAL)
