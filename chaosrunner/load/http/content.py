"""Bodies of requests: JSON, forms, multipart forms, texts and files, with placeholders filled in when they are sent."""

from __future__ import annotations

import json
import mimetypes
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

from chaosrunner.load.template import Template, Variables, as_text, compiled, names_in

if TYPE_CHECKING:
    from chaosrunner.model.http_step import Request

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Content:
    """A body to send."""

    media_type: str
    """Unless the step's headers say another."""
    names: frozenset[str]
    """Its placeholders."""
    fill: Callable[[Variables], bytes]


def content_of(step: Request) -> Content | None:
    """The body of a step; None when it has none. Raises ValueError for a file that cannot be read."""
    if step.body is None:
        return None
    match step.body_as:
        case "json":
            fill = compiled(step.body)
            return Content(
                "application/json",
                names_in(step.body),
                lambda variables: json.dumps(fill(variables), ensure_ascii=False).encode(errors="replace"),
            )
        case "form":
            return _form(cast("Fields", step.body))
        case "multipart":
            return _multipart(cast("Fields", step.body))
        case "text":
            template = Template.of(str(step.body))
            return Content(
                "text/plain; charset=utf-8",
                frozenset(template.names),
                lambda variables: template.fill(variables).encode(errors="replace"),
            )
        case "file":
            return _fixed(str(step.body))


def _form(fields: Fields) -> Content:
    filled = compiled(fields)

    def fill(variables: Variables) -> bytes:
        pairs = cast("dict[str, object]", filled(variables)).items()
        texts = [
            (name, as_text(one)) for name, value in pairs for one in (value if isinstance(value, list) else [value])
        ]
        return urlencode(texts, errors="replace").encode()

    return Content("application/x-www-form-urlencoded", names_in(fields), fill)


def _fixed(path: str) -> Content:
    content = _read(path)
    return Content(_type_of(path), frozenset(), lambda _variables: content)


def _multipart(fields: Fields) -> Content:
    """multipart/form-data (RFC 7578): a field is a text, or `{file: path}`."""
    boundary = secrets.token_hex(16)
    parts = [_part(name, value, boundary) for name, value in fields.items()]
    end = f"--{boundary}--\r\n".encode()

    def fill(variables: Variables) -> bytes:
        return b"".join(head + part(variables) + b"\r\n" for head, part in parts) + end

    texts = [value for value in fields.values() if not isinstance(value, Mapping)]
    return Content(f"multipart/form-data; boundary={boundary}", names_in(texts), fill)


def _part(name: str, value: object, boundary: str) -> tuple[bytes, Callable[[Variables], bytes]]:
    begin = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"'
    if isinstance(value, Mapping):
        path = str(value["file"])
        content = _read(path)
        head = f'{begin}; filename="{_quoted(Path(path).name)}"\r\nContent-Type: {_type_of(path)}\r\n\r\n'
        return head.encode(errors="replace"), lambda _variables: content
    filled = compiled(value)
    return f"{begin}\r\n\r\n".encode(errors="replace"), lambda variables: as_text(filled(variables)).encode(
        errors="replace"
    )


def _quoted(text: str) -> str:
    """As browsers write a name: percent signs for what would end it."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _type_of(path: str) -> str:
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"the file {path!r} cannot be read: {error.strerror}") from error
