"""JSON Schemas (draft 2020-12) of both files, for editors: keys, one-line grammars as patterns, faults and parameters.

What only reading finds (names that must exist elsewhere, units that must fit) stays with the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chaosrunner.logic.parse import http_steps
from chaosrunner.logic.parse.scalars import DURATION, NUMBER, PERCENT, SIZE
from chaosrunner.logic.parse.schema_faults import doses, fault
from chaosrunner.logic.parse.schema_http import auth, client_keys, data, request_keys, tls
from chaosrunner.logic.parse.schema_postgres import query_keys
from chaosrunner.logic.parse.schema_rules import environments, rules
from chaosrunner.logic.parse.schema_websocket import socket_keys
from chaosrunner.logic.parse.schema_words import Schema
from chaosrunner.logic.parse.schema_words import dsn as _dsn
from chaosrunner.logic.parse.schema_words import number as _number
from chaosrunner.logic.parse.schema_words import pattern as _pattern
from chaosrunner.logic.parse.schema_words import ref as _ref
from chaosrunner.logic.parse.schema_words import several as _several
from chaosrunner.logic.parse.schema_words import text as _text
from chaosrunner.logic.parse.schema_words import whole as _whole
from chaosrunner.logic.parse.target import COMPONENT
from chaosrunner.model.fault import Injector

DRAFT = "https://json-schema.org/draft/2020-12/schema"
AMOUNT = rf"{DURATION}|{PERCENT}|{NUMBER}"
VALUE = rf"{NUMBER} ?x baseline|baseline ?[+-] ?(?:{AMOUNT})|{NUMBER} ?/s|{AMOUNT}"
BOUND = rf"[^<>=\s][^<>=]*(?:<=|>=|<|>)\s*(?:{VALUE})"
PER_TIME = r"\s+users?/(?:s|min)"
HEADS = r"(?:\s+users?)?"


def _line(amount: str, *, waves: bool) -> str:
    """The pattern of a line of load whose amounts end like `amount`."""
    number = rf"{NUMBER}(?:\s+users?(?:/s|/min)?)?"
    wavy = rf"(?:\s+in\s+waves\s+of\s+{DURATION})?" if waves else ""
    first = (
        rf"(?:soak\s+at\s+{NUMBER}{amount}(?:\s+for\s+{DURATION})?"
        rf"|(?:{NUMBER}\s+to\s+)?{NUMBER}{amount}{wavy}(?:\s+over\s+{DURATION})?)"
    )
    clauses = [
        rf"hold(?:\s+(?:for\s+)?{DURATION})?",
        rf"to\s+{number}\s+over\s+{DURATION}",
        rf"at\s+{number}(?:\s+for\s+{DURATION})?",
        rf"step\s+by\s+{number}\s+every\s+{DURATION}\s+to\s+{number}",
        rf"spike\s+to\s+{number}\s+for\s+{DURATION}",
    ]
    if waves:
        clauses.append(rf"waves\s+of\s+{DURATION}\s+between\s+{number}\s+and\s+{number}(?:\s+over\s+{DURATION})?")
    return rf"{first}(?:\s*,\s*then\s+(?:{'|'.join(clauses)}))*"


ARRIVALS = rf"{_line(PER_TIME, waves=True)}(?:\s*,\s*at\s+random)?"
USERS = rf"{_line(HEADS, waves=False)}(?:\s*,\s*each\s+user\s+every\s+{DURATION})?"
THINK = rf"about\s+{DURATION}|{DURATION}(?:\s+to\s+{DURATION})?"
_RECOVER = rf"(?:(?:within|hold)\s+{DURATION}|to\s+within\s+{PERCENT}\s+of\s+(?:the\s+)?baseline)"
RECOVER = rf"{_RECOVER}(?:\s*,\s*{_RECOVER}){{0,2}}"


def experiment_schema(injectors: Iterable[Injector]) -> Schema:
    """The schema of an experiment file.

    Args:
        injectors: the faults it knows, with their parameters.
    """
    known = sorted(injectors, key=lambda injector: injector.name)
    return {
        "$schema": DRAFT,
        "title": "chaosrunner experiment",
        "description": "A question, a system, who uses it, what breaks, and what must hold.",
        "type": "object",
        "required": ["question", "load", "hypothesis"],
        "additionalProperties": False,
        "properties": {
            "question": {
                "type": "string",
                "minLength": 1,
                "description": "What this experiment asks, in one sentence.",
            },
            "system": _text("Name of systems/NAME.yaml beside this file, or a path; `--system` replaces it."),
            "load": _load(),
            "baseline": _ref(
                "duration", "How long the healthy plateau is watched before anything breaks; 30s unless said."
            ),
            "faults": {
                "type": ["array", "null"],
                "items": {"$ref": "#/$defs/fault"},
                "description": "What breaks. None = a load test.",
            },
            "hypothesis": {
                "type": "object",
                "additionalProperties": False,
                "description": "What must hold before, while and after something is broken.",
                "properties": {
                    "before": _ref("tolerances", "On the baseline; nothing breaks unless it holds."),
                    "during": _ref("tolerances", "From the first fault until the last one ends."),
                    "after": _ref("tolerances", "From the moment of recovery on; what recovered means."),
                },
            },
            "recover": _pattern(
                RECOVER,
                "`within 2min, hold 30s`: how soon it must be well, and stay so for how long; with "
                "`to within 10% of baseline` it must be proven to be as before, too.",
            ),
            "abort": _ref("aborts", "Conditions to give up and heal at once, such as `errors > 30% for 10s`."),
            "probes": {"type": ["array", "null"], "items": {"$ref": "#/$defs/probe"}},
            "seed": _number("Of every choice made by chance.", least=0),
            "repeat": _number("How many runs `run` plays; `run --repeat` wins.", least=1, most=1000),
            "environments": environments(),
            "rules": rules(),
        },
        "$defs": {**_words(), **_steps(), **_probe(), **doses(), "fault": fault(known)},
    }


def system_schema() -> Schema:
    """The schema of a system file."""
    several = {"$ref": "#/$defs/texts"}
    processes = {
        "type": "object",
        "additionalProperties": False,
        "description": "How to find the processes on this host: exactly one way.",
        "properties": {
            "ports": _several(_number("A TCP port that it listens on.", least=1, most=65535)),
            "pids": _several(_number("A process id.", least=1)),
            "pidfiles": several,
            "command": _text("A regular expression searched in command lines; needs `at_most`."),
            "at_most": _number("Refuse if more processes match.", least=1),
        },
        "oneOf": [{"required": [way]} for way in ("ports", "pids", "pidfiles", "command")],
        "dependentRequired": {"command": ["at_most"], "at_most": ["command"]},
    }
    component = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "at": {**several, "description": "`host:port` or URLs where it answers."},
            "processes": processes,
            "containers": _containers(),
            "proxies": {**several, "description": "Names of the fault proxies in front of it, one an instance."},
            "host": {
                "type": "string",
                "description": "Another host, where faults on processes, network and resources act: ssh://user@web-2",
            },
            "proxy": _pattern(
                r"for me(, reset open connections)?|at \S+:\d+( as (tcp|http|postgres))?",
                "A fault proxy put in front of `at`: 'for me', or 'at 127.0.0.1:6432' for clients to be pointed at.",
            ),
            "namespaces": {**several, "description": "Names of its network namespaces (`ip netns`), one an instance."},
            "dsn": _dsn("Postgres as the application reaches it."),
            "admin": _dsn("Postgres as a role that may end the application's sessions."),
            "redis": _dsn("Redis as a user that may end clients and change settings.", r"rediss?"),
        },
    }
    return {
        "$schema": DRAFT,
        "title": "chaosrunner system",
        "description": "Where things are. Every other key is a component.",
        "type": "object",
        "properties": {
            "environment": _text("What this is: a laptop, CI, staging."),
            "entry": _pattern(r"https?://\S+", "Relative paths of the load start here."),
            "fault_proxy": _pattern(r"https?://\S+", "Base URL of the fault proxy's control API (Toxiproxy's)."),
            "tls": tls(),
            "protect": {**several, "description": "Components that no fault may target."},
            "rules": rules(),
        },
        "patternProperties": {f"^(?!(?:environment|entry|fault_proxy|protect|rules|tls)$){COMPONENT}$": component},
        "additionalProperties": False,
        "$defs": {"texts": _several({"type": ["string", "number"]})},
    }


def _containers() -> Schema:
    several = {"$ref": "#/$defs/texts"}
    return {
        "type": "object",
        "additionalProperties": False,
        "description": "How to find the running containers: exactly one way.",
        "properties": {
            "names": {**several, "description": "Names of containers, one an instance."},
            "labels": {**several, "description": "`key` or `key=value`; a container has all of them."},
            "compose": _pattern(r"[^/\s]+/[^/\s]+", "`project/service` of Docker Compose."),
            "image": _text("The image as the container names it; without a tag `latest` is meant."),
            "at_most": _number("Refuse if more containers are found.", least=1, most=1000),
            "engine": _pattern(
                r"unix:///\S+|tcp://\S+", "The engine's address; `DOCKER_HOST` or this host's unless said."
            ),
        },
        "oneOf": [{"required": [way]} for way in ("names", "labels", "compose", "image")],
    }


def _load() -> Schema:
    return {
        "type": "object",
        "oneOf": [
            {"required": ["each_user"], "oneOf": [{"required": ["arrivals"]}, {"required": ["users"]}]},
            {"required": ["scenarios"], "not": {"required": ["arrivals", "users"]}},
        ],
        "dependentRequired": {"iterations": ["users"], "max_in_flight": ["arrivals"]},
        "additionalProperties": False,
        "description": "Who arrives, what each does, and how patiently.",
        "properties": {
            "scenarios": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": _scenario(),
                },
                "description": "Several journeys at once, by weight, or each with `arrivals` or `users` of its own.",
            },
            **_who_and_what(),
            "tls": tls(),
            "timeout": _ref(
                "duration", "A request without a whole reply after this long is an error; 10s unless said."
            ),
            "connections": _number("Connections open at once.", least=1, most=60_000),
            "workers": {
                "description": "Processes that send; auto: as many as there are CPUs free for the load.",
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": 256},
                    {"type": "string", "pattern": r"^auto$|\$\{"},
                ],
            },
            "warmup": _ref("duration", "Traffic before this is not judged; the ramp unless said."),
            "unanswered": _ref("duration", "`abort` counts a request open for longer as an error; 2s unless said."),
        },
    }


def _scenario() -> Schema:
    return {
        "type": "object",
        "required": ["each_user"],
        "not": {"required": ["arrivals", "users"]},
        "dependentRequired": {"iterations": ["users"], "max_in_flight": ["arrivals"]},
        "additionalProperties": False,
        "properties": {
            **_who_and_what(),
            "weight": _number("Its share of the load's journeys, beside the weights of the others.", least=0),
            "tags": _several(_text("A word for all its steps, in tolerances and reports.")),
            "starts": _ref("duration", "Its own `arrivals` or `users` begin this long after the load does."),
        },
    }


def _who_and_what() -> dict[str, object]:
    """What a load and each of its scenarios may say."""
    return {
        "each_user": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}},
        "auth": auth(),
        "data": data(),
        **client_keys(),
        "arrivals": _pattern(ARRIVALS, "Open model: `10 to 200 users/s over 60s, then hold`, whatever the replies."),
        "users": {
            "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": _whole(USERS)}],
            "description": "Closed model: `50`, `10 to 200 over 60s, then hold`, each with one journey at a time.",
        },
        "iterations": _number("Journeys after which each of the users leaves.", least=1),
        "max_in_flight": _number("Users under way at once; one more is turned away and counted as an error.", least=1),
    }


def _words() -> Schema:
    """The one-line grammars."""
    tolerance = _pattern(rf"{BOUND}(?:\s+in\s+any\s+{DURATION})?", "`p95 of log in <= 2x baseline in any 10s`")
    return {
        "duration": _pattern(DURATION, "A number and us, ms, s, m, min or h."),
        "share": _pattern(PERCENT, "A number and %."),
        "size": _pattern(SIZE, "A number and B, KB, MB, GB (1000s) or KiB, MiB, GiB (1024s)."),
        "rate": _pattern(rf"{SIZE} ?/s", "A size a second, such as 64KB/s."),
        "tolerances": _several(tolerance),
        "aborts": _several(_pattern(rf"{BOUND}(?:\s+for\s+{DURATION})?", "`errors > 30% for 10s`")),
    }


def _steps() -> Schema:
    kinds = [_kind(http_steps.VERBS, request_keys())]
    kinds += [_kind((verb,), keys) for verb, keys in (*socket_keys().items(), *query_keys().items())]
    one: Schema = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return {"step": {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": one}}


def _kind(verbs: Sequence[str], keys: Schema) -> Schema:
    """A step of one protocol: exactly one of its verbs, its keys, and what every step may say."""
    common: Schema = {
        "think": _pattern(THINK, "Pause before this step: `2s`, `1s to 3s`, `about 2s`."),
        "timeout": _ref("duration", "An answer later than this is an error; the load's unless said."),
        "times": _number("How often it is done before the journey goes on; once unless said.", least=1),
        "for": _ref("duration", "Done again for as long as this."),
        "every": _ref("duration", "Done so long after one another, whether or not answers have come."),
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {**keys, **common},
        "oneOf": [{"required": [verb]} for verb in verbs],
    }


def _probe() -> Schema:
    ask = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "http": _text("URL, or a path on the system's entry."),
            "tcp": _text("host:port"),
            "process": {"type": ["string", "array"], "description": "A command and its arguments."},
            "expect": _number("The status that is right; any below 400 unless said.", least=100, most=599),
            "value": _text("JSON path to a number in the reply, such as `$.queue.length`."),
            "every": _ref("duration", "1s unless said."),
            "timeout": _ref("duration", "2s unless said."),
        },
        "oneOf": [{"required": [kind]} for kind in ("http", "tcp", "process")],
    }
    return {"probe": {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": ask}}
