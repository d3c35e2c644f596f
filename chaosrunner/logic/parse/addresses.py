"""Where a step goes: a path below the system's entry, or a whole URL."""

from __future__ import annotations

import re

from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.spelling import ReadingError, quoted
from chaosrunner.logic.parse.yaml_nodes import Node


def check_step_address(desk: Desk, node: Node, what: str, path: str, kind: tuple[str, str]) -> None:
    """Note what can be no path or URL, as it is written or with its variables put in; their values are not shown.

    Args:
        desk: where mistakes are noted.
        node: where it stands.
        what: the key it stands under, such as `GET`.
        path: as written.
        kind: `schemes` and `a_url` of `check_address`.
    """
    try:
        check_address(path, *kind)
    except ReadingError as bad:
        desk.wrong(node, f"{what} {quoted(path)}: {bad}")
        return
    filled = None if desk.lenient else desk.filled(path)
    try:
        check_address(filled or path, *kind)
    except ReadingError as bad:
        desk.wrong(node, f"{what} {quoted(path)}, with its variables put in: {bad}")


def check_address(text: str, schemes: str, a_url: str) -> None:
    """Raise ReadingError for what can be no path or URL, whatever its placeholders and references will hold.

    Args:
        text: The path or URL, placeholders and references left in.
        schemes: The schemes a URL may have, as a regular expression such as `https?`.
        a_url: What such a URL is called, such as `an http URL`.
    """
    bare = re.sub(r"\$\{[^}]*\}", "REFERENCE", text)
    if re.search(r"\s", bare):
        raise ReadingError("a path holds no spaces; write '%20'")
    if not re.match(rf"(?:{schemes})://[^/]|[/?<]|\$\{{", text):
        raise ReadingError(f"expected a path that begins with '/', or {a_url}")
    host = re.match(rf"(?:{schemes})://([^/?#]*)", bare)
    if host:
        _check_host(host[1])


def _check_host(host: str) -> None:
    if "@" in host:
        raise ReadingError("a URL is no place for a password; the load has 'auth' and 'headers'")
    if "<" in host:
        raise ReadingError("the host cannot be a variable: it is looked up once, before the load begins")
    parts = re.fullmatch(r"(?:\[[^\[\]]+\]|[^:\[\]]+)(?::([0-9]{0,5}|.*REFERENCE.*))?", host)
    port = parts[1] if parts else ""
    if not parts or (port and port.isdecimal() and not 1 <= int(port) <= 65_535):
        raise ReadingError("expected a host and, if any, a port from 1 to 65,535, such as 127.0.0.1:8080")
