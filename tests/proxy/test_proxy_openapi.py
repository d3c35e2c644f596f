"""The OpenAPI document: valid, complete, and what it says of bodies is what the API takes and gives."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from proxy_rig import running_api

from chaosrunner.proxy import FaultProxy
from chaosrunner.proxy.toxics.toxic import TYPES

if TYPE_CHECKING:
    from proxy_rig import Api

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = FaultProxy(metrics=["proxy"]).document()


def schema(name: str) -> Draft202012Validator:
    """A schema of the document, able to follow its references."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]})


def test_it_is_an_openapi_document() -> None:
    """The specification's own schema has nothing to say against it."""
    OpenAPIV31SpecValidator(DOCUMENT).validate()


async def test_every_route_is_in_it(api: Api) -> None:
    """Each route with each verb is in the document that is served, and nothing else is."""
    served = await api.ok("GET", "/openapi.json")
    paths = served["paths"]
    described = {(verb.upper(), path) for path in paths for verb in paths[path] if verb != "parameters"}
    for verb, path in sorted(described):
        status, _ = await api.call(verb, re.sub("{.*?}", "none", path))
        assert status != 405, (verb, path)
        allowed = await _allowed(api, re.sub("{.*?}", "none", path))
        assert allowed == {verb for verb, other in described if other == path}
    assert ("GET", "/metrics") not in described


async def _allowed(api: Api, path: str) -> set[str]:
    """The verbs of a route as a 405 has them."""
    async with api.session.request("OPTIONS", api.proxy.url + path) as answer:
        return set(answer.headers["Allow"].split(","))


def test_every_operation_says_what_it_does() -> None:
    """Each operation has a sentence, an id of its own, and every answer a description."""
    operations = [item[verb] for item in DOCUMENT["paths"].values() for verb in item if verb != "parameters"]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"].endswith(".")
        assert all(answer["description"].endswith(".") for answer in operation["responses"].values())


@pytest.mark.parametrize("kind", sorted(TYPES))
async def test_every_kind_of_toxic_is_described_as_it_is(api: Api, kind: str) -> None:
    """Each attribute is in the document with its default, and the defaults are an example that it allows."""
    attributes = {field.name: field.default for field in dataclasses.fields(TYPES[kind])}
    name = "".join(word.capitalize() for word in kind.split("_")) + "Attributes"
    described = DOCUMENT["components"]["schemas"][name]
    assert described["description"]
    assert {key: value["default"] for key, value in described["properties"].items()} == attributes
    body = {"type": kind, "attributes": attributes}
    assert schema("NewToxic").is_valid(body)
    family = TYPES[kind].family
    await api.proxy_to(9, protocol=family if family in {"http", "postgres"} else "tcp")
    status, made = await api.call("POST", "/proxies/p/toxics", body)
    if status == 200:  # some kinds must be told what to do
        assert schema("Toxic").is_valid(made)
        assert {key: made["attributes"].get(key, value) for key, value in attributes.items()} == attributes


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("NewToxic", {"type": "gremlin"}),
        ("NewToxic", {"type": "latency", "toxicity": 2}),
        ("NewToxic", {"type": "latency", "attributes": {"latency": -1}}),
        ("NewToxic", {"type": "latency", "attributes": {"latency": "1"}}),
        ("NewToxic", {"type": "limit_data", "attributes": {"bytes": 1.5}}),
        ("NewToxic", {"type": "latency", "attributes": {"distribution": "poisson"}}),
        ("NewProxy", {"name": "n"}),
        ("NewProxy", {"name": "a/b", "upstream": "h:1"}),
        ("NewProxy", {"name": "..", "upstream": "h:1"}),
        ("ProxyChange", {"enabled": "yes"}),
        ("ProxyChange", {"ttl": 0}),
        ("ToxicChange", {"attributes": []}),
    ],
)
def test_mistakes_are_not_allowed_by_it(name: str, body: dict[str, Any]) -> None:
    """What the API refuses the document does not allow."""
    assert not schema(name).is_valid(body)


async def test_answers_are_as_described() -> None:
    """Proxies, toxics, leases, stats and errors are as their schemas say."""
    async with running_api() as api:
        await api.proxy_to(9)
        await api.toxic("latency", more={"ttl": 9, "owner": "me", "seed": 4}, latency=1)
        for name, path in (
            ("Proxy", "/proxies/p"),
            ("Toxic", "/proxies/p/toxics/latency_downstream"),
            ("Stats", "/proxies/p/stats"),
        ):
            schema(name).validate(await api.ok("GET", path))
        for lease in (await api.ok("GET", "/owners"))["me"]:
            schema("Lease").validate(lease)
        schema("Error").validate((await api.call("GET", "/proxies/none"))[1])


def test_the_command_line_prints_it() -> None:
    """`--openapi` prints the document with every route and starts nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "chaosrunner.proxy", "--openapi"], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == DOCUMENT
    assert done.stderr == ""


def test_the_reference_names_every_toxic_and_attribute() -> None:
    """docs/reference has a row, or a page, for each type of toxic, with each of its attributes."""
    pages = "".join(page.read_text() for page in (ROOT / "docs/reference").glob("proxy*.md"))
    for kind, attributes in TYPES.items():
        assert f"`{kind}`" in pages
        assert [name for name in (f.name for f in dataclasses.fields(attributes)) if f"`{name}`" not in pages] == []
