"""Reading a HAR file: what was asked and answered, in the order of time.

Only what an experiment needs is read, and nothing is taken on trust: browsers and proxies differ in what they leave
out. Format: http://www.softwareishard.com/blog/har-12-spec/.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import SplitResult, parse_qsl, urlsplit

from chaosrunner.logic.parse.spelling import ReadingError

ASSETS = ("image/", "font/", "audio/", "video/", "text/css", "text/javascript", "application/javascript",
          "application/x-javascript", "application/font", "application/wasm", "application/manifest")  # fmt: skip
"""Beginnings of the media types of what a browser loads to show a page."""
ASSET_ENDINGS = (".css", ".js", ".mjs", ".map", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".avif", ".ico",
                 ".woff", ".woff2", ".ttf", ".otf", ".mp4", ".webm", ".mp3", ".wasm", ".webmanifest")  # fmt: skip

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request and its reply."""

    at_s: float
    """When it began, in seconds of whatever clock the recorder had."""
    took_s: float
    method: str
    url: SplitResult
    headers: Pairs
    body: str
    """As it was sent; empty when there was none."""
    body_type: str
    """Its media type, without parameters, in small letters."""
    fields: Pairs
    """Of a form; a file's value is empty."""
    status: int
    """0 = there was no reply."""
    reply_headers: Pairs
    reply_type: str
    reply: str
    """Its text, if the recorder kept it."""

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.url.scheme}://{self.url.netloc.rpartition('@')[2]}"

    @property
    def is_asset(self) -> bool:
        """Whether a browser loaded it to show a page: style, script, image, font, film."""
        return self.reply_type.startswith(ASSETS) or self.url.path.lower().endswith(ASSET_ENDINGS)

    def header(self, name: str) -> str:
        """A header of the request; empty when it has none of that name."""
        return next((value for key, value in self.headers if key == name), "")

    def reply_header(self, name: str) -> str:
        """A header of the reply."""
        return next((value for key, value in self.reply_headers if key == name), "")


def recording(text: str) -> list[Entry]:
    """The entries of a HAR file that are http(s), earliest first.

    Raises:
        ReadingError: it is no HAR file, or has no such entry.
    """
    try:
        entries = json.loads(text.removeprefix("\ufeff"))["log"]["entries"]
        found = [entry for raw in entries if (entry := _entry(raw)) is not None]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        why = "it is no JSON" if isinstance(error, json.JSONDecodeError) else "expected log.entries of HAR 1.2"
        raise ReadingError(f"this is no HAR file: {why}") from None
    if not found:
        raise ReadingError("nothing was recorded in this HAR file")
    return sorted(found, key=lambda entry: entry.at_s)


def _entry(raw: dict[str, object]) -> Entry | None:
    request, reply = _table(raw, "request"), _table(raw, "response")
    url = urlsplit(str(request["url"]))
    if url.scheme not in ("http", "https") or not url.hostname:
        return None  # data:, blob:, ws: and an extension's own
    post, content = _table(request, "postData"), _table(reply, "content")
    took = raw.get("time")
    return Entry(
        at_s=datetime.fromisoformat(str(raw["startedDateTime"])).timestamp(),
        took_s=took / 1000 if isinstance(took, int | float) and took > 0 else 0.0,
        method=str(request["method"]).upper(),
        url=url,
        headers=_pairs(request.get("headers")),
        body=str(post.get("text") or ""),
        body_type=_media_type(post),
        fields=_fields(post),
        status=status if isinstance(status := reply.get("status"), int) else 0,
        reply_headers=_pairs(reply.get("headers")),
        reply_type=_media_type(content),
        reply=_content(content),
    )


def _table(raw: dict[str, object], key: str) -> dict[str, object]:
    found = raw.get(key)
    return found if isinstance(found, dict) else {}


def _pairs(raw: object) -> Pairs:
    """Headers, their names in small letters; HTTP/2's pseudo-headers are none."""
    found = raw if isinstance(raw, list) else []
    pairs = ((str(one["name"]).lower(), str(one["value"])) for one in found)
    return tuple((name, value) for name, value in pairs if not name.startswith(":"))


def _media_type(raw: dict[str, object]) -> str:
    return str(raw.get("mimeType") or "").partition(";")[0].strip().lower()


def _fields(post: dict[str, object]) -> Pairs:
    """The fields of a form: as the recorder took them apart, or else from its text."""
    params = post.get("params")
    if isinstance(params, list) and params:
        return tuple((str(one["name"]), "" if one.get("fileName") else str(one.get("value") or "")) for one in params)
    if _media_type(post) == "application/x-www-form-urlencoded":
        return tuple(parse_qsl(str(post.get("text") or ""), keep_blank_values=True))
    return ()


def _content(content: dict[str, object]) -> str:
    text = str(content.get("text") or "")
    return base64.b64decode(text).decode(errors="replace") if content.get("encoding") == "base64" else text
