"""The JSON Schema of WebSocket steps."""

from __future__ import annotations

from collections.abc import Mapping

from chaosrunner.logic.parse.replies import JSON_PATH
from chaosrunner.logic.parse.scalars import SIZE
from chaosrunner.logic.parse.schema_words import Schema, number, pattern, ref, several, text
from chaosrunner.logic.parse.websocket_steps import RECONNECT, SILENT


def socket_keys() -> Mapping[str, Schema]:
    """Verb → key → shape, without the keys that every step has."""
    path = pattern(JSON_PATH, "JSON path into a message, such as `$.n`.")
    keep: Schema = {
        "type": "object",
        "additionalProperties": path,
        "description": "Variable: JSON path into the message.",
    }
    contained: Schema = {"description": "What it must contain: each key of a mapping with that value, inwards."}
    code = number("A close code.", least=1000, most=4999)
    on = text("The step that OPENs the socket; the last one before unless said.")
    return {
        "OPEN": {
            "OPEN": text("Path, or a whole ws URL."),
            "headers": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
            "say": {"description": "A message sent each time it opens; `<last>` is the latest number it got."},
            "numbered": {**path, "description": "JSON path to the number of one-way messages."},
            "resumed": {**path, "description": "JSON path to whether a session went on after a reconnect."},
            "ping": ref("duration", "A ping so often."),
            "silent": pattern(SILENT, "STALLED after this long without a message: `5s`, `10x median, then reconnect`."),
            "reconnect": pattern(RECONNECT, "`at once`, `after 1s`, `backoff 100ms to 10s, at most 5 times`."),
            "reads": pattern(rf"{SIZE} ?/s", "A slow consumer on purpose, such as `4KB/s`."),
        },
        "SEND": {
            "SEND": {"description": "A message: a text as it is, else JSON; `<id>` makes its answer known."},
            "on": on,
            "to": {"const": "everyone", "description": "It must arrive at every socket open to the same path."},
            "match": {**path, "description": "Where the id is in the answer; anywhere unless said."},
            "expect": contained,
            "keep": keep,
        },
        "AWAIT": {
            "AWAIT": {"description": "`message`, `close`, or what the message must contain."},
            "on": on,
            "expect": {**several(code), "description": "Close codes that are right; any unless said."},
            "keep": keep,
        },
        "CLOSE": {"CLOSE": {"anyOf": [code, {"type": "null"}], "description": "The code; 1000 unless said."}, "on": on},
    }
