"""A profile made ready to send: each step knows its origin, builds its request and judges its reply."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from chaosrunner import __version__
from chaosrunner.errors import LoadBroken
from chaosrunner.load.pool import Origin
from chaosrunner.load.template import Template, Variables, compiled, json_path, look_up, names_in
from chaosrunner.model.load import LoadProfile, Outcome, Step, Think

_IN_A_PATH = "/%?&=:@!$'()*+,;~[]"
"""Left as they are in the literal parts of a path; a value is encoded whole: a `/` in a name stays in its segment."""


@dataclass(frozen=True, slots=True)
class Ready:
    """One step, compiled."""

    origin: Origin
    is_head: bool
    keep: tuple[tuple[str, tuple[str | int, ...]], ...]
    expect: frozenset[int]
    think: Think
    request: Callable[[Variables], bytes]

    def judge(self, status: int, body: bytes) -> tuple[Outcome, dict[str, object]]:
        """What a whole reply means, and what it gave to keep."""
        if (status not in self.expect) if self.expect else status >= 400:
            return Outcome.STATUS, {}
        if not self.keep:
            return Outcome.OK, {}
        try:
            reply = json.loads(body)
            return Outcome.OK, {name: look_up(reply, path) for name, path in self.keep}
        except (LookupError, ValueError, RecursionError):
            return Outcome.CHECK, {}


def script(profile: LoadProfile, entry: str, auth: str | None) -> tuple[Ready, ...]:
    """All steps of a profile, compiled.

    Args:
        profile: what to send.
        entry: base URL of relative paths; may be empty when every path is absolute.
        auth: the Authorization header with its secrets revealed and its placeholders still in it, or None.

    Raises:
        LoadBroken: a URL, a header, a JSON path or a placeholder that cannot work.
    """
    known = frozenset(profile.data[0]) if profile.data else frozenset()
    for row in profile.data:
        known &= frozenset(row)
    ready = []
    for step in profile.steps:
        try:
            ready.append(_ready(step, entry, _auth_for(step, auth, known)))
        except ValueError as error:
            raise LoadBroken(f"step {step.name!r}: {error}") from error
        missing = (names_in(step.path) | names_in(step.body) | names_in(list(step.headers.values()))) - known
        if missing:
            raise LoadBroken(f"step {step.name!r}: nothing known as <{min(missing)}> when it is sent")
        known |= frozenset(step.keep)
    if auth is not None and not names_in(auth) <= known:
        raise LoadBroken("auth: it has a placeholder that no step keeps and no data column fills")  # unnamed: a secret
    return tuple(ready)


def _auth_for(step: Step, auth: str | None, known: frozenset[str]) -> str | None:
    """The Authorization of a step: none before its variables are known, or when the step brings its own."""
    if auth is None or not names_in(auth) <= known or any(name.lower() == "authorization" for name in step.headers):
        return None
    scheme, blank, rest = auth.partition(" ")
    return f"Bearer{blank}{rest}" if scheme.lower() == "bearer" else auth


def _ready(step: Step, entry: str, auth: str | None) -> Ready:
    origin, path = _target(step.path, entry)
    method = step.method.upper()
    headers = _headers(step, origin, auth)
    return Ready(
        origin=origin,
        is_head=method == "HEAD",
        keep=tuple((name, json_path(where)) for name, where in step.keep.items()),
        expect=frozenset(step.expect),
        think=step.think,
        request=_builder(method, path, headers, step.body),
    )


def _target(path: str, entry: str) -> tuple[Origin, str]:
    """Where a step goes: its origin, and the path with its placeholders."""
    absolute = path.startswith(("http://", "https://"))
    base = path if absolute else entry
    url = urlsplit(base)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"{base!r} is no http(s) URL" if base else f"{path!r} is relative and the system has no entry")
    if url.username or url.password:
        raise ValueError("a URL with a user in it would show the secret; write auth: instead")
    if "<" in url.netloc:
        raise ValueError("the host of a URL cannot be a placeholder: it is looked up once, before the load begins")
    tls = url.scheme == "https"
    origin = Origin(tls, url.hostname, url.port or (443 if tls else 80))
    if absolute:
        rest = base.partition("://")[2]
        begin = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
        path = rest[begin:]
    else:
        path = url.path.rstrip("/") + (path if path.startswith(("/", "?", "<")) else f"/{path}")
    return origin, path if path.startswith(("/", "<")) else f"/{path}"


def _headers(step: Step, origin: Origin, auth: str | None) -> dict[str, str]:
    headers = {
        "Host": origin.authority.replace("<", "<<"),
        "User-Agent": f"chaosrunner/{__version__}",
        "Accept": "*/*",
    }
    if auth is not None:
        headers["Authorization"] = auth
    if step.body is not None:
        headers["Content-Type"] = "application/json"
    for name, value in step.headers.items():
        if not name or not name.isascii() or not all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in name):
            raise ValueError(f"{name!r} is no header name")
        if name.lower() in ("content-length", "transfer-encoding", "connection"):
            raise ValueError(f"{name} is not the file's to set: the connection decides it")
        for own in [own for own in headers if own.lower() == name.lower()]:
            del headers[own]
        headers[name] = value
    return headers


def _builder(method: str, path: str, headers: Mapping[str, str], body: object) -> Callable[[Variables], bytes]:
    """A function from variables to the bytes of a request; without placeholders it only hands out the same bytes."""
    if not method.isascii() or not method.isalpha():
        raise ValueError(f"{method!r} is no method")
    target = Template.of(path)
    head = [(f"{name}: ", Template.of(value)) for name, value in headers.items()]
    fill_body = compiled(body)
    sends_body = body is not None
    needs_length = sends_body or method in ("POST", "PUT", "PATCH")

    def build(variables: Variables) -> bytes:
        content = json.dumps(fill_body(variables), ensure_ascii=False).encode(errors="replace") if sends_body else b""
        lines = [f"{method} {_path(target, variables)} HTTP/1.1"]
        lines += [name + _one_line(value.fill(variables)) for name, value in head]
        if needs_length:
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join([*lines, "", ""]).encode(errors="replace") + content

    if names_in(path) or names_in(body) or any(value.names for _, value in head):
        return build
    fixed = build({})
    return lambda _variables: fixed


def _path(target: Template, variables: Variables) -> str:
    if target.whole is not None:
        text = quote(target.fill(variables), safe=_IN_A_PATH, errors="replace")
        return text if text.startswith("/") else f"/{text}"
    literals = tuple(quote(literal, safe=_IN_A_PATH) for literal in target.literals)
    return Template(literals, target.names).fill(variables, lambda value: quote(value, safe="", errors="replace"))


def _one_line(value: str) -> str:
    """A header's value: a kept variable must not be able to add a header or a second request."""
    return value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value)
