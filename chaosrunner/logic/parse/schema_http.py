"""The JSON Schema of HTTP steps, of what their client does by itself, and of TLS."""

from __future__ import annotations

import typing

from chaosrunner.logic.parse.clients import MOST_REDIRECTS, OUTCOMES
from chaosrunner.logic.parse.http_steps import VERBS
from chaosrunner.logic.parse.replies import CHECK, HEADER, WHERE
from chaosrunner.logic.parse.scalars import DURATION
from chaosrunner.logic.parse.schema_words import Schema, flag, number, pattern, ref, several, table, text
from chaosrunner.model.load import Order


def request_keys() -> Schema:
    """Key → shape of a step that is a request, without those that every step has."""
    fields: Schema = {"type": "object", "additionalProperties": _field(), "description": "Fields of a form."}
    part: Schema = {"anyOf": [_field(), table({"file": text("Beside this file.")}, "A file to upload.", "file")]}
    status = number("An HTTP status.", least=100, most=599)
    client = client_keys()
    return {
        **{verb: text("Path, or a whole URL.") for verb in VERBS},
        "body": {"description": "Sent as JSON; `<name>` is a kept variable or a data column."},
        "form": fields,
        "multipart": {"type": "object", "additionalProperties": part, "description": "Fields and files of a form."},
        "text": text("Sent as it is."),
        "file": text("A file beside this one, sent as it is."),
        "headers": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        "expect": {**several(status), "description": "Statuses that are right; any below 400 unless said."},
        "keep": {
            "type": "object",
            "additionalProperties": pattern(WHERE, "`$.id`, `header Location`, `/a (regex)/`, `status`"),
            "description": "Variable: where it is in the reply.",
        },
        "check": {
            **several(pattern(_plain(CHECK), "`$.id = 7`, `body contains welcome`, `size <= 10KB`")),
            "description": "What a reply must hold beside its status.",
        },
        "redirects": client["redirects"],
        "compression": client["compression"],
        "retry": client["retry"],
    }


def client_keys() -> Schema:
    """Key → shape of what a client does by itself; of a load, a scenario or a step."""
    status = number("An HTTP status.", least=100, most=599)
    on: Schema = {"anyOf": [status, {"type": "string", "pattern": rf"^(?:[1-5]xx|{'|'.join(OUTCOMES)})$"}]}
    retry = table(
        {
            "times": number("Retries at most; 1 unless said.", least=1, most=100),
            "on": {**several(on), "description": "Statuses (503, 5xx) and failures that are asked again."},
            "backoff": pattern(rf"{DURATION}(?:\s+to\s+{DURATION})?", "`100ms to 2s` unless said: doubling."),
            "jitter": flag("Pauses are drawn between nothing and the backoff; true unless said."),
            "retry_after": flag("Wait at least as long as a reply's Retry-After asks."),
            "timeout": ref("duration", "Of one attempt."),
        },
        "Ask again, each time a request of its own on the wire.",
        "on",
    )
    return {
        "redirects": number("How many redirects one request follows; none unless said.", least=0, most=MOST_REDIRECTS),
        "cookies": flag("A cookie jar for each journey, in a closed model for each user."),
        "compression": flag("Ask for compressed replies, and decompress them."),
        "retry": {"anyOf": [retry, {"const": False}]},
    }


def auth() -> Schema:
    """The shape of `auth`."""
    header = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "propertyNames": {"pattern": rf"^{HEADER}$"},
        "additionalProperties": {"type": ["string", "number"]},
    }
    about = "`bearer <token>`, `basic <user>:<password>`, an Authorization header, or `{X-Api-Key: ${KEY}}`."
    return {"anyOf": [{"type": "string"}, header], "description": about}


def data() -> Schema:
    """The shape of `data`."""
    order: Schema = {
        "enum": list(typing.get_args(Order)),
        "description": "In turn unless said; unique: each row once, and journeys without one are not begun.",
    }
    whole = table({"file": text("CSV or .jsonl."), "order": order}, "A data file, and how it is dealt.", "file")
    about = "A CSV with a header, or a .jsonl, beside this file; each user is dealt a row."
    return {"anyOf": [{"type": ["string", "number"]}, whole], "description": about}


def tls() -> Schema:
    """The shape of `tls`."""
    return table(
        {
            "verify": flag("Whether the target's certificate must be right; true unless said."),
            "ca": text("PEM file of the authorities to trust; the host's unless said."),
            "certificate": text("PEM file of the client's certificate."),
            "key": text("PEM file of its key, unless that is in the same file."),
            "password": text("Of the key, as ${…}."),
            "server_name": text("Asked for and expected in the certificate; the URL's host unless said."),
        },
        "How TLS is spoken.",
    )


def _field() -> Schema:
    one: Schema = {"type": ["string", "number", "boolean", "null"]}
    return several(one)


def _plain(grammar: str) -> str:
    """A grammar without names for its groups, which editors' regular expressions spell otherwise."""
    import re

    return re.sub(r"\(\?P<\w+>", "(?:", grammar)
