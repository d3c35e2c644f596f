"""The whole API as an OpenAPI 3.1 document, made from the routes and from the kinds of toxics."""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from aiohttp import web

from chaosrunner.proxy.decode import LARGEST_NUMBER, NAME_LENGTH_LIMIT
from chaosrunner.proxy.leases import LONGEST_TTL_S
from chaosrunner.proxy.proxies import Protocol
from chaosrunner.proxy.refusals import RefusedError
from chaosrunner.proxy.toxics.toxic import TYPES, Stream

Schema = dict[str, Any]
DIALECT = "3.1.0"


@dataclass(frozen=True, slots=True)
class _Call:
    """What the document says of a handler beside its docstring.

    Attributes:
        gives: The schema of a good answer, None for one without a body, or a content type other than JSON.
        takes: The schema of the request body, None for none.
        status: Of a good answer.
        refuses: The statuses of refusals that only this call has.
    """

    gives: Schema | str | None
    takes: Schema | None = None
    status: int = 200
    refuses: tuple[int, ...] = ()


def document(routes: Iterable[web.AbstractRoute]) -> Schema:
    """The document of these routes.

    Raises:
        KeyError: If a handler has no entry here: no route goes undocumented.
    """
    paths: dict[str, Schema] = {}
    for route in routes:
        assert route.resource is not None
        path = paths.setdefault(route.resource.canonical, {})
        name = route.handler.__name__
        path[route.method.lower()] = _operation(route, _CALLS[name])
        path.setdefault("parameters", _parameters(route.resource.canonical))
    return {
        "openapi": DIALECT,
        "info": {
            "title": "chaosrunner fault proxy",
            "version": "2",
            "description": "Toxiproxy's HTTP API, version 2, and beside it stats, owners and leases. Keys match in any"
            " case, unknown ones are ignored, and null is absent.",
        },
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": _SECURITY},
        "security": [{}, *({scheme: []} for scheme in _SECURITY)],
    }


def _operation(route: web.AbstractRoute, call: _Call) -> Schema:
    summary = inspect.getdoc(route.handler) or ""
    answers = {status: _REFUSALS[status] for status in (*_ALWAYS, *call.refuses)}
    if call.takes is not None:
        answers |= {status: _REFUSALS[status] for status in _WITH_BODY}
    operation: Schema = {
        "operationId": f"{route.handler.__name__}_{route.method.lower()}",
        "summary": summary,
        "responses": {str(status): answer for status, answer in sorted({call.status: _good(call), **answers}.items())},
    }
    if call.takes is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": call.takes}}}
    if route.method == "POST" and route.handler.__name__ in {"update_proxy", "change_toxic"}:
        operation["deprecated"] = True  # since Toxiproxy 2.6 it is PATCH
    return operation


def _good(call: _Call) -> Schema:
    if call.gives is None:
        return {"description": "Done."}
    if isinstance(call.gives, str):
        return {"description": "As it is now.", "content": {call.gives: {"schema": {"type": "string"}}}}
    return {"description": "As it is now.", "content": {"application/json": {"schema": call.gives}}}


def _parameters(path: str) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def _object(required: Iterable[str] = (), /, **properties: Schema) -> Schema:
    shape: Schema = {"type": "object", "properties": properties}
    return shape | ({"required": list(required)} if required else {})


def _or_null(schema: Schema) -> Schema:
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    choices = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **choices}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _map_of(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


def _schemas() -> dict[str, Schema]:
    kinds = {f"{_words(kind)}Attributes": _attributes(attributes) for kind, attributes in TYPES.items()}
    return {**_SHAPES, "NewToxic": _new_toxic(), **kinds}


def _words(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))


def _new_toxic() -> Schema:
    """One alternative a type, so that a reader, or a fuzzer, learns which attributes go with it."""
    common = {
        "name": _or_null(_NAME) | {"description": "By default the type and the stream: latency_downstream."},
        "stream": _or_null({"type": "string", "enum": list(get_args(Stream)), "default": "downstream"}),
        "toxicity": _or_null(_TOXICITY),
        "seed": _or_null({"type": "integer", "minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER}),
        **_TERM,
    }
    alternatives = []
    for kind in TYPES:
        attributes = _or_null(_ref(f"{_words(kind)}Attributes"))
        alternatives.append(_object(["type"], type={"const": kind}, attributes=attributes, **common))
    return {"oneOf": alternatives}


def _attributes(kind: type[Any]) -> Schema:
    hints = get_type_hints(kind)
    properties = {field.name: _attribute(kind, field, hints[field.name]) for field in dataclasses.fields(kind)}
    return {"description": inspect.getdoc(kind), **_object(**properties)}


def _attribute(kind: type[Any], field: "dataclasses.Field[Any]", hint: Any) -> Schema:
    default = {} if field.default is dataclasses.MISSING else {"default": field.default}
    if get_origin(hint) is Literal:
        return _or_null({"type": "string", "enum": list(get_args(hint))}) | default
    if hint is str:
        return _or_null({"type": "string"}) | default
    shape = {"type": "integer" if hint is int else "number", "maximum": LARGEST_NUMBER, "minimum": -LARGEST_NUMBER}
    if _refused(kind, **{field.name: -1}):  # the kind itself knows its bounds
        shape["minimum"] = 0
    return _or_null(shape) | default


def _refused(kind: type[Any], **attributes: object) -> bool:
    try:
        kind(**attributes)
    except RefusedError:
        return True
    return False


_NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": NAME_LENGTH_LIMIT,
    "pattern": r"^[^/\x00-\x1f\x7f]+$",
    "not": {"enum": [".", ".."]},
}
_ADDRESS: Schema = {"type": "string", "description": "host:port, [IPv6]:port; port 0 is one that is free."}
_TOXICITY: Schema = {"type": "number", "minimum": 0, "maximum": 1, "default": 1}
_TERM: Mapping[str, Schema] = {
    "ttl": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "maximum": LONGEST_TTL_S,
        "description": "Seconds after which the change undoes itself.",
    },
    "owner": _or_null(_NAME) | {"description": "Who makes the change, for DELETE /owners/{owner}."},
}
_FILE: Schema = {"type": ["string", "null"], "pattern": "^/", "description": "An absolute path on the proxy's machine."}
_TLS: Schema = _object(
    listen=_or_null(
        _object(["certificate", "key"], certificate=_FILE, key=_FILE, client_ca=_FILE, required={"type": "boolean"})
        | {"additionalProperties": False, "description": "How clients are served."}
    ),
    upstream=_or_null(
        _object(
            verify={"type": "boolean", "default": True},
            ca=_FILE,
            server_name={"type": ["string", "null"]},
            certificate=_FILE,
            key=_FILE,
        )
        | {"additionalProperties": False, "description": "How the server is spoken to."}
    ),
) | {"additionalProperties": False, "description": "Which sides have TLS; null or {} for none."}
_SETTINGS: Mapping[str, Schema] = {
    "listen": _or_null(_ADDRESS),
    "upstream": _or_null(_ADDRESS),
    "enabled": {"type": ["boolean", "null"]},
    "protocol": _or_null({"type": "string", "enum": list(get_args(Protocol))}),
    "tls": _or_null(_TLS),
}
_NEW_PROXY = {**_SETTINGS, "name": _NAME, "upstream": _ADDRESS}
_SHAPES: Mapping[str, Schema] = {
    "NewProxy": _object(["name", "upstream"], **_NEW_PROXY, **_TERM),
    "ProxyOfMany": _object(["name", "upstream"], **_NEW_PROXY),
    "ProxyChange": _object(**_SETTINGS, **_TERM),
    "Proxy": _object(
        ["name", "listen", "upstream", "enabled", "toxics"],
        name=_NAME,
        listen=_ADDRESS,
        upstream=_ADDRESS,
        enabled={"type": "boolean"},
        toxics=_list_of("Toxic"),
        ttl={"type": "number", "description": "Seconds left of an open lease."},
        owner={"type": "string"},
        protocol={"type": "string"},
        tls={"type": "object"},
    ),
    "Toxic": _object(
        ["name", "type", "stream", "toxicity", "attributes"],
        name=_NAME,
        type={"type": "string", "enum": list(TYPES)},
        stream={"type": "string", "enum": list(get_args(Stream))},
        toxicity=_TOXICITY,
        attributes={"type": "object"},
        seed={"type": "integer"},
        ttl={"type": "number"},
        owner={"type": "string"},
    ),
    "ToxicChange": _object(
        toxicity=_or_null(_TOXICITY),
        attributes={"type": ["object", "null"], "description": "Only those to change, as the type has them."},
        **_TERM,
    ),
    "Lease": _object(
        ["proxy", "toxic", "change"],
        proxy={"type": "string"},
        toxic={"type": ["string", "null"]},
        change={"type": "string"},
        ttl={"type": "number"},
        owner={"type": "string"},
    ),
    "Stats": _object(
        ["enabled", "connections", "bytes", "toxics"],
        enabled={"type": "boolean"},
        connections=_map_of({"type": "integer", "minimum": 0}),
        bytes=_map_of({"type": "integer", "minimum": 0}),
        toxics=_map_of({"type": "object"}),
        down_since_seconds={"type": "number"},
    ),
    "Error": _object(["error", "status"], error={"type": "string"}, status={"type": "integer"}),
}

_SECURITY: Mapping[str, Schema] = {
    "token": {"type": "http", "scheme": "bearer"},
    "password": {"type": "http", "scheme": "basic", "description": "Any user, the token as the password."},
}


def _refusal(description: str, content_type: str = "application/json") -> Schema:
    schema = _ref("Error") if content_type == "application/json" else {"type": "string"}
    return {"description": description, "content": {content_type: {"schema": schema}}}


_REFUSALS: Mapping[int, Schema] = {
    400: _refusal("The body is not what the call takes, or a value is out of range."),
    401: _refusal("The token is missing or wrong.", "text/plain"),
    403: _refusal("The call comes from a web page, or asks for a foreign host without a token.", "text/plain"),
    404: _refusal("There is no such proxy or toxic."),
    408: _refusal("The body did not arrive in time."),
    409: _refusal("The name is taken, or another owner has a lease."),
    413: _refusal("The body is too large."),
    500: _refusal("An address cannot be bound; nothing has changed."),
}
_ALWAYS = (401, 403)
_WITH_BODY = (400, 408, 413)

_CALLS: Mapping[str, _Call] = {
    "version": _Call(_object(["version"], version={"type": "string"})),
    "reset": _Call(None, status=204, refuses=(500,)),
    "populate": _Call(
        _object(["proxies"], proxies=_list_of("Proxy")),
        takes=_or_null(_list_of("ProxyOfMany")),
        status=201,
        refuses=(500,),
    ),
    "list_proxies": _Call(_map_of(_ref("Proxy"))),
    "create_proxy": _Call(_ref("Proxy"), takes=_ref("NewProxy"), status=201, refuses=(409, 500)),
    "show_proxy": _Call(_ref("Proxy"), refuses=(404,)),
    "update_proxy": _Call(_ref("Proxy"), takes=_ref("ProxyChange"), refuses=(404, 409, 500)),
    "delete_proxy": _Call(None, status=204, refuses=(404,)),
    "show_stats": _Call(_ref("Stats"), refuses=(404,)),
    "list_toxics": _Call(_list_of("Toxic"), refuses=(404,)),
    "add_toxic": _Call(_ref("Toxic"), takes=_ref("NewToxic"), refuses=(404, 409)),
    "show_toxic": _Call(_ref("Toxic"), refuses=(404,)),
    "change_toxic": _Call(_ref("Toxic"), takes=_ref("ToxicChange"), refuses=(404, 409)),
    "remove_toxic": _Call(None, status=204, refuses=(404,)),
    "list_owners": _Call(_map_of(_list_of("Lease"))),
    "end_owner": _Call(_list_of("Lease"), refuses=(500,)),
    "show_document": _Call({"type": "object"}),
    "show_metrics": _Call("text/plain"),
}
