"""Where a redirect leads, and as which request (RFC 9110, 15.4)."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote, urljoin, urlsplit

from chaosrunner.load.http.pool import Origin
from chaosrunner.load.http.script import Message

REDIRECTS = frozenset({301, 302, 303, 307, 308})
SECRETS = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Never carried to another origin."""
OF_CONTENT = frozenset({"content-type", "content-encoding", "content-language", "content-location"})


class CannotFollow(ValueError):
    """A redirect that leads nowhere this load may go."""


def is_redirect(status: int) -> bool:
    """Whether a reply asks for another request instead, if it says where."""
    return status in REDIRECTS


def redirected(message: Message, origin: Origin, status: int, location: str) -> tuple[Message, Origin]:
    """The request that a redirect asks for instead of another.

    Browsers turn a POST into a GET on 301 and 302, and everything but HEAD on 303, and so does this.

    Raises:
        CannotFollow: the Location is no http URL.
    """
    there, path = _resolved(f"{origin.url}{message.path}", location)
    headers = [(name, value) for name, value in message.headers if name.lower() != "host"]
    if there != origin:
        headers = [(name, value) for name, value in headers if name.lower() not in SECRETS]
    method, content = message.method, message.content
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, content = "GET", None
        headers = [(name, value) for name, value in headers if name.lower() not in OF_CONTENT]
    headers.insert(0, ("Host", there.authority))
    return replace(message, method=method, path=path, headers=tuple(headers), content=content), there


def _resolved(base: str, location: str) -> tuple[Origin, str]:
    try:
        url = urlsplit(urljoin(base, location.strip()))
        port = url.port
    except ValueError as error:
        raise CannotFollow(f"a redirect to what is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise CannotFollow("a redirect to what is no http URL")
    tls = url.scheme == "https"
    path = quote(url.path, safe="/%:@!$&'()*+,;=~") or "/"
    query = f"?{quote(url.query, safe='/%:@!$&()*+,;=~?')}" if url.query else ""
    return Origin(tls, url.hostname, port or (443 if tls else 80)), path + query
