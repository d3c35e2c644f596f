"""The calls that are put to the real Toxiproxy and to ours: good, bad and odd ones, as data.

A scene begins with no proxies. `<a>`, `<b>` and `<c>` are ports that were free when it began, `<taken>` is one that
somebody else listens at. A call that is answered differently names the difference (see proxy_differences.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

UP = "127.0.0.1:9"
P = {"name": "p", "listen": "127.0.0.1:<a>", "upstream": UP}
Q = {"name": "q", "listen": "127.0.0.1:<b>", "upstream": UP}
ANY = "127.0.0.1:0"
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        method: As it is sent.
        path: As it is sent, encoded.
        body: Bytes as they are, anything else as JSON; None for no body.
        differs: The id of the difference in status, error or value that it shows.
        headers: Beside those that any client sends.
    """

    method: str
    path: str
    body: Any = None
    differs: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def payload(self) -> bytes | None:
        """The body as it is sent, with its placeholders."""
        return self.body if isinstance(self.body, bytes) or self.body is None else json.dumps(self.body).encode()

    def __str__(self) -> str:
        """The call on one line."""
        return f"{self.method} {self.path} {(self.payload or b'')[:120]!r} {dict(self.headers) or ''}"


def get(path: str, differs: str | None = None, **headers: str) -> Call:
    """A GET."""
    return Call("GET", path, None, differs, headers)


def post(path: str, body: Any = None, differs: str | None = None, **headers: str) -> Call:
    """A POST."""
    return Call("POST", path, body, differs, headers)


def patch(path: str, body: Any = None, differs: str | None = None) -> Call:
    """A PATCH."""
    return Call("PATCH", path, body, differs)


def delete(path: str, differs: str | None = None) -> Call:
    """A DELETE."""
    return Call("DELETE", path, None, differs)


def new(differs: str | None = None, **fields: Any) -> Call:
    """Create a proxy called n at any port, with `fields` set otherwise; None leaves one out."""
    body = {"name": "n", "listen": ANY, "upstream": UP, **fields}
    return post("/proxies", {key: value for key, value in body.items() if value is not None}, differs)


def toxic(kind: Any, differs: str | None = None, *, more: Mapping[str, Any] | None = None, **attributes: Any) -> Call:
    """Add a toxic to p."""
    body = {"type": kind, **({"attributes": attributes} if attributes else {}), **(more or {})}
    return post("/proxies/p/toxics", body, differs)


def change(differs: str | None = None, *, more: Mapping[str, Any] | None = None, **attributes: Any) -> Call:
    """Change toxic t of p."""
    return patch("/proxies/p/toxics/t", {**({"attributes": attributes} if attributes else {}), **(more or {})}, differs)


T = "/proxies/p/toxics/t"
START = [post("/proxies", P), toxic("latency", more={"name": "t"}, latency=10)]

BAD_JSON = [
    b"",
    b" ",
    b"{",
    b"}",
    b"[",
    b'{"name": }',
    b"{'name': 'n'}",
    b'{"name": "n",}',
    b'{"name": "n" "upstream": "u"}',
    b'{"name": "\xff"',
    b"nonsense",
    b"NaN",
    b'{"name": NaN}',
    b'{"name": Infinity}',
    b'{"name": "a\nb"}',
    b"// comment\n{}",
    b"5",
    b'"text"',
    b"true",
    b"[]",
    b"[{}]",
]

SCENES: Mapping[str, Sequence[Call]] = {
    "version": [
        get("/version"),
        get("/version?verbose=1"),
        get("/version", Accept="text/html"),
        get("/Version"),
        Call("HEAD", "/version"),
        Call("OPTIONS", "/version"),
        post("/version"),
        Call("get", "/version", differs="verbs"),
        Call("BREW", "/version", differs="verbs"),
        get("//version", differs="double-slash"),
        get("/proxies/../version", differs="dot-segments"),
        get("/version/"),
    ],
    "unknown routes": [
        get("/"),
        get("/nonsense"),
        post("/nonsense", {}),
        delete("/nonsense"),
        get("/metrics"),
        post("/metrics"),
        get("/proxies/p/nonsense"),
        get("/proxies/p/toxics/t/more"),
        get("/favicon.ico"),
        get("/api/proxies"),
        get("/proxies.json"),
    ],
    "our own routes": [
        *START,
        get("/proxies/p/stats", "beyond"),
        get("/owners", "beyond"),
        delete("/owners/nobody", "beyond"),
        get("/openapi.json", "beyond"),
    ],
    "wrong verbs": [
        *START,
        *(Call(verb, "/reset") for verb in ("GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")),
        *(Call(verb, "/populate") for verb in ("GET", "PUT", "PATCH", "DELETE")),
        *(Call(verb, "/proxies") for verb in ("PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")),
        *(Call(verb, "/proxies/p") for verb in ("PUT", "HEAD", "OPTIONS")),
        *(Call(verb, "/proxies/none") for verb in ("PUT", "HEAD")),
        *(Call(verb, "/proxies/p/toxics") for verb in ("PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")),
        *(Call(verb, T) for verb in ("PUT", "HEAD", "OPTIONS")),
    ],
    "trailing and doubled slashes": [
        *START,
        get("/proxies/"),
        post("/proxies/", Q),
        get("/proxies/p/"),
        get("/proxies/p/toxics/"),
        get(f"{T}/"),
        post("/reset/"),
        post("/populate/", []),
        get("//proxies", "double-slash"),
        get("/proxies//p", "double-slash"),
        post("//reset", differs="double-slash"),
        get("/proxies//toxics", "double-slash"),
    ],
    "browsers": [
        get("/proxies", **BROWSER),
        post("/proxies", P, **BROWSER),
        post("/reset", **BROWSER),
        get("/nonsense", "guard-first", **BROWSER),
        Call("PUT", "/proxies", headers=BROWSER, differs="guard-first"),
        get("/proxies", **{"User-Agent": "curl/8 Mozilla/5.0"}),
        get("/proxies", **{"User-Agent": "mozilla/5.0"}),
        get("/proxies", **{"User-Agent": ""}),
        get("/proxies", "strangers", Origin="http://evil.example"),
        get("/proxies", "strangers", Host="evil.example"),
        get("/proxies", Host="localhost"),
    ],
    "headers": [
        post("/proxies", P),
        post("/proxies", {**Q, "name": "q1", "listen": ANY}, **{"Content-Type": "application/x-www-form-urlencoded"}),
        post("/proxies", {**Q, "name": "q2", "listen": ANY}, **{"Content-Type": "text/plain"}),
        post("/proxies", {**Q, "name": "q3", "listen": ANY}, **{"Content-Type": "nonsense"}),
        post("/proxies", {**Q, "name": "q4", "listen": ANY}, **{"Content-Type": "application/json; charset=latin-1"}),
        post("/proxies", {**Q, "name": "q5", "listen": ANY}, Expect="100-continue"),
        get("/proxies", Accept="application/xml"),
        get("/proxies", Authorization="Bearer nonsense"),
        get("/proxies/p", **{"X-Toxiproxy-Request-Id": "mine"}),
        Call("GET", "/proxies/p", {"a": "body"}),
        Call("DELETE", "/proxies/q1", {"a": "body"}),
        get("/proxies/p", **{"If-None-Match": "*"}),
        get("/proxies/p", Range="bytes=0-1"),
    ],
    "creating": [
        post("/proxies", P),
        get("/proxies/p"),
        get("/proxies"),
        post("/proxies", P),
        post("/proxies", {**P, "listen": ANY}),
        post("/proxies", Q),
        post("/proxies", {**Q, "name": "r", "listen": "127.0.0.1:<b>"}),
        post("/proxies", {**Q, "name": "r", "listen": "127.0.0.1:<taken>"}),
        get("/proxies/r"),
        new(name="n1"),
        new(name="n2", enabled=False),
        new(name="n3", enabled=True),
        new("listen-shown", name="n4", enabled=False, listen="localhost:<c>"),
        new(name="n5", listen="localhost:0"),
        new(name="n6", upstream="localhost:9"),
        new(name="n7", upstream="no.such.host.invalid:9"),
        new(name="n8", listen="[::1]:0"),
        new("loopback-only", name="n9", listen=None),
        new("loopback-only", name="n10", listen=""),
        new("loopback-only", name="n11", listen="0.0.0.0:0"),
        new("loopback-only", name="n12", listen=":0"),
        new(name="n13", upstream="[::1]:9"),
        get("/proxies/n4", "listen-shown"),
        delete("/proxies/n1"),
        delete("/proxies/n1"),
        get("/proxies/n1"),
        delete("/proxies/none"),
        new(name="n1"),
    ],
    "creating with too little": [
        post("/proxies"),
        post("/proxies", {}),
        post("/proxies", b"null"),
        new(name=None),
        new(name=""),
        new(upstream=None),
        new(upstream=""),
        new(name=None, upstream=None),
        post("/proxies", {"name": None, "upstream": UP}),
        post("/proxies", {"name": "n", "upstream": None}),
        post("/proxies", {"name": "n", "upstream": UP, "listen": ANY, "enabled": None}),
        get("/proxies/n"),
    ],
    "creating with the wrong types": [
        new(name=5),
        new(name=True),
        new(name=["n"]),
        new(name={}),
        new(upstream=9),
        new(listen=0),
        new(listen=[]),
        new(enabled="true"),
        new(enabled=1),
        new(enabled=[]),
        new(toxics=[{"type": "latency"}]),
        new(name="n2", toxics="nonsense", colour="red"),
        new("unused-fields", name="n3", Logger=5),
        get("/proxies", "unused-fields"),
    ],
    "bad addresses": [
        new("addresses", listen="nonsense"),
        new("addresses", listen="127.0.0.1"),
        new("addresses", listen="127.0.0.1:99999"),
        new("addresses", listen="127.0.0.1:-1"),
        new("addresses", listen="127.0.0.1:http:1"),
        new("addresses", listen="no.such.host.invalid:0"),
        new("addresses", listen="192.0.2.1:0"),
        new("addresses", name="n1", upstream="nonsense"),
        new("addresses", name="n2", upstream="127.0.0.1:99999"),
        new("addresses", name="n3", upstream="a b:9"),
        new("addresses", name="n4", upstream="http://127.0.0.1:9"),
    ],
    "odd names": [
        new(name="a b"),
        get("/proxies/a%20b"),
        get("/proxies/a+b"),
        new(name="ünïcödé ☃"),
        get("/proxies/%C3%BCn%C3%AFc%C3%B6d%C3%A9%20%E2%98%83"),
        new(name="a%2Fb"),
        get("/proxies/a%252Fb"),
        new(name="P?x=1#y&z"),
        get("/proxies/P%3Fx=1%23y&z"),
        new(name="<b>&amp;\"'\\"),
        new(name="a:b;c,d=e@f!$*()"),
        get("/proxies/a:b;c,d=e@f!$*()"),
        new(name="Case"),
        get("/proxies/case"),
        new(name="x" * 255),
        delete(f"/proxies/{'x' * 255}"),
        new(name=" "),
        get("/proxies/%20"),
        get("/proxies/a%2Fb", "encoded-slash"),
        get("/proxies/none%zz", "bad-escape"),
        new(name="toxics"),
        get("/proxies/toxics"),
        new("names", name="a/b"),
        new("names", name=".."),
        new("names", name="."),
        new("names", name="a\nb"),
        new("names", name="\x00"),
        new("names", name="x" * 256),
    ],
    "bodies as Go reads them": [
        post("/proxies", b'{"NAME": "n1", "Upstream": "127.0.0.1:9", "LISTEN": "127.0.0.1:0", "eNaBlEd": false}'),
        post("/proxies", b'{"name": "x", "name": "n2", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}'),
        post("/proxies", b'{"name": "n3", "name": null, "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}'),
        post("/proxies", b'{"name": "x", "NAME": "n4", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}'),
        post("/proxies", b'{"name": "n5", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"} trailing bytes'),
        post("/proxies", b'{"name": "n6", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}{"name": "n7"}'),
        post("/proxies", b'\r\n\t {"name": "n8", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}'),
        post("/proxies", b'{"name": "\\u006e9", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}'),
        post("/proxies", b'{"name": "\\ud83d\\ude00", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}'),
        post("/proxies", b'\xef\xbb\xbf{"name": "n10", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}'),
        post("/proxies", b'{"name": "n\xff", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}', "not-unicode"),
        post("/proxies", b'{"name": "\\ud800", "upstream": "127.0.0.1:9", "listen": "127.0.0.1:0"}', "not-unicode"),
        post("/proxies", b'{"a": ' + b"[" * 20_000),
        post("/proxies", b'{"name": "n11", "x": ' + b" " * 1024 * 1024 + b"}", "large"),
        post("/populate", b" " * (1024 * 1024 + 1) + b"[]", "large"),
        get("/proxies", "not-unicode"),
    ],
    "bodies that are no JSON": [
        *START,
        *(post("/proxies", body) for body in BAD_JSON),
        *(patch("/proxies/p", body) for body in BAD_JSON),
        *(post("/proxies/p/toxics", body) for body in BAD_JSON),
        *(patch(T, body) for body in BAD_JSON),
        *(post("/populate", body) for body in BAD_JSON if body not in (b"[]", b"[{}]")),
        get("/proxies"),
    ],
    "updating": [
        *START,
        patch("/proxies/p", {}),
        patch("/proxies/p", b"null"),
        patch("/proxies/p", {"enabled": False}),
        get("/proxies/p"),
        patch("/proxies/p", {"enabled": False}),
        patch("/proxies/p", {"enabled": True}),
        patch("/proxies/p", {"enabled": None}),
        post("/proxies/p", {"enabled": False}),
        post("/proxies/p", {"enabled": True}),
        patch("/proxies/p", {"upstream": "127.0.0.1:10"}),
        patch("/proxies/p", {"listen": "127.0.0.1:<c>"}),
        patch("/proxies/p", {"listen": "localhost:<c>"}),
        patch("/proxies/p", {"listen": ANY}),
        patch("/proxies/p", {"listen": "127.0.0.1:<a>", "upstream": UP, "enabled": False}),
        patch("/proxies/p", {"listen": "127.0.0.1:<b>"}),
        patch("/proxies/p", {"enabled": True}),
        patch("/proxies/p", {"name": "other", "toxics": []}),
        get("/proxies/other"),
        patch("/proxies/p", {"ENABLED": False}),
        patch("/proxies/p", {"enabled": "no"}),
        patch("/proxies/p", {"enabled": 0}),
        patch("/proxies/p", {"upstream": 5}),
        patch("/proxies/p", {"listen": 5}),
        patch("/proxies/p", {"name": 5}),
        patch("/proxies/p", {"enabled": True, "upstream": []}),
        patch("/proxies/none", {}),
        patch("/proxies/none", b"{"),
        post("/proxies/none", {"enabled": True}),
        patch("/proxies/p", {"listen": "nonsense"}, "addresses"),
        patch("/proxies/p", {"listen": "127.0.0.1:99999"}, "addresses"),
        patch("/proxies/p", {"upstream": ""}, "addresses"),
        patch("/proxies/p", {"upstream": "nonsense"}, "addresses"),
        patch("/proxies/p", {"listen": ""}, "loopback-only"),
        delete("/proxies/p"),
        delete("/proxies/p"),
    ],
    "a rebind that fails": [
        *START,
        patch("/proxies/p", {"listen": "127.0.0.1:<taken>"}),
        get("/proxies/p", "rebind"),
        patch("/proxies/p", {"enabled": True}, "rebind"),
    ],
    "a disabled proxy moved to a taken port": [
        *START,
        patch("/proxies/p", {"enabled": False}),
        patch("/proxies/p", {"listen": "127.0.0.1:<taken>"}),
        patch("/proxies/p", {"enabled": True}),
        get("/proxies/p"),
        post("/reset"),
        get("/proxies/p"),
    ],
    "the port of a disabled proxy": [
        post("/proxies", P),
        patch("/proxies/p", {"enabled": False}),
        post("/proxies", {**Q, "listen": "127.0.0.1:<a>"}, "port-kept"),
        patch("/proxies/p", {"enabled": True}, "port-kept"),
        delete("/proxies/p"),
        post("/proxies", {**Q, "name": "r", "listen": "127.0.0.1:<b>"}),
    ],
    "toxics": [
        *START,
        get("/proxies/p/toxics"),
        get(T),
        get("/proxies/p"),
        get("/proxies/none/toxics"),
        get("/proxies/none/toxics/t"),
        get("/proxies/p/toxics/none"),
        toxic("noop"),
        toxic("latency"),
        toxic("latency", more={"stream": "upstream"}, latency=5, jitter=3),
        toxic("bandwidth", rate=100),
        toxic("slow_close", delay=10),
        toxic("timeout", timeout=10),
        toxic("reset_peer", timeout=10),
        toxic("slicer", average_size=10, size_variation=3, delay=5),
        toxic("limit_data", bytes=100),
        toxic("timeout", more={"name": "all", "toxicity": 1}),
        toxic("noop", more={"name": "none", "toxicity": 0}),
        toxic("noop", more={"name": "half", "toxicity": 0.5}),
        toxic("noop", more={"name": "tenth", "toxicity": 0.1}),
        get("/proxies/p/toxics"),
        get("/proxies/p/toxics/half"),
        toxic("noop", more={"name": "t"}),
        toxic("noop", more={"name": "t", "stream": "upstream"}),
        toxic("latency"),
        delete("/proxies/p/toxics/half"),
        delete("/proxies/p/toxics/half"),
        delete("/proxies/p/toxics/none at all".replace(" ", "%20")),
        delete("/proxies/none/toxics/t"),
        get("/proxies/p"),
        post("/reset"),
        get("/proxies/p/toxics"),
    ],
    "defaults": [
        *START,
        *(
            toxic(kind)
            for kind in ("bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "noop", "latency")
        ),
        toxic("bandwidth", more={"name": "cut"}, rate=0),
        get("/proxies/p/toxics"),
    ],
    "odd toxics": [
        *START,
        post("/proxies/p/toxics", {}),
        post("/proxies/p/toxics", b"null"),
        post("/proxies/p/toxics"),
        toxic("gremlin"),
        toxic("Latency"),
        toxic(""),
        toxic(5),
        toxic(None),
        toxic("down"),
        toxic("noop", more={"stream": "sideways"}),
        toxic("noop", more={"stream": ""}),
        toxic("noop", more={"stream": 5}),
        toxic("noop", more={"stream": None, "name": "s1"}),
        toxic("noop", "stream-case", more={"stream": "UPSTREAM"}),
        toxic("latency", "stream-case", more={"stream": "Downstream"}),
        get("/proxies/p/toxics/noop_UPSTREAM", "stream-case"),
        delete("/proxies/p/toxics/noop_UPSTREAM"),
        toxic("noop", more={"name": 5}),
        toxic("noop", more={"name": ""}),
        toxic("noop", more={"name": None, "stream": "upstream"}),
        toxic("noop", more={"name": "ä b"}),
        get("/proxies/p/toxics/%C3%A4%20b"),
        toxic("noop", "names", more={"name": "a/b"}),
        toxic("noop", more={"attributes": None, "name": "a1"}),
        toxic("noop", more={"attributes": {"latency": 5}, "name": "a2"}),
        toxic("latency", more={"attributes": {}, "name": "a3"}),
        toxic("latency", more={"attributes": {"LATENCY": 7, "jItTeR": 2}, "name": "a4"}),
        toxic("latency", more={"attributes": {"latency": None}, "name": "a5"}),
        toxic("latency", more={"attributes": {"rate": 5}, "name": "a6"}),
        toxic("latency", more={"attributes": []}),
        toxic("latency", more={"attributes": 5}),
        toxic("latency", more={"attributes": "latency=5"}),
        toxic("latency", latency="100"),
        toxic("latency", latency="100ms"),
        toxic("latency", latency=True),
        toxic("latency", latency=[5]),
        toxic("latency", latency={}),
        toxic("noop", more={"toxicity": "1"}),
        toxic("noop", more={"toxicity": True}),
        toxic("noop", more={"toxicity": []}),
        toxic("noop", more={"toxicity": None, "name": "x1"}),
        toxic("noop", more={"TOXICITY": 0.25, "NAME": "x2", "Stream": "upstream"}),
        toxic("noop", "toxicity", more={"toxicity": 1.5, "name": "x3"}),
        toxic("noop", "toxicity", more={"toxicity": 100, "name": "x4"}),
        toxic("noop", "toxicity", more={"toxicity": -0.5, "name": "x5"}),
        toxic("noop", "toxicity-digits", more={"toxicity": 0.123456789, "name": "x6"}),
        toxic("noop", more={"toxicity": 1e300}, differs="huge"),
        post("/proxies/none/toxics", {"type": "noop"}),
        post("/proxies/none/toxics", b"{"),
    ],
    "numbers out of range": [
        *START,
        toxic("latency", "fractions", more={"name": "n1"}, latency=10.5),
        toxic("latency", "fractions", more={"name": "n2"}, latency=10.0),
        toxic("latency", "fractions", more={"name": "n3"}, latency=1e3),
        toxic("limit_data", "fractions", more={"name": "n4"}, bytes=100.0),
        toxic("limit_data", "fractions", more={"name": "n4b"}, bytes=100.5),
        toxic("latency", "negative", more={"name": "n5"}, latency=-1),
        toxic("latency", "negative", more={"name": "n6"}, jitter=-1),
        toxic("bandwidth", "negative", more={"name": "n7"}, rate=-1),
        toxic("slicer", "negative", more={"name": "n8"}, average_size=-1),
        toxic("timeout", "negative", more={"name": "n9"}, timeout=-1),
        toxic("slicer", "slicer", more={"name": "n10"}, average_size=5, size_variation=5),
        toxic("slicer", "slicer", more={"name": "n11"}, size_variation=5),
        toxic("latency", "huge", more={"name": "n12"}, latency=2**60),
        toxic("latency", "huge", more={"name": "n13"}, latency=2**63),
        toxic("latency", "huge", more={"name": "n14"}, latency=-(2**64)),
        toxic("latency", "huge", more={"name": "n15"}, latency=1e300),
        toxic("bandwidth", more={"name": "n16"}, rate=2**53),
    ],
    "changing toxics": [
        *START,
        change(latency=20),
        change(jitter=5),
        get(T),
        post(T, {"attributes": {"latency": 30}}),
        change(more={"toxicity": 0.5}),
        change(more={"toxicity": 0}),
        change(more={"toxicity": 1, "attributes": {"latency": 1}}),
        patch(T, {}),
        patch(T, b"null"),
        patch(T, {"attributes": None, "toxicity": None}),
        patch(T, {"attributes": {}}),
        patch(T, {"name": "other", "type": "noop", "stream": "upstream"}),
        patch(T, {"name": 5, "type": 5, "stream": 5}),
        change(nonsense=5),
        change(LATENCY=40),
        change(latency=None),
        change(latency="5"),
        change("half-changed", latency=50, jitter="x"),
        get(T, "half-changed"),
        change(latency=60, jitter=0),
        change(more={"toxicity": "1"}),
        change(more={"attributes": []}),
        patch("/proxies/p/toxics/none", {}),
        patch("/proxies/none/toxics/t", {}),
        patch("/proxies/p/toxics/none", b"{"),
        get(T),
        change("toxicity", more={"toxicity": 2}),
        change("negative", latency=-5),
    ],
    "populating": [
        post("/populate", [P, Q]),
        get("/proxies"),
        toxic("latency", more={"name": "t"}, latency=10),
        post("/populate", [P, Q]),
        get("/proxies/p"),
        post("/populate", [{**P, "enabled": False}]),
        patch("/proxies/q", {"enabled": False}),
        post("/populate", [{**Q, "enabled": True}]),
        post("/populate", [{**P, "upstream": "127.0.0.1:10"}]),
        get("/proxies/p"),
        post("/populate", [{**P, "listen": "localhost:<a>", "upstream": "127.0.0.1:10"}]),
        post("/populate", [{**P, "listen": "127.0.0.1:<c>"}]),
        post("/populate", [{"name": "r", "listen": ANY, "upstream": UP, "enabled": False}]),
        post("/populate", [{"NAME": "s", "Listen": ANY, "UPSTREAM": UP, "colour": "red"}, None][:1]),
        post("/populate", []),
        post("/populate", b"null"),
        post("/populate", b"[] trailing"),
        get("/proxies"),
    ],
    "populating with mistakes": [
        post("/proxies", P),
        post("/populate", [Q, {}]),
        post("/populate", [{"name": "q"}]),
        post("/populate", [{"upstream": UP}]),
        post("/populate", [None]),
        post("/populate", [Q, 5]),
        post("/populate", [{**Q, "enabled": "yes"}]),
        post("/populate", {"q": Q}),
        post("/populate", {"proxies": [Q]}),
        post("/populate", [[]]),
        get("/proxies"),
    ],
    "populating where a port is taken": [
        post("/proxies", P),
        post("/populate", [Q, {**Q, "name": "r", "listen": "127.0.0.1:<taken>"}], "populate-atomic"),
        get("/proxies", "populate-atomic"),
        post("/populate", [{**P, "listen": "127.0.0.1:<taken>"}], "populate-atomic"),
        get("/proxies/p", "populate-atomic"),
    ],
    "populating one name twice": [
        post("/populate", [Q, {**Q, "upstream": "127.0.0.1:10"}], "populate-twice"),
        get("/proxies", "populate-twice"),
    ],
    "populating at one port twice": [
        post("/populate", [Q, {**Q, "name": "r"}], "populate-atomic"),
        get("/proxies", "populate-atomic"),
    ],
    "resetting": [
        post("/reset"),
        *START,
        post("/proxies", Q),
        toxic("latency", more={"stream": "upstream"}),
        post("/proxies/q/toxics", {"type": "timeout"}),
        patch("/proxies/q", {"enabled": False}),
        post("/reset"),
        get("/proxies"),
        post("/reset", b"nonsense"),
        post("/reset", {"a": "body"}),
    ],
    "resetting where a port is taken": [
        *START,
        post("/proxies", {**Q, "listen": "127.0.0.1:<taken>", "enabled": False}),
        post("/reset"),
        get("/proxies/q"),
        post("/reset"),
    ],
}
