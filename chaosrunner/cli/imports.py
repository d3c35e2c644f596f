"""`chaosrunner import`: what others recorded, as an experiment to start from."""

from __future__ import annotations

from pathlib import Path

import click

from chaosrunner.cli.results import tell
from chaosrunner.errors import Exit, Mistake, Mistakes


@click.group("import")
def command() -> None:
    """Turn what others recorded into an experiment to start from."""


@command.command("har")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--origin", metavar="URL", default="", help="Whom to load; the first request's origin unless said.")
@click.option(
    "--assets", is_flag=True, help="Also styles, scripts, images and fonts, which a browser loads to show a page."
)
@click.option("--system", metavar="NAME", default="recorded", help="Name of the system file.", show_default=True)
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Write FOLDER/NAME.yaml and FOLDER/systems/SYSTEM.yaml instead of printing the experiment.",
)
def har(file: Path, origin: str, assets: bool, system: str, out: Path | None) -> int:
    """Print the experiment of a browser's recording, FILE.

    Ids, tokens and cookies that an earlier reply gave are taken from the reply; secrets that came from elsewhere
    become environment variables, and their values are written nowhere. What to fill in is said on stderr.
    """
    from chaosrunner.logic.har import Wishes, import_har
    from chaosrunner.logic.parse.spelling import ReadingError

    wishes = Wishes(name=file.name, origin=origin, assets=assets, system=system)
    try:
        imported = import_har(file.read_text(encoding="utf-8"), wishes)
    except OSError as error:
        raise Mistakes([Mistake(str(file), 0, 0, f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise Mistakes([Mistake(str(file), 0, 0, "cannot be read: it is no UTF-8 text")]) from None
    except ReadingError as bad:
        raise Mistakes([Mistake(str(file), 0, 0, str(bad))]) from None
    for remark in imported.remarks:
        click.echo(remark, err=True)
    if out is None:
        click.echo(f"systems/{system}.yaml needs: {imported.system.strip()}", err=True)
        tell(imported.experiment.rstrip())
        return Exit.HELD
    _write(out / f"{file.stem}.yaml", imported.experiment)
    _write(out / "systems" / f"{system}.yaml", imported.system)
    return Exit.HELD


def _write(path: Path, text: str) -> None:
    """A new file; what is there already is somebody's work. Raises Mistakes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Mistakes([Mistake(str(path), 0, 0, f"cannot be written: {error.strerror}")]) from None
    tell(path)
