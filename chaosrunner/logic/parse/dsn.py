"""Where a Postgres or a Redis is: a secret whose password may only be a reference."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.parse.substitute import Reference, parts
from chaosrunner.logic.parse.yaml_nodes import Node
from chaosrunner.model.secret import Secret

STANDS_FOR = "CHAOSRUNNERREFERENCE"
"""Takes a reference's place while the rest is looked at: what a reference holds may not be read here."""


POSTGRES = (r"postgres(ql)?://", "postgresql://role@host:port/database")
REDIS = (r"rediss?://", "redis://host:port/database")
"""How such an address begins, and what one looks like."""


def read_dsn(desk: Desk, node: Node, what: str) -> Secret | None:
    """The DSN with its references unresolved; mistakes are noted at the desk, which never shows the text."""
    return _read(desk, node, what, POSTGRES)


def read_redis(desk: Desk, node: Node) -> Secret | None:
    """A Redis URL, likewise."""
    return _read(desk, node, "redis", REDIS)


def _read(desk: Desk, node: Node, what: str, kind: tuple[str, str]) -> Secret | None:
    template = desk.template(node, what)
    if template is None:
        return None
    try:
        _check(template, kind)
    except ReadingError as bad:
        desk.wrong(node, f"{what}: {bad}")
        return None
    return Secret(template)


def _check(template: str, kind: tuple[str, str]) -> None:
    """Raise ReadingError for what is no such address, or holds a password in the open; never repeats the text."""
    begins, example = kind
    pieces = list(parts(template))
    for reference in (piece for piece in pieces if isinstance(piece, Reference)):
        if reference.default and "://" in reference.default:
            _check(reference.default, kind)
    bare = "".join(piece if isinstance(piece, str) else STANDS_FOR for piece in pieces)
    if bare == STANDS_FOR:
        return
    if not re.match(rf"({begins}|{STANDS_FOR})", bare):
        raise ReadingError(f"expected {example}")
    _check_secret(bare, example, [piece for piece in pieces if isinstance(piece, Reference)])


def _check_secret(bare: str, example: str, references: list[Reference]) -> None:
    """Raise ReadingError when a password is written out, in its place or as a parameter."""
    try:
        url = urlsplit(bare)
        password = url.password or ""
        secrets = [value for name, value in parse_qsl(url.query) if "password" in name.lower()]
    except ValueError:
        raise ReadingError(f"expected {example}") from None
    in_the_open = any(secret.replace(STANDS_FOR, "") for secret in (password, *secrets))
    by_default = any(reference.default for reference in references) and any((password, *secrets))
    if in_the_open:
        raise ReadingError("write the password as ${file:/run/secrets/…} or ${NAME}: a file is no place for it")
    if by_default and _defaulted(bare, references):
        raise ReadingError("write the password's reference without a default: a file is no place for it")


def _defaulted(bare: str, references: list[Reference]) -> bool:
    """Whether a reference with a default stands where the password does."""
    url = urlsplit(bare)
    before = bare[: bare.index("@")].rpartition(":")[0] if url.password else bare[: bare.index("?")]
    nth = before.count(STANDS_FOR)
    return any(reference.default for reference in references[nth : nth + 1])
