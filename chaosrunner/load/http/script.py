"""A request made ready to send: it knows its origin, builds its bytes and has a judge for its reply."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from chaosrunner import __version__
from chaosrunner.load.http.content import Content, content_of
from chaosrunner.load.http.judge import Judge, judge_of, names_in_checks
from chaosrunner.load.http.pool import Origin
from chaosrunner.load.template import Template, Variables, as_text, names_in

if TYPE_CHECKING:
    from chaosrunner.load.act import Setting
    from chaosrunner.model.http_client import Client
    from chaosrunner.model.http_step import Request

_IN_A_PATH = "/%?&=:@!$'()*+,;~[]"
"""Left as they are in the literal parts of a path; a value is encoded whole: a `/` in a name stays in its segment."""
_HEADER_NAME = "!#$%&'*+-.^_`|~"
OWN_HEADERS = ("content-length", "transfer-encoding", "connection")
"""Headers that the connection decides."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request as it goes over the wire, still in parts."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    """Without Content-Length."""
    content: bytes | None

    def wire(self) -> bytes:
        """Its bytes."""
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {_one_line(text)}" for name, text in self.headers)]
        if self.content is not None:
            lines.append(f"Content-Length: {len(self.content)}")
        return "\r\n".join([*lines, "", ""]).encode(errors="replace") + (self.content or b"")


@dataclass(frozen=True, slots=True)
class Ready:
    """One request, compiled."""

    name: str
    origin: Origin
    is_head: bool
    judge: Judge
    client: Client
    message: Callable[[Variables], Message]
    request: Callable[[Variables], bytes]
    """The message's bytes."""
    fixed: bytes | None
    """The same, if nothing in it varies."""


def ready(step: Request, entry: str, setting: Setting) -> Ready:
    """A request, compiled.

    Args:
        step: what to ask.
        entry: base URL of relative paths; may be empty when the path is absolute.
        setting: what is known when it is sent.

    Raises:
        ValueError: a URL, a header, a JSON path, a file or a placeholder that cannot work.
    """
    origin, path = _target(step.path, entry)
    method = step.method.upper()
    if not method.isascii() or not method.isalpha():
        raise ValueError(f"{method!r} is no method")
    content = content_of(step)
    names = names_in([step.path, *step.headers.values()]) | names_in_checks(step)
    names |= content.names if content else frozenset()
    if missing := names - setting.known:
        raise ValueError(f"nothing known as <{min(missing)}> when it is sent")
    headers = _headers(step, origin, content, _auth_for(step, setting))
    request, fixed = _writer(method, path, headers, content)
    return Ready(
        name=step.name,
        origin=origin,
        is_head=method == "HEAD",
        judge=judge_of(step),
        client=step.client,
        message=_composer(method, path, headers, content),
        request=request,
        fixed=fixed,
    )


@dataclass(frozen=True, slots=True)
class Header:
    """A header with its placeholders."""

    name: str
    template: Template
    spell: Callable[[str], str] = str
    """Done to the filled text."""


def auth_header(auth: str) -> Header:
    """The header of an `auth`: `bearer …`, `basic user:password`, `Name: value`, or a whole Authorization value."""
    name, colon, value = auth.partition(": ")
    if colon and _is_header_name(name):
        return Header(name, Template.of(value))
    scheme, blank, rest = auth.partition(" ")
    if scheme.lower() == "bearer":
        return Header("Authorization", Template.of(f"Bearer{blank}{rest}"))
    if scheme.lower() == "basic" and ":" in rest:  # base64, a value made ready elsewhere, has no colon
        return Header("Authorization", Template.of(rest), _basic)
    return Header("Authorization", Template.of(auth))


def _basic(credentials: str) -> str:
    return f"Basic {b64encode(credentials.encode()).decode()}"


def _auth_for(step: Request, setting: Setting) -> Header | None:
    """The authentication of a step: none before its variables are known, or when the step brings its own."""
    if setting.auth is None or not names_in(setting.auth) <= setting.known:
        return None
    header = auth_header(setting.auth)
    return None if any(name.lower() == header.name.lower() for name in step.headers) else header


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


def _headers(step: Request, origin: Origin, content: Content | None, auth: Header | None) -> list[Header]:
    own = {
        "Host": origin.authority.replace("<", "<<"),
        "User-Agent": f"chaosrunner/{__version__}",
        "Accept": "*/*",
    }
    if content is not None:
        own["Content-Type"] = content.media_type
    if step.client.compression:
        from chaosrunner.load.http.inflate import accepted

        own["Accept-Encoding"] = accepted()
    given = {name.lower() for name in step.headers}
    headers = [Header(name, Template.of(value)) for name, value in own.items() if name.lower() not in given]
    if auth is not None:
        headers.append(auth)
    for name, value in step.headers.items():
        if not _is_header_name(name):
            raise ValueError(f"{name!r} is no header name")
        if name.lower() in OWN_HEADERS:
            raise ValueError(f"{name} is not the file's to set: the connection decides it")
        headers.append(Header(name, Template.of(value)))
    return headers


def _is_header_name(name: str) -> bool:
    return bool(name) and name.isascii() and all(char.isalnum() or char in _HEADER_NAME for char in name)


Piece = str | Callable[[Variables], str]


def _composer(method: str, path: str, headers: list[Header], content: Content | None) -> Callable[[Variables], Message]:
    """A function from variables to a message."""
    target = _path_pieces(Template.of(path))
    fill = _filler(method, content)

    def compose(variables: Variables) -> Message:
        texts = ((header.name, header.spell(header.template.fill(variables))) for header in headers)
        return Message(method, _joined(target, variables), tuple(texts), fill(variables))

    return compose


def _writer(
    method: str, path: str, headers: list[Header], content: Content | None
) -> tuple[Callable[[Variables], bytes], bytes | None]:
    """The same, written at once, since on the fast path every microsecond counts; and what it writes if that never
    varies.
    """
    pieces: list[Piece] = [f"{method} ", *_path_pieces(Template.of(path)), " HTTP/1.1\r\n"]
    for header in headers:
        pieces += [f"{header.name}: ", *_header_pieces(header), "\r\n"]
    head = _merged(pieces)
    fill = _filler(method, content)

    def write(variables: Variables) -> bytes:
        body, text = fill(variables), _joined(head, variables)
        if body is None:
            return f"{text}\r\n".encode(errors="replace")
        return f"{text}Content-Length: {len(body)}\r\n\r\n".encode(errors="replace") + body

    if any(not isinstance(piece, str) for piece in head) or (content and content.names):
        return write, None
    fixed = write({})
    return lambda _variables: fixed, fixed


def _filler(method: str, content: Content | None) -> Callable[[Variables], bytes | None]:
    """The body; a request that usually has one says that its is empty."""
    if content is not None:
        return content.fill
    nothing = b"" if method in ("POST", "PUT", "PATCH") else None
    return lambda _variables: nothing


def _joined(pieces: Sequence[Piece], variables: Variables) -> str:
    return "".join([piece if isinstance(piece, str) else piece(variables) for piece in pieces])


def _merged(pieces: Sequence[Piece]) -> list[Piece]:
    """The same with neighbouring texts in one."""
    merged: list[Piece] = [""]
    for piece in pieces:
        last = merged[-1]
        if isinstance(piece, str) and isinstance(last, str):
            merged[-1] = last + piece
        else:
            merged.append(piece)
    return merged


def _path_pieces(target: Template) -> list[Piece]:
    if target.whole is not None:
        return [lambda variables: _whole_path(target.fill(variables))]
    pieces: list[Piece] = [quote(target.literals[0], safe=_IN_A_PATH)]
    for name, literal in zip(target.names, target.literals[1:], strict=True):
        pieces += [_spelled(name, lambda text: quote(text, safe="", errors="replace")), quote(literal, safe=_IN_A_PATH)]
    return pieces


def _whole_path(value: str) -> str:
    text = quote(value, safe=_IN_A_PATH, errors="replace")
    return text if text.startswith("/") else f"/{text}"


def _header_pieces(header: Header) -> list[Piece]:
    template = header.template
    if header.spell is not str:
        return [lambda variables: _one_line(header.spell(template.fill(variables)))]
    pieces: list[Piece] = [_one_line(template.literals[0])]
    for name, literal in zip(template.names, template.literals[1:], strict=True):
        pieces += [_spelled(name, _one_line), _one_line(literal)]
    return pieces


def _spelled(name: str, spell: Callable[[str], str]) -> Callable[[Variables], str]:
    return lambda variables: spell(as_text(variables[name]))


def _one_line(value: str) -> str:
    """A header's value: a kept variable must not be able to add a header or a second request."""
    return value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value)
