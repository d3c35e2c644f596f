"""What a variable holds is looked at before the load begins: an address that is none, a key that cannot be opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from parse_rig import EXPERIMENT, around, read, wrong

from chaosrunner.errors import Mistakes
from chaosrunner.logic.parse import load_experiment

BASES = (
    ("ftp://shop", "expected a path that begins with '/', or an http URL"),
    ("http://me:geheim@shop", "a URL is no place for a password"),
    ("http://shop:99999", "expected a host and, if any, a port from 1 to 65,535"),
)


def asking(path: str) -> str:
    """The experiment, its first request going elsewhere."""
    lines = EXPERIMENT.splitlines()
    nth = next(n for n, line in enumerate(lines) if "GET:" in line)
    lines[nth] = lines[nth][: lines[nth].index("GET:")] + f'GET: "{path}"' + ("}" if lines[nth].endswith("}") else "")
    return "\n".join(lines)


@pytest.mark.parametrize(("base", "problem"), BASES)
def test_a_variable_that_makes_no_address_is_a_mistake_in_its_line(base: str, problem: str) -> None:
    """The place is named and what is wrong, never what the variable holds."""
    said = " ".join(wrong(asking("${BASE}/cart"), {"BASE": base}))
    assert f"GET '${{BASE}}/cart', with its variables put in: {problem}" in said
    assert "geheim" not in said


def test_a_variable_that_makes_an_address_is_left_in() -> None:
    """What is right stays a reference; what a file holds is looked at when it is revealed."""
    for path in ("${BASE}/cart", "${file:base}/cart"):
        found = read(asking(path), environ={"BASE": "http://shop.test:8080"})
        assert path in [getattr(step, "path", "") for step in found.load.steps]


def test_a_locked_key_is_a_mistake_where_its_certificate_is_named() -> None:
    """A key that its password does not open is said with its place; a password in a file is not tried."""
    holds = "-----BEGIN CERTIFICATE-----\n-----BEGIN ENCRYPTED PRIVATE KEY-----\nLOCKED"
    line = next(line for line in EXPERIMENT.splitlines() if line.startswith("  auth:"))
    for password, problems in (("${PW}", 1), ("geheim", 0), ("${file:pw}", 0)):
        text = EXPERIMENT.replace(line, f'{line}\n  tls: {{certificate: me.pem, password: "{password}"}}')
        files: dict[str, str | None] = {"x/me.pem": holds}
        try:
            load_experiment(Path("x/e.yaml"), around({"x/e.yaml": text, **files}, environ={"PW": "falsch"}))
            said = []
        except Mistakes as caught:
            said = [str(one) for one in caught.mistakes]
        assert len(said) == problems, said
        assert all("'certificate' cannot be used: its key is locked" in one for one in said)
