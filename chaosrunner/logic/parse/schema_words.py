"""The words of the JSON Schemas: a text, a number with bounds, a one-line grammar, one or several."""

from __future__ import annotations

from collections.abc import Mapping

Schema = dict[str, object]


def ref(name: str, about: str) -> Schema:
    """Something that is defined once, under `$defs`."""
    return {"$ref": f"#/$defs/{name}", "description": about}


def text(about: str) -> Schema:
    """Any text; a number is one, too."""
    return {"type": ["string", "number"], "description": about}


def pattern(grammar: str, about: str) -> Schema:
    """A one-line grammar; a text with a reference in it is left to the reader."""
    return {"type": "string", "pattern": whole(grammar), "description": about}


def whole(grammar: str) -> str:
    """A pattern of all of a text, or of a text with a reference in it."""
    return rf"^\s*(?:{grammar})\s*$|\$\{{"


def dsn(about: str, scheme: str = r"postgres(?:ql)?") -> Schema:
    """A connection string, its password as a reference."""
    grammar = rf"{scheme}://[^:@/]*(?::\$\{{[^}}]*\}})?@?[^@]*"
    return {"type": "string", "pattern": rf"^(?:{grammar})$|^\$\{{", "description": f"{about} Passwords as ${{…}}."}


def number(about: str, *, least: int, most: int | None = None) -> Schema:
    """A whole number, or a text that holds a reference to one."""
    bounds = {"minimum": least, **({} if most is None else {"maximum": most})}
    return {"anyOf": [{"type": "integer", **bounds}, {"type": "string", "pattern": r"\$\{"}], "description": about}


def several(one: Schema) -> Schema:
    """One, or a list of them."""
    return {"anyOf": [one, {"type": "array", "items": one}]}


def flag(about: str) -> Schema:
    """`true` or `false`."""
    return {"type": ["boolean", "string"], "enum": [True, False, "true", "false"], "description": about}


def table(properties: Mapping[str, object], about: str, *required: str) -> Schema:
    """A mapping of known keys."""
    return {
        "type": "object",
        "additionalProperties": False,
        "description": about,
        "properties": dict(properties),
        **({"required": list(required)} if required else {}),
    }
