"""References in the load's texts are resolved at the last moment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from chaosrunner.errors import InjectorError
from chaosrunner.logic.reveal import reveal_text, revealed, revealed_auth
from chaosrunner.model.http_client import Tls
from chaosrunner.model.http_step import Request
from chaosrunner.model.load import LoadProfile, Stage, single
from chaosrunner.model.postgres_step import Mix, Query, Statement
from chaosrunner.model.secret import Secret


@dataclass
class Safe:
    """Tools that know some references."""

    known: dict[str, str]
    asked: list[str] = field(default_factory=list)

    def reveal(self, secret: Secret) -> str:
        self.asked.append(secret.template)
        if secret.template not in self.known:
            raise InjectorError(f"{secret.template} is not set")
        return self.known[secret.template]


def profile(step: Request | Query | Mix) -> LoadProfile:
    return single(steps=(step,), stages=(Stage(start=1.0, end=1.0, lasts_s=None),), auth=Secret("bearer ${T}"))


def test_every_text_of_a_step_is_revealed() -> None:
    """Paths, headers and all texts in a body get their values; everything else stays as it is."""
    step = Request(
        name="x",
        method="POST",
        path="/a/${K}",
        headers={"X": "${K} <user>"},
        body={"k": ["${K}", 1, None, {"deep": "a${K}b"}], "n": True},
    )
    found = revealed(profile(step), Safe({"${K}": "v"}))
    got = found.steps[0]
    assert isinstance(got, Request)
    assert got.path == "/a/v"
    assert got.headers == {"X": "v <user>"}
    assert got.body == {"k": ["v", 1, None, {"deep": "avb"}], "n": True}
    assert found.scenarios[0].auth == Secret("bearer ${T}")
    assert revealed_auth(found.scenarios[0], Safe({"${T}": "t"})) == "bearer t"
    assert revealed_auth(replace(found.scenarios[0], auth=None), Safe({})) is None


def test_the_args_of_statements_are_revealed() -> None:
    """Also those of a mix; SQL is sent as it is written."""
    query = Query(name="q", on="db", statements=(Statement(sql="select $1 -- ${K}", args=("${K}", 5)),))
    asked = (Statement(sql="select $1 -- ${K}", args=("v", 5)),)
    found = revealed(profile(query), Safe({"${K}": "v"})).steps[0]
    assert isinstance(found, Query)
    assert found.statements == asked
    mix = revealed(profile(Mix(name="m", queries=(query,), weights=(1,))), Safe({"${K}": "v"})).steps[0]
    assert isinstance(mix, Mix)
    assert mix.queries[0].statements == asked


def test_the_password_of_a_key_is_revealed() -> None:
    """TLS gets its password as it is; without one nothing is asked for."""
    plain = profile(Request(name="x", method="GET", path="/"))
    locked = replace(plain, tls=Tls(certificate="c.pem", password="${P}"))
    assert revealed(locked, Safe({"${P}": "a<b"})).tls == Tls(certificate="c.pem", password="a<b")
    tools = Safe({})
    assert revealed(replace(plain, tls=Tls()), tools).tls == Tls()
    assert revealed(plain, tools).tls is None
    assert tools.asked == []


def test_a_value_cannot_become_a_placeholder() -> None:
    """A '<' inside a value is doubled, one of the template is left alone."""
    assert reveal_text("<a> ${K}", Safe({"${K}": "<b>"})) == "<a> <<b>"


def test_a_missing_reference_is_named() -> None:
    """What cannot be resolved is an error that names the reference."""
    with pytest.raises(InjectorError, match=r"\$\{file:/x\} is not set"):
        reveal_text("a ${file:/x}", Safe({}))
