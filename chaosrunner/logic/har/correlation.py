"""What a recorded request took from an earlier reply, and what of it is a secret.

A value counts as taken when it is exactly what an earlier reply gave: a segment of the path, a value of the query or
of a form, a leaf of a JSON body, a header. Short values would be found everywhere, so one shorter than 8 characters
counts only when the reply called it an id, a token or the like; what the client itself had sent before never counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from chaosrunner.logic.har.recording import Entry

TELLING = 8
"""Characters from which on a value is no coincidence."""
GUARDED = 4
"""Characters from which on a secret is looked for under other names; a shorter one would be found everywhere."""
NAMES_ITSELF = re.compile(r"(?:^|[_-])(?:id|key|token|csrf|nonce|code|slug)$|(?:Id|ID|Token|Key)$|^uuid$")
SECRET = re.compile(
    r"pass(?:word|wd|phrase)?$|^pwd$|secret|token|api[_-]?key|authorization|credential|^otp$|^pin$|csrf|xsrf"
    r"|signature|session[_-]?id|^sid$|^auth$|^cvv$|card[_-]?number",
    re.IGNORECASE,
)
"""Names whose values are nobody else's business."""
JWT = re.compile(r"^eyJ[\w-]{8,}\.[\w-]+\.")
HIDDEN = re.compile(r"<input\b[^>]*\bname=[\"']([\w\[\].:-]+)[\"'][^>]*\bvalue=[\"']([^\"'<>]+)[\"']", re.IGNORECASE)
JSON_KEY = re.compile(r"[^.\[\]<>=]+")


@dataclass(frozen=True, slots=True)
class Found:
    """Where a value can be had."""

    step: int
    """Index of the entry whose reply gave it."""
    name: str
    """What the reply called it."""
    where: str
    """As `keep` writes it: `$.id`, `header X-Token`, `/name="csrf".../`."""


@dataclass(slots=True)
class Known:
    """What replies gave so far, what of it was used, and the secrets that come from elsewhere."""

    found: dict[str, Found] = field(default_factory=dict)
    """Value → where it came from."""
    used: dict[int, dict[str, str]] = field(default_factory=dict)
    """Entry → variable → where; only what some later request needs."""
    variables: dict[str, str] = field(default_factory=dict)
    """Value → the variable that stands for it."""
    sent: set[str] = field(default_factory=set)
    """Values the client sent of its own."""
    private: dict[str, str] = field(default_factory=dict)
    """Value that is secret wherever it stands → what it is called. Known before anything is written."""
    secrets: dict[str, str] = field(default_factory=dict)
    """Secret value → the environment variable that stands for it. The values go nowhere."""

    def text(self, name: str, value: str) -> str:
        """A value as an experiment writes it: a placeholder, a reference, or itself."""
        found = self.found.get(value)
        if found is not None and (len(value) >= TELLING or NAMES_ITSELF.search(name)):
            variable = self._variable(value, found)
            self.used.setdefault(found.step, {})[variable] = found.where
            return f"<{variable}>"
        if value and (value in self.private or SECRET.search(name) or JWT.match(value)):
            return f"${{{self.secret(self.private.get(value, name), value)}}}"
        self.sent.add(value)
        return literal(value)

    def secret(self, name: str, value: str) -> str:
        """The environment variable that stands for a secret; the same value has the same one."""
        if value not in self.secrets:
            word = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name), flags=re.ASCII).strip("_").upper()
            word = word if re.match(r"[A-Z_]", word) else f"SECRET_{word}".rstrip("_")
            self.secrets[value] = unused(word, self.secrets.values())
        return self.secrets[value]

    def value(self, name: str, value: object) -> object:
        """A JSON value with the same done to all its leaves; numbers that came from a reply keep their type."""
        match value:
            case dict():
                return {literal(key): self.value(key, inner) for key, inner in value.items()}
            case list():
                return [self.value(name, inner) for inner in value]
            case str():
                return self.text(name, value)
            case int() | float() if not isinstance(value, bool):
                said = self.text(name, json.dumps(value))
                return value if said == json.dumps(value) else said
            case _:
                return value

    def guard(self, entry: Entry) -> None:
        """Know which values of an entry are secret, so that they are also under names that do not say so."""
        named = (*entry.headers, *entry.fields, *parse_qsl(entry.url.query), *_sent(entry), *entry.reply_headers)
        found = [(name, value) for name, value in named if SECRET.search(name) or JWT.match(value)]
        found.append(("token", entry.header("authorization").partition(" ")[2]))
        for cookie in entry.header("cookie").split(";"):
            name, _, value = cookie.strip().partition("=")
            found.append((name, value))
        for name, value in found:
            if len(value) >= GUARDED:
                self.private.setdefault(value, name)

    def tells(self, text: str) -> bool:
        """Whether a text speaks of secrets, or holds one."""
        return any(SECRET.search(word) for word in re.findall(r"\w+", text)) or any(
            value in text for value in self.private
        )

    def learn(self, step: int, entry: Entry) -> None:
        """Take in what a reply gave."""
        for name, value, where in _given(entry):
            telling = len(value) >= TELLING or NAMES_ITSELF.search(name)
            if telling and value not in self.sent and value not in self.found:
                self.found[value] = Found(step, name, where)

    def _variable(self, value: str, found: Found) -> str:
        """The variable for a value, the same each time."""
        if value not in self.variables:
            word = re.sub(r"\W+", "_", found.name).strip("_") or "value"
            word = word if re.match(r"[^\W\d]", word) else f"v{word}"
            self.variables[value] = unused(word, self.variables.values())
        return self.variables[value]


def unused(word: str, taken: Collection[str]) -> str:
    """The word, or the first of `word2`, `word3` … that nobody has."""
    return next(one for one in (word, *(f"{word}{nth}" for nth in range(2, len(taken) + 3))) if one not in taken)


def literal(text: str) -> str:
    """A text in which nothing is a placeholder."""
    return text.replace("<", "<<")


def _sent(entry: Entry) -> Iterator[tuple[str, str]]:
    """(name, value) of the leaves of a JSON body."""
    try:
        yield from ((name, value) for name, value, _ in _leaves("", "$", json.loads(entry.body)))
    except (ValueError, RecursionError):
        pass


def _given(entry: Entry) -> Iterator[tuple[str, str, str]]:
    """(name, value, where) of all that a reply gave."""
    try:
        yield from _leaves("", "$", json.loads(entry.reply))
    except (ValueError, RecursionError):
        for name, value in HIDDEN.findall(entry.reply):
            yield name, value, f"/name=[\"']{re.escape(name)}[\"'][^>]*value=[\"']([^\"']+)[\"']/"
    for name, value in entry.reply_headers:
        if SECRET.search(name):
            yield name, value, f"header {name}"


def _leaves(name: str, path: str, value: object) -> Iterator[tuple[str, str, str]]:
    match value:
        case dict():
            for key, inner in value.items():
                if JSON_KEY.fullmatch(key):
                    yield from _leaves(key, f"{path}.{key}", inner)
        case list():
            for nth, inner in enumerate(value[:20]):
                yield from _leaves(name, f"{path}[{nth}]", inner)
        case bool() | None:
            pass
        case str():
            yield name, value, path
        case _:
            yield name, json.dumps(value), path
