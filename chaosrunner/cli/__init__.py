"""Arguments → real world → run → exit code. The composition root: one short file a verb, imported when it is called.

`chaosrunner --help` imports click and nothing else of weight; a test holds it to 0.3 s of CPU.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import click

from chaosrunner import __version__
from chaosrunner.errors import ChaosrunnerError, Exit

VERBS = {
    "run": "Play an experiment and judge it.",
    "plan": "Show what would be hit, for how long, under which load, and the way back. Touches nothing.",
    "search": "Find where an experiment stops holding: over load, over a fault's dose.",
    "matrix": "Play every fault at several loads, and score what users keep.",
    "compare": "Compare several runs of two versions.",
    "judge": "Judge a journal again.",
    "report": "Write the reports of a journal again.",
    "abort": "Give up runs that are under way, now, and put everything back.",
    "recover": "Undo what a dead run left behind.",
    "watchdog": "Guard all runs of a state directory from outside.",
    "validate": "Check experiment and system files. Touches nothing.",
    "schema": "Print the JSON Schema that editors use.",
    "faults": "List every fault: parameters, needs, and whether it can run here.",
    "doctor": "Check what this host can do.",
    "demo": "Start the bundled system and run an experiment on it.",
    "import": "Turn a browser's recording into an experiment to start from.",
    "hand": "Obey one order of a runner on another host; its ssh calls it.",
    "proxy": "Run the embedded fault proxy (Toxiproxy's HTTP API).",
}

MODULES = {"import": "imports"}
"""Verbs whose module cannot bear their name."""


class Verbs(click.Group):
    """A group that knows its verbs by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the manual."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"chaosrunner.cli.{MODULES.get(cmd_name, cmd_name)}")
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


def _remember(ctx: click.Context, option: click.Parameter, value: object) -> object:
    """Take an option in before the verb is looked up: its mistakes are diagnostics, too."""
    from chaosrunner.cli.diagnostics import set_up

    set_up(**{str(option.name): value})
    return value


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chaosrunner")
@click.option(
    "--log-format",
    type=click.Choice(["human", "json"]),
    default="human",
    is_eager=True,
    callback=_remember,
    help="Diagnostics on stderr: for people, or a JSON object a line.",
)
@click.option("-v", "--verbose", is_flag=True, callback=_remember, help="Log every step of a run on stderr.")
def cli(log_format: str, verbose: bool) -> None:
    """Break a system on purpose, under load, and measure how fast it heals.

    Exit codes: 0 held, 1 broken, 2 wrong command or file (nothing touched), 3 unknown,
    4 a fault may still be in place, 70 internal error (restored), 130 interrupted (restored).
    """


def main(args: list[str] | None = None) -> None:
    """The console script: every way out ends in a published exit code."""
    from chaosrunner.cli.interrupts import like_ctrl_c

    _open_all_three()
    like_ctrl_c()
    code = _code(args)
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _silence_stdout()
    sys.exit(code)


def _code(args: list[str] | None) -> int:
    from chaosrunner.cli.diagnostics import as_json, complain

    try:
        code = cli.main(args=args, prog_name="chaosrunner", standalone_mode=False)
    except click.ClickException as error:
        if as_json():
            complain(click.ClickException(error.format_message()), code=Exit.MISTAKE)
        else:
            error.show()
        return Exit.MISTAKE
    except (click.Abort, KeyboardInterrupt):
        complain(click.Abort("interrupted; nothing is left in place"), code=Exit.INTERRUPTED)
        return Exit.INTERRUPTED
    except ChaosrunnerError as error:
        complain(error, advice=error.advice, code=error.exit_code)
        return error.exit_code
    except (BrokenPipeError, SystemExit):
        # Only verbs that do nothing but print get here: their reader has seen enough. The exit of click and rich
        # would be 1, which says BROKEN.
        _silence_stdout()
        return Exit.HELD
    except Exception as error:
        # Whoever harms has put it back, or raised NotRestored, before anything gets here.
        import traceback

        what = click.ClickException(f"internal error, nothing is left in place: {type(error).__name__}: {error}")
        complain(what, advice="".join(traceback.format_exception(error)).rstrip(), code=Exit.INTERNAL)
        return Exit.INTERNAL
    return code if isinstance(code, int) else Exit.HELD


def _open_all_three() -> None:
    """Without stdin, stdout or stderr, a journal could become descriptor 1 and be printed on by whoever prints."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - as long as the program
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115


def _silence_stdout() -> None:
    """What Python still holds for a reader who is gone goes nowhere: its complaint would replace the exit code."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
