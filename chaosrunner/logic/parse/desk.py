"""The desk at which a file is read: it collects every mistake with its place and puts variables in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

from chaosrunner.errors import Mistake
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, quoted
from chaosrunner.logic.parse.substitute import Reference, parts, references, value_of
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar, Table, compose
from chaosrunner.logic.parse.yaml_scalars import core_value
from chaosrunner.model.fault import Injector
from chaosrunner.model.http_client import Tls
from chaosrunner.model.postgres_step import Pool

T = TypeVar("T")


class Reader(Protocol):
    """How files are read; the real one is `chaosrunner.world.files.RealReader`."""

    def text(self, path: Path) -> str:
        """The file's text, UTF-8. Raises OSError or UnicodeDecodeError."""
        ...

    def names(self, folder: Path) -> Sequence[str]:
        """Names of the files in a folder; empty when there is no such folder."""
        ...

    def refused(self, tls: Tls) -> tuple[str, str]:
        """(`ca` or `certificate`, why OpenSSL cannot use that file, with its key and password); empty when it can."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a file is read against."""

    environ: Mapping[str, str]
    injectors: Callable[[str], Injector | None]
    """Name → injector; None when there is none of that name. May raise InjectorError when it cannot be loaded."""
    injector_names: Sequence[str]
    reader: Reader
    lenient: bool = False
    """Judging again, next year: data files, secrets' variables and strangers' injectors may be gone."""


@dataclass(slots=True)
class Desk:
    """One file being read."""

    file: str
    environ: Mapping[str, str]
    lenient: bool = False
    mistakes: list[Mistake] = field(default_factory=list)
    databases: dict[str, Pool | None] | None = None
    """The system's components that have a DSN, with what steps say of their pool so far; None = not known."""
    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables put in, never those of secrets, bodies, headers and paths: a journal may keep them."""

    files: list[tuple[Node, Path, Sequence[str]]] = field(default_factory=list)
    """Files that are named here and read later, by whoever sends the load; and what of PEM must be in each."""

    tls: list[tuple[Mapping[str, Node], Tls]] = field(default_factory=list)
    """TLS settings that name files, their password put in; and where `ca` and `certificate` stand."""

    def look_for_files(self, reader: Reader) -> None:
        """Note each named file that is not there, or does not hold what it must."""
        before = len(self.mistakes)
        for node, path, labels in () if self.lenient else self.files:
            names = reader.names(path.parent)
            if path.name not in names:
                self.wrong(node, f"there is no file {path}{did_you_mean(path.name, names)}")
            elif labels:
                self._look_into(node, path, labels, reader)
        for places, tls in () if self.lenient or len(self.mistakes) > before else self.tls:
            key, why = reader.refused(tls)
            if why:
                self.wrong(places[key], f"'{key}' cannot be used: {why}")

    def _look_into(self, node: Node, path: Path, labels: Sequence[str], reader: Reader) -> None:
        try:
            text = reader.text(path)
        except OSError as error:
            self.wrong(node, f"{path} cannot be read: {error.strerror or error}")
            return
        except UnicodeDecodeError:
            text = ""  # PEM is ASCII, so this is another format
        lacks = [label for label in labels if not re.search(f"-----BEGIN [A-Z0-9 ]*{label}-----", text)]
        if lacks:
            self.wrong(
                node, f"{path} holds no {' and no '.join(lacks)} in PEM form; expected '-----BEGIN {lacks[0]}-----'"
            )

    def wrong(self, at: Node, message: str) -> None:
        """Note a mistake at a node."""
        self.mistakes.append(Mistake(self.file, at.line, at.column, message))

    def root(self, text: str, what: str) -> Table | None:
        """The file's mapping; None when it cannot be read, and then the mistakes say why."""
        root, problems = compose(text)
        self.mistakes += [Mistake(self.file, bad.line, bad.column, str(bad)) for bad in problems]
        if isinstance(root, Table):
            return root
        if root is not None:
            self.wrong(root, f"expected {what}: a mapping of keys")
        elif not problems:
            self.mistakes.append(Mistake(self.file, 1, 1, f"expected {what}, found nothing"))
        return None

    def scalar(self, node: Node, what: str) -> Scalar | None:
        """A single value with its variables put in."""
        found = self._written(node, what)
        if found is None or "${" not in found.text:
            return found
        try:
            pieces = [self._resolved(found, part) for part in parts(found.text)]
        except ReadingError as bad:
            self.wrong(node, f"{what}: {bad}")
            return None
        if None in pieces:
            return None
        text = "".join(piece for piece in pieces if piece is not None)
        return replace(found, text=text, value=core_value(text), plain=True)

    def template(self, node: Node, what: str) -> str | None:
        """A text whose references stay unresolved, because they may be secret; missing variables are mistakes."""
        found = self._written(node, what)
        if found is None:
            return None
        if found.value is None:
            self.wrong(node, f"{what} is empty")
            return None
        return found.text if self.check_references(found, what) else None

    def filled(self, text: str) -> str | None:
        """A template with its variables put in, never to be shown; None if it needs a file or an unset variable."""
        pieces = [part if isinstance(part, str) else value_of(part, self.environ) for part in parts(text)]
        return None if None in pieces else "".join(piece for piece in pieces if piece is not None)

    def check_references(self, scalar: Scalar, what: str) -> bool:
        """Whether every reference in it is well-formed and names a variable that is set."""
        try:
            found = references(scalar.text)
        except ReadingError as bad:
            self.wrong(scalar, f"{what}: {bad}")
            return False
        missing = [ref for ref in found if ref.name and value_of(ref, self.environ) is None]
        if self.lenient:
            return True
        for ref in missing:
            self.wrong(scalar, _unset(ref))
        return not missing

    def read(self, node: Node, what: str, reader: Callable[[str], T]) -> T | None:
        """A value by a pure reader of its text; what it cannot read becomes a mistake here."""
        found = self.scalar(node, what)
        if found is None:
            return None
        try:
            return reader(found.text)
        except ReadingError as bad:
            self.wrong(node, f"{what} {quoted(found.source)}: {self.shown(found, str(bad))}")
            return None

    def shown(self, scalar: Scalar, message: str) -> str:
        """The message without what a variable held: that may be nobody else's business."""
        if scalar.text == scalar.source:
            return message
        values = [self.environ.get(reference.name, "") for reference in references(scalar.source)]
        if any(len(value) >= TELLING and value[:TELLING] in message for value in values):
            return "the variable's value cannot be read here"
        return message

    def _written(self, node: Node, what: str) -> Scalar | None:
        if isinstance(node, Scalar):
            return node
        self.wrong(node, f"{what}: expected a single value, found a {'list' if isinstance(node, Items) else 'mapping'}")
        return None

    def _resolved(self, scalar: Scalar, part: str | Reference) -> str | None:
        if isinstance(part, str):
            return part
        if part.path:
            self.wrong(
                scalar, f"{quoted(part.text)}: a file may stand only where a secret is expected: {REVEALED_LATE}"
            )
            return None
        value = value_of(part, self.environ)
        if value is None:
            self.wrong(scalar, _unset(part))
        elif self.environ.get(part.name):
            self.variables[part.name] = value
        return value


TELLING = 4
"""Characters of a variable's value that a message may not repeat; a shorter value is no secret."""

REVEALED_LATE = "dsn, admin, auth, redis, the password of tls, and paths, bodies and headers of steps"


def _unset(reference: Reference) -> str:
    hint = f"; set it, or write ${{{reference.name}:-default}}"
    return f"the environment variable {quoted(reference.name)} is not set{hint}"
