"""What outlives a run: which systems have runs under way, and who claims what. One directory a user, 0700.

`systems/<system>/<run>` is a file that names a run directory; it goes when the run has ended without a debt.
`reserved/<run>.run` is locked while a run lives and says what it is going to have under faults.
`claims/<sha256>.lock` is locked while a fault on that resource is prepared, in effect or being undone.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from chaosrunner.errors import ChaosrunnerError
from chaosrunner.world.lock import held

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from chaosrunner.world.journal import Journal


RESERVED = "reserved"


@dataclass(frozen=True, slots=True)
class Registered:
    """A run that has begun on a system and has not been signed off."""

    system: str
    run: str
    run_dir: Path


@dataclass(frozen=True, slots=True)
class StateHome:
    """The state directory."""

    path: Path

    @classmethod
    def find(cls, environ: Mapping[str, str] | None = None) -> StateHome:
        """`$CHAOSRUNNER_STATE`, else `$XDG_STATE_HOME/chaosrunner`, else `~/.local/state/chaosrunner`."""
        env = os.environ if environ is None else environ
        if own := env.get("CHAOSRUNNER_STATE"):
            return cls(Path(own).absolute())
        if xdg := env.get("XDG_STATE_HOME"):
            return cls(Path(xdg).absolute() / "chaosrunner")
        home = Path(env["HOME"]) if env.get("HOME") else Path.home()
        return cls(home.absolute() / ".local/state/chaosrunner")

    def folder(self, name: str) -> Path:
        """A folder of it, made when it is not there.

        Raises:
            ChaosrunnerError: it cannot be made.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = self.path / name
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ChaosrunnerError(
                f"the state directory {self.path} cannot be used: {error.strerror}",
                advice="Set CHAOSRUNNER_STATE to a directory that can be written.",
            ) from error
        return folder

    def sign_on(self, run: Registered) -> None:
        """Write down that a run has begun, so that its debts can be found should all of it die."""
        path = self._file(run)
        # Renamed into place: whoever looks sees a whole path or nothing.
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(f"{run.run_dir.absolute()}\n")
        fresh.rename(path)

    def sign_off(self, run: Registered) -> None:
        """Forget a run that owes nothing."""
        path = self._file(run)
        path.unlink(missing_ok=True)
        reserved = self.path / RESERVED / f"{run.run}.run"
        if not held(reserved):  # what a dead run had reserved means nothing any more
            reserved.unlink(missing_ok=True)
        try:
            path.parent.rmdir()
        except OSError:
            pass  # another run is under way on that system

    def runs(self, system: str | None = None) -> list[Registered]:
        """The runs not signed off, on one system or on all, ordered by system and run."""
        found = []
        for folder in sorted((self.path / "systems").glob("*" if system is None else _name(system))):
            for file in sorted(folder.glob("[!.]*")):
                try:
                    run_dir = Path(file.read_text().strip())
                except FileNotFoundError:  # signed off this very moment
                    continue
                found.append(Registered(unquote(folder.name), unquote(file.name), run_dir))
        return found

    def _file(self, run: Registered) -> Path:
        return self.folder(f"systems/{_name(run.system)}") / _name(run.run)


@contextmanager
def registered(home: StateHome, run: Registered, journal: Journal) -> Iterator[None]:
    """Sign a run on for as long as the body lasts, and off if it owes nothing then."""
    home.sign_on(run)
    try:
        yield
    finally:
        if not journal.state.debts():
            home.sign_off(run)


def _name(name: str) -> str:
    """A name as one harmless file name: `../x` stays inside, nothing begins with a dot, no wildcard is left."""
    quoted = quote(name, safe="")
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted
