"""The JSON Schema of Postgres steps."""

from __future__ import annotations

from collections.abc import Mapping

from chaosrunner.logic.parse.postgres_steps import ISOLATIONS, ROWS, WAYS
from chaosrunner.logic.parse.replies import JSON_PATH
from chaosrunner.logic.parse.schema_words import Schema, flag, number, pattern, ref, several, table, text


def query_keys() -> Mapping[str, Schema]:
    """Verb → key → shape, without the keys that every step has."""
    single: Schema = {**_sql(), **_of_statement(), **_of_query()}
    several_of_them: Schema = {
        "TRANSACTION": {
            "type": ["array", "null"],
            "items": {"anyOf": [{"type": "string"}, table({**_sql(), **_of_statement()}, "With its args.", "SQL")]},
            "description": "Statements between BEGIN and COMMIT; a failed one undoes all.",
        },
        "isolation": {"enum": list(ISOLATIONS), "description": "The server's own default unless said."},
        **_of_query(),
    }
    weight = number("Its share beside the others' weights; 1 unless said.", least=1)
    kinds = {"SQL": single, "TRANSACTION": several_of_them}
    member = {"anyOf": [table({**keys, "weight": weight}, "A query.", verb) for verb, keys in kinds.items()]}
    mix: Schema = {
        "MIX": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": member},
            "description": "Queries by weight: `- read: {SQL: …, weight: 9}`; one of them each time, at random.",
        }
    }
    return {**kinds, "MIX": mix}


def _sql() -> Schema:
    return {"SQL": text("A statement; `$1` is the first of `args`.")}


def _of_statement() -> Schema:
    arg: Schema = {
        "type": ["string", "number", "boolean", "null"],
        "description": "A value, a `<variable>`, or `random 1 to 1000`: drawn anew each time.",
    }
    return {
        "args": {**several(arg), "description": "What stands for `$1`, `$2`, …"},
        "expect": pattern(ROWS, "How many rows it must give or touch: `1 row`, `at least 1 row`, `2 to 5 rows`."),
        "keep": {
            "type": "object",
            "additionalProperties": pattern(JSON_PATH, "JSON path into the rows: `$[0].balance`."),
            "description": "Variable: JSON path into the rows.",
        },
    }


def _of_query() -> Schema:
    pool = {
        "size": number("Connections, over all workers; 10 unless said.", least=1, most=10_000),
        "wait": ref("duration", "Who has none after this long is told so; the step's timeout unless said."),
        "statement_timeout": ref("duration", "The server ends a statement that lasts longer."),
        "leak": ref("duration", "Whoever keeps one longer is named with the stack that took it; 10s unless said."),
    }
    return {
        "on": text("The component whose dsn it uses; the only one that has one unless said."),
        "pool": {
            "anyOf": [pool["size"], table(pool, "The pool of its component, said once.")],
            "description": "The connections that all steps of the component share: a size, or more about it.",
        },
        "connection": {"enum": list(WAYS), "description": "Where its connection comes from; pooled unless said."},
        "retry": number("How often it is tried again after a serialization failure or a deadlock.", least=0, most=1000),
        "numbered": flag("Each commit is numbered in a schema of ours, and looked for again at the end."),
        "setup": {**several({"type": "string"}), "description": "SQL done once before the load, in a schema of ours."},
    }
