"""Every way chaosrunner can fail, and the exit codes it publishes.

    ChaosrunnerError                what happened · what is still broken · what to do next
    ├── Mistakes          exit 2    the command or a file is wrong; nothing was touched
    ├── Busy              exit 2    a claim or a run directory is held by another active run
    ├── Orphaned          exit 4    an earlier run left debts on this system
    ├── NotRestored       exit 4    a fault may still be in place
    ├── InjectorError     (a fact)  an injector could not look, inject, verify or undo; the engine decides
    │   └── Unavailable             this fault cannot run here, and why
    ├── JournalBroken     exit 70   the journal cannot be trusted to hold a recipe any more
    └── LoadBroken        exit 70   the load driver could not start or broke its protocol

This module imports nothing of the rest and may be imported by all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Exit(IntEnum):
    """The published exit codes. Precedence when several apply: 4 > 130 > 70 > 1 > 3 > 0."""

    HELD = 0
    """Every tolerance held and recovery was proven in time."""
    BROKEN = 1
    """A tolerance was violated, or recovery took longer than its target, or never came."""
    MISTAKE = 2
    """The command or a file is wrong, or a claim is held by another active run; nothing was touched."""
    UNKNOWN = 3
    """No answer: steady state not met before, too little data, load not delivered, fault not verified, aborted."""
    NOT_RESTORED = 4
    """A fault may still be in place, now or from an orphaned run."""
    INTERNAL = 70
    """Internal error; everything was restored."""
    INTERRUPTED = 130
    """SIGINT, SIGTERM or SIGHUP; everything was restored."""


PRECEDENCE = (Exit.NOT_RESTORED, Exit.INTERRUPTED, Exit.INTERNAL, Exit.BROKEN, Exit.UNKNOWN, Exit.HELD)


def worst_exit(codes: Sequence[Exit]) -> Exit:
    """The one exit code that wins among `codes` by the published precedence; HELD when there are none."""
    return next((code for code in PRECEDENCE if code in codes), Exit.HELD)


class ChaosrunnerError(Exception):
    """The root of the tree. `str(error)` is one line a person can act on; `advice` is what to do next."""

    exit_code: Exit = Exit.INTERNAL

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake in a file or on the command line, with its place (1-based; 0 = the whole file)."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        """`file:line:col: message`, the form editors and CI annotators understand."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class Mistakes(ChaosrunnerError):
    """All mistakes found, reported at once. Nothing was touched."""

    exit_code = Exit.MISTAKE

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class Busy(ChaosrunnerError):
    """Another active run holds the claim, the system or the run directory. Nothing was touched."""

    exit_code = Exit.MISTAKE


class Orphaned(ChaosrunnerError):
    """An earlier run on this system left debts; `chaosrunner recover` pays them."""

    exit_code = Exit.NOT_RESTORED


class NotRestored(ChaosrunnerError):
    """A fault may still be in place after every retry."""

    exit_code = Exit.NOT_RESTORED


class InjectorError(ChaosrunnerError):
    """An injector could not do its work; the message says what it saw. The engine turns it into a fact."""

    def __init__(self, message: str, *, advice: str = "", claims: Sequence[str] = ()) -> None:
        super().__init__(message, advice=advice)
        self.claims = tuple(claims)
        """Resources that are in a state in which a fault of ours, of another run, may have left them."""


class Unavailable(InjectorError):
    """This fault cannot run here; the message says why and what would make it possible."""

    exit_code = Exit.MISTAKE


class JournalBroken(ChaosrunnerError):
    """A write or fsync of the journal failed: no more harm, heal everything, do not trust the file again."""


class LoadBroken(ChaosrunnerError):
    """The load driver could not start, or a worker broke its protocol."""
