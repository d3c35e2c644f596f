"""A recording as an experiment: its requests as steps, what they share as the load, and a first hypothesis."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urljoin

import yaml

from chaosrunner.logic.har.correlation import Known, literal, unused
from chaosrunner.logic.har.recording import Entry, recording
from chaosrunner.logic.parse.spelling import ReadingError, one_of

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
OWN = frozenset({
    "host", "connection", "content-length", "content-type", "transfer-encoding", "accept-encoding", "user-agent",
    "cookie", "authorization", "referer", "origin", "pragma", "cache-control", "dnt", "te", "priority", "keep-alive",
    "upgrade-insecure-requests", "if-none-match", "if-modified-since", "accept", "accept-language", "x-requested-with",
})  # fmt: skip
"""Headers that a client writes by itself, that the browser added, or that are treated apart."""
PAUSE_S = 0.1
"""Shorter pauses are the browser's, not the user's."""
HOPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user may choose."""

    name: str
    """Of the recording, for the question."""
    origin: str = ""
    """Scheme, host and port that are loaded; empty = those of the first request."""
    assets: bool = False
    """Also what a browser loads to show a page."""
    system: str = "recorded"
    """Name of the system file."""


@dataclass(frozen=True, slots=True)
class Imported:
    """An experiment and what its reader should know."""

    experiment: str
    """YAML."""
    system: str
    """YAML of the system it runs on."""
    remarks: tuple[str, ...]
    """What was left out, and what to fill in, one sentence each; never a secret's value."""


class Quoted(str):
    """A text that is always quoted: what is 1e3 or 0o7 as a number must stay a text."""

    __slots__ = ()


@dataclass(slots=True)
class Writing:
    """An experiment being written."""

    known: Known = field(default_factory=Known)
    steps: list[tuple[int, str, dict[str, object]]] = field(default_factory=list)
    """(number of the entry, name, what it asks)"""
    auth: str = ""
    cookies: bool = False
    given_before: bool = False
    """Whether a cookie was sent before any reply had set one."""
    redirects: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason → how often."""


def import_har(text: str, wishes: Wishes) -> Imported:
    """The experiment of a recording.

    Raises:
        ReadingError: the text is no HAR file, or nothing of it can be sent.
    """
    entries = recording(text)
    origin = wishes.origin.rstrip("/") or entries[0].origin
    writing = Writing()
    chosen = [entry for entry in entries if _wanted(entry, origin, wishes, writing)]
    if not chosen:
        raise ReadingError(f"nothing was asked of {origin}; it was recorded from {one_of(_origins(entries))}")
    for entry in chosen:
        writing.known.guard(entry)
    ended_s, nth = chosen[0].at_s, 0
    while nth < len(chosen):
        hops = _hops(chosen, nth)
        _step(writing, nth, chosen[nth], pause_s=chosen[nth].at_s - ended_s)
        writing.redirects = max(writing.redirects, hops)
        nth += hops
        writing.known.learn(nth, chosen[nth])
        ended_s = max(ended_s, chosen[nth].at_s + chosen[nth].took_s)
        nth += 1
    return Imported(_experiment(writing, wishes), _dump({"entry": Quoted(origin)}), tuple(_remarks(writing)))


def _wanted(entry: Entry, origin: str, wishes: Wishes, writing: Writing) -> bool:
    why = ""
    if entry.origin != origin:
        why = f"to {entry.origin}"
    elif entry.is_asset and not wishes.assets:
        why = "for styles, scripts, images and fonts"
    elif entry.method not in METHODS:
        why = f"by {entry.method}"
    elif not entry.status:
        why = "without a reply"
    elif "${" in f"{entry.url.geturl()}{entry.body}{entry.fields}":
        why = "with a '${' in them, which would be a reference here"
    writing.left_out[why] += bool(why)
    return not why


def _origins(entries: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(entry.origin for entry in entries))


def _hops(entries: Sequence[Entry], nth: int) -> int:
    """How many of the entries that follow are redirects of this one, which one step asks for together."""
    hops = 0
    while hops < HOPS and nth + hops + 1 < len(entries):
        here, following = entries[nth + hops], entries[nth + hops + 1]
        where = here.reply_header("location")
        if not (300 <= here.status < 400 and where):
            break
        if urljoin(here.url.geturl(), where).partition("#")[0] != following.url.geturl().partition("#")[0]:
            break
        hops += 1
    return hops


def _step(writing: Writing, nth: int, entry: Entry, *, pause_s: float) -> None:
    """One entry as a step."""
    known = writing.known
    path = _path(known, entry)
    step: dict[str, object] = {entry.method: Quoted(path)}
    step.update(_body(writing, entry))
    headers = {
        name: Quoted(known.text(name, value)) for name, value in entry.headers if name not in OWN and _plain(value)
    }
    if headers:
        step["headers"] = headers
    _authorization(writing, entry.header("authorization"))
    sent, given = bool(entry.header("cookie")), bool(entry.reply_header("set-cookie"))
    writing.given_before |= sent and not writing.cookies
    writing.cookies |= sent or given
    if entry.status not in (200, 304) and not 300 <= entry.status < 400:
        step["expect"] = entry.status
    if pause_s >= PAUSE_S:
        step["think"] = f"{round(pause_s, 1):g}s"
    writing.steps.append((nth, _name(writing, entry.method, path), step))


def _plain(value: str) -> bool:
    return value.isprintable() and "${" not in value


def _path(known: Known, entry: Entry) -> str:
    """The path and the query; what came from an earlier reply as placeholders."""
    segments = [spelled(known.text("id", unquote(part)), "!$&'()*+,;=:@~") for part in entry.url.path.split("/")]
    path = "/".join(segments) or "/"
    pairs = parse_qsl(entry.url.query, keep_blank_values=True)
    query = "&".join(f"{quote(name)}={spelled(known.text(name, value), '!$()*,;:@~/')}" for name, value in pairs)
    return f"{path}?{query}" if query else path


def spelled(text: str, safe: str) -> str:
    """A value for a URL; a placeholder or a reference stays one."""
    whole = re.fullmatch(r"<[^<>]+>|\$\{\w+\}", text)
    return text if whole else quote(text.replace("<<", "<"), safe=safe)


def _body(writing: Writing, entry: Entry) -> dict[str, object]:
    """The body, in the way that says most."""
    known = writing.known
    if entry.body_type.endswith("json") and entry.body:
        try:
            return {"body": _texts(known.value("", json.loads(entry.body)))}
        except (ValueError, RecursionError):
            pass  # then it is sent as it was, as a text
    if entry.fields:
        way = "multipart" if entry.body_type == "multipart/form-data" else "form"
        return {way: {_key(literal(name)): Quoted(known.text(name, value)) for name, value in entry.fields}}
    if not entry.body:
        return {}
    if known.tells(entry.body):
        return {"text": Quoted(f"${{{known.secret('body', entry.body)}}}")}
    return {"text": Quoted(literal(entry.body))}


def _texts(value: object) -> object:
    """A JSON value whose texts are quoted."""
    match value:
        case dict():
            return {_key(key): _texts(inner) for key, inner in value.items()}
        case list():
            return [_texts(inner) for inner in value]
        case str():
            return Quoted(value)
        case _:
            return value


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z_][\w-]*", text) else Quoted(text)


def _authorization(writing: Writing, value: str) -> None:
    """The load's `auth`: by the reply that gave the token, or else by an environment variable."""
    scheme, _, rest = value.partition(" ")
    if not value or writing.auth:
        return
    if scheme.lower() == "bearer":
        writing.auth = f"bearer {writing.known.text('token', rest)}"
    elif scheme.lower() == "basic":
        user, password = (writing.known.secret(name, f"basic {name} {rest}") for name in ("USERNAME", "PASSWORD"))
        writing.auth = f"basic ${{{user}}}:${{{password}}}"
    else:
        writing.auth = f"${{{writing.known.secret('authorization', value)}}}"


def _name(writing: Writing, method: str, path: str) -> str:
    """Words for a step: the method and the last of the path that is no id and no secret."""
    parts = [part for part in path.partition("?")[0].split("/") if re.fullmatch(r"[A-Za-z][A-Za-z._-]{0,30}", part)]
    return unused(f"{method.lower()} {' '.join(parts[-2:]) or 'home'}", [name for _, name, _ in writing.steps])


def _experiment(writing: Writing, wishes: Wishes) -> str:
    used = writing.known.used
    for nth, _, step in writing.steps:
        # What a chain of redirects gave was learnt under its last entry: the step that began the chain has it.
        following = min((other for other, _, _ in writing.steps if other > nth), default=nth + HOPS + 1)
        keep = {name: Quoted(where) for at in range(nth, following) for name, where in used.get(at, {}).items()}
        if keep:
            step["keep"] = keep
    load: dict[str, object] = {"each_user": [{name: step} for _, name, step in writing.steps]}
    if writing.auth:
        load["auth"] = Quoted(writing.auth)
    if writing.cookies:
        load["cookies"] = True
    if writing.redirects:
        load["redirects"] = writing.redirects
    load["arrivals"] = "1 user/s"
    return _dump(
        {
            "question": Quoted(f"Does the system bear what was recorded in {literal(wishes.name)}?"),
            "system": wishes.system,
            "load": load,
            "hypothesis": {"before": ["p95 <= 1s", "errors < 1%"]},
        }
    )


def _remarks(writing: Writing) -> Iterator[str]:
    for why, count in writing.left_out.items():
        if why:
            yield f"left out: {count} request{'s' if count > 1 else ''} {why}"
    for variable in writing.known.secrets.values():
        yield f"set {variable} before you run it: the recording had a secret there"
    if writing.given_before:
        yield "a cookie was set before the recording began and is missing; begin a recording signed out"


class _Dumper(yaml.SafeDumper):
    """Quoted texts are quoted."""


def _represent(dumper: yaml.SafeDumper, text: Quoted) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')


_Dumper.add_representer(Quoted, _represent)


def _dump(value: object) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
