"""Where parts of a system are: URLs without credentials, and `host:port`."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from chaosrunner.logic.parse.fields import whole
from chaosrunner.logic.parse.spelling import ReadingError


def base_url(text: str) -> str:
    """An http URL without credentials. Raises ReadingError."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ReadingError("this is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or re.search(r"\s", text):
        raise ReadingError("expected a URL, such as http://127.0.0.1:8080")
    if parts.username is not None:
        raise ReadingError("a URL is no place for a password; the load has 'auth' and 'headers'")
    return text


def address(text: str) -> str:
    """`host:port` or an http URL. Raises ReadingError."""
    if "://" in text:
        return base_url(text)
    host, colon, port = text.rpartition(":")
    if not (colon and re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host)):
        raise ReadingError("expected host:port or a URL")
    return f"{host}:{whole(port, 1, 65535)}"


def host_and_port(place: str) -> str:
    """`host:port` of an `address`; a URL's default port where it names none."""
    if "://" not in place:
        return place
    parts = urlsplit(place)
    host = parts.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def ssh_host(text: str) -> str:
    """`ssh://user@web-2:22/path/of/chaosrunner`; all but the name may be left out. Raises ReadingError."""
    user, host, place = r"[A-Za-z0-9_][A-Za-z0-9._-]*@", r"[A-Za-z0-9][A-Za-z0-9._-]*", r"/[^\s?#]+"
    found = re.fullmatch(rf"ssh://(?:{user})?{host}(?::([0-9]+))?(?:{place})?", text)
    if not found:
        raise ReadingError("expected another host as ssh reaches it, such as ssh://user@web-2")
    if found[1]:
        whole(found[1], 1, 65535)
    return text
