"""The system file, DSNs and probes."""

from __future__ import annotations

from pathlib import Path

import pytest
from parse_rig import EXPERIMENT, SYSTEM, around, changed, read, read_system, wrong, wrong_system

from chaosrunner.errors import Mistakes
from chaosrunner.logic.parse import load_system
from chaosrunner.model.hypothesis import Probe
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component, Containers, OwnProxy, Processes


def test_a_good_system_means_what_it_says() -> None:
    """Every key of the example arrives in the system."""
    found = read_system(SYSTEM)
    assert (found.name, found.file, found.environment) == ("shop", "x/systems/shop.yaml", "test")
    assert (found.entry, found.fault_proxy, found.protect) == (
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8474",
        ("vault",),
    )
    assert found.components["api"] == Component(
        name="api", processes=Processes(ports=(8081, 8082, 8083)), proxies=("api-1", "api-2", "api-3")
    )
    assert found.components["workers"].processes == Processes(command="worker", at_most=4)
    assert found.components["database"].admin == Secret(
        "postgresql://postgres:${file:/run/secrets/admin}@127.0.0.1:5432/shop"
    )
    assert found.components["cache"].at == ("127.0.0.1:6379",)


def test_variables_may_stand_inside_a_text() -> None:
    """A reference may be a part of a value; one that is set to nothing takes its default."""
    assert read_system("environment: a${X}b${Y:-}c${Z:-d}", {"X": "-", "Z": ""}).environment == "a-bcd"


def test_one_needs_no_list_and_variables_are_put_in() -> None:
    """A single value stands for a list of one, and numbers may come from the environment."""
    text = (
        "x: {processes: {ports: '${PORT:-80}'}, at: [https://h.example/x, '[::1]:9']}\ny: {processes: {pids: 7}}\nz:\n"
    )
    found = read_system(text, {"PORT": "8080"})
    assert found.components["x"].processes == Processes(ports=(8080,))
    assert found.components["x"].at == ("https://h.example/x", "[::1]:9")
    assert found.components["y"].processes == Processes(pids=(7,))
    assert found.components["z"] == Component(name="z")
    assert read_system("x: {processes: {pidfiles: [a, b]}}").components["x"].processes == Processes(pidfiles=("a", "b"))


def test_containers_are_found_in_four_ways() -> None:
    """Names, labels, a Compose service or an image lead to containers, on the engine that is named."""
    ways = {
        "names: [a, b]": Containers(names=("a", "b")),
        "labels: [app=api, tier], at_most: 3": Containers(labels=("app=api", "tier"), at_most=3),
        "compose: shop/api, engine: unix:///run/d.sock": Containers(compose="shop/api", engine="unix:///run/d.sock"),
        "image: 'shop/api:1.2', engine: 'tcp://127.0.0.1:2375'": Containers(
            image="shop/api:1.2", engine="tcp://127.0.0.1:2375"
        ),
    }
    for text, meant in ways.items():
        assert read_system(f"api: {{containers: {{{text}}}}}").components["api"].containers == meant


def test_a_proxy_is_put_in_front_in_one_of_two_ways() -> None:
    """At a port that clients are pointed at it is a fault proxy of the component's name; for me it has none."""
    ways = {
        "at: 'h:1', proxy: for me": (OwnProxy(behind=("h:1",)), ()),
        "at: ['h:1', 'https://h'], proxy: for me": (OwnProxy(behind=("h:1", "h:443")), ()),
        "at: ['http://[::1]', 'http://h:8080/x'], proxy: for me": (OwnProxy(behind=("[::1]:80", "h:8080")), ()),
        "at: 'h:1', proxy: 'for me, reset open connections'": (OwnProxy(behind=("h:1",), reset_open=True), ()),
        "at: 'h:1', proxy: 'at 127.0.0.1:2'": (OwnProxy(behind=("h:1",), listen="127.0.0.1:2"), ("db",)),
        "at: 'h:1', proxy: 'at [::1]:2 as postgres'": (
            OwnProxy(behind=("h:1",), listen="[::1]:2", protocol="postgres"),
            ("db",),
        ),
    }
    for text, meant in ways.items():
        component = read_system(f"db: {{{text}}}").components["db"]
        assert (component.proxy, component.proxies) == meant


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "enviroment: x",
            "1:1: 'enviroment' is no key of a system; did you mean 'environment'?, and a component is a mapping",
        ),
        ("api: [a]", "1:1: 'api' is no key of a system"),
        ("1api: {}", "1:1: '1api' is no name for a component"),
        ("api: {port: 1}", "1:7: 'port' is no key of 'api'"),
        ("api: {pods: {}}", "1:7: 'pods' is not in this version; say 'processes', 'containers', 'proxies' or 'dsn'"),
        ("api: {containers: x}", "1:19: containers: expected a mapping of keys, found a single value"),
        ("api: {containers: {}}", "1:19: containers are found in exactly one way: 'names', 'labels', 'compose' or 'im"),
        ("api: {containers: {names: a, image: b}}", "1:30: containers are found in exactly one way"),
        ("api: {containers: {name: a}}", "1:20: 'name' is no key of containers; did you mean 'names'?"),
        ("api: {containers: {names: [a, a]}}", "1:20: names names one twice"),
        ("api: {containers: {compose: api}}", "compose 'api': expected project/service, as in 'shop/api'"),
        (
            "api: {containers: {names: a, engine: /x.sock}}",
            "expected the address of an engine, such as unix:///var/run",
        ),
        ("api: {containers: {names: a, engine: 'tcp://h'}}", "engine 'tcp://h': expected host:port or a URL"),
        ("api: {containers: {names: a, at_most: 0}}", "at_most '0': expected 1 to 1,000"),
        ("api: {}\nprotect: [ap]", "2:11: protect 'ap': no component of that name; did you mean 'api'?"),
        ("entry: shop.example", "1:8: entry 'shop.example': expected a URL, such as http://127.0.0.1:8080"),
        ("entry: http://[x", "this is no URL"),
        ("entry: http://h:0", "expected a URL"),
        ("entry: http://h:99999", "this is no URL"),
        ("fault_proxy: http://u:p@h", "a URL is no place for a password; the load has 'auth' and 'headers'"),
        ("api: {at: nowhere}", "1:11: at 'nowhere': expected host:port or a URL"),
        ("api: {at: 'h:0'}", "at 'h:0': expected 1 to 65,535"),
        ("api: {at: 'h h:1'}", "expected host:port or a URL"),
        ("api: {processes: 5}", "1:18: processes: expected a mapping of keys, found a single value"),
        (
            "api: {processes: {}}",
            "1:18: processes are found in exactly one way: 'ports', 'pids', 'pidfiles', or 'command'",
        ),
        ("api: {processes: {ports: 1, pids: 2}}", "1:29: processes are found in exactly one way"),
        ("api: {processes: {port: 1}}", "1:19: 'port' is no key of processes; did you mean 'ports'?"),
        ("api: {processes: {ports: []}}", "1:26: ports is empty"),
        ("api: {processes: {ports: [1, 1]}}", "1:26: ports names one twice"),
        ("api: {processes: {ports: [70000]}}", "ports '70000': expected 1 to 65,535"),
        ("api: {processes: {ports: {a: b}}}", "ports: expected a single value, found a mapping"),
        (
            "api: {processes: {command: x}}",
            "1:19: 'command' needs 'at_most: 3', so that a loose pattern cannot hit half",
        ),
        ("api: {processes: {command: '(', at_most: 1}}", "this is no regular expression"),
        ("api: {processes: {command: '', at_most: 1}}", "expected a text, found nothing"),
        ("api: {processes: {ports: 1, at_most: 1}}", "'at_most' belongs to 'command'"),
        ("api: {at: 'h:1', proxy: for you}", "1:25: proxy 'for you': expected 'for me', 'for me, reset open connect"),
        ("api: {at: 'h:1', proxy: at 6432}", "proxy 'at 6432': expected host:port or a URL"),
        ("api: {at: 'h:1', proxy: 'at http://h:1'}", "expected 'for me'"),
        ("api: {at: 'h:1', proxy: 'at h:2 as smtp'}", "expected 'as http' or 'as postgres', not 'as smtp'"),
        ("api: {proxy: for me}", "1:7: 'proxy' needs to know what is behind it; add 'at: [127.0.0.1:5432]'"),
        ("api: {at: 'h:1', proxies: a, proxy: for me}", "1:30: a component has 'proxies', or 'proxy' puts one in fr"),
        ("api: {at: ['h:1', 'h:2'], proxy: 'at h:3'}", "one port leads to one address, and 'at' has 2; write 'prox"),
        ("api: {proxies: ['']}", "1:17: proxies is empty"),
        ("environment: ${NO}", "1:14: the environment variable 'NO' is not set; set it, or write ${NO:-default}"),
        ("environment: ${file:/x}", "'${file:/x}': a file may stand only where a secret is expected: dsn, admin, auth"),
        ("environment: ${X", "1:14: environment: a '${' without its '}'"),
        ("environment: ${file:}", "'${file:}' is no reference"),
        ("api: {dsn: }", "1:12: dsn is empty"),
        ("api: {dsn: [a]}", "dsn: expected a single value, found a list"),
        ("api: {dsn: host=x}", "1:12: dsn: expected postgresql://role@host:port/database"),
        ("api: {redis: }", "1:14: redis is empty"),
        ("api: {redis: 'postgresql://h/0'}", "1:14: redis: expected redis://host:port/database"),
        ("api: {redis: 'redis://[x'}", "1:14: redis: expected redis://host:port/database"),
        ("api: {redis: 'rediss://:geheim@h'}", "1:14: redis: write the password as ${file:/run/secrets/…} or ${NAME}"),
        ("api: {redis: 'redis://u:${PW:-geheim}@h'}", "1:14: redis: write the password's reference without a default"),
        ("api: {redis: '${URL:-redis://u:geheim@h}'}", "1:14: redis: write the password as ${file:/run/secrets/…}"),
        ("api: {dsn: 'postgresql://[x'}", "1:12: dsn: expected postgresql://role@host:port/database"),
    ],
)
def test_what_a_system_may_not_say(text: str, problem: str) -> None:
    """Each slip in a system has its place and its advice."""
    assert any(problem in mistake for mistake in wrong_system(text))


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://app@h:5432/shop",
        "postgres://app:${PW}@h/shop",
        "postgresql://app:${file:/run/pw}@h/shop?sslmode=require",
        "postgresql://${ROLE:-app}:${PW}@h/shop",
        "postgresql://${ROLE:-app}@h/shop?password=${PW}",
        "${file:/run/dsn}",
        "${DSN:-postgresql://app@h/shop}",
        "${BASE:-postgresql://app@h}/shop",
    ],
)
def test_a_dsn_without_a_password_in_the_open(dsn: str) -> None:
    """Where the password is a reference, or there is none, the template is kept as it is."""
    found = read_system(f'api: {{dsn: "{dsn}"}}', {"PW": "geheim"})
    assert found.components["api"].dsn == Secret(dsn)


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://ops:${PW}@h:6380/1?ssl_cert_reqs=none", "${file:/run/redis}", "${URL:-redis://h/0}"]
)
def test_a_redis_is_an_url_whose_password_is_a_reference(url: str) -> None:
    """Where the password is a reference, or there is none, the template is kept as it is."""
    assert read_system(f'cache: {{redis: "{url}"}}', {"PW": "geheim"}).components["cache"].redis == Secret(url)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://app:geheim@h/shop",
        "postgresql://app:x${PW}@h/shop",
        "postgresql://app@h/shop?password=geheim",
        "postgresql://app@h/shop?sslpassword=geheim",
        "${DSN:-postgresql://app:geheim@h/shop}",
        "postgresql://app:${PW:-geheim}@h/shop",
        "postgresql://${ROLE}:${PW:-geheim}@h/shop",
        "postgresql://${ROLE:-app}@h/shop?password=${PW:-geheim}",
    ],
)
def test_a_password_in_the_open_is_refused_without_repeating_it(dsn: str) -> None:
    """A password that is written out, or is a default, is a mistake whose message does not show it."""
    said = wrong_system(f'api: {{dsn: "{dsn}"}}', {"PW": "x", "ROLE": "app"})
    assert len(said) == 1
    assert "write the password" in said[0]
    assert "geheim" not in said[0]


def test_what_a_variable_holds_is_never_shown() -> None:
    """A message quotes the reference, not the value behind it."""
    said = wrong_system("api: {processes: {ports: ['${PORT}']}}", {"PORT": "geheim"})
    assert said == ["1:27: ports '${PORT}': expected a whole number, such as 1"]
    said = wrong(changed(EXPERIMENT, ("baseline: 15s", "baseline: ${B}")), environ={"B": "geheim"})
    assert said == ["10:11: baseline '${B}': the variable's value cannot be read here"]
    text = changed(EXPERIMENT, ("[p95 <= 250ms]", '["${B} < 5%"]'), ("abort: errors", "abort: ${B}"))
    assert wrong(text, environ={"B": "geheim"}) == [
        "15:12: '${B} < 5%': the variable's value cannot be read here",
        "19:8: abort '${B} > 60% for 10s': the variable's value cannot be read here",
    ]
    said = wrong(changed(EXPERIMENT, ("baseline: 15s", "baseline: ${B}")), environ={"B": ""})
    assert said == [
        "10:11: baseline '${B}': '' is no duration; expected a number and us, ms, s, m, min or h, such as '300ms'"
    ]


def test_a_missing_or_broken_system_file() -> None:
    """A file that is not there, or is no system, is a mistake."""
    with pytest.raises(Mistakes, match=r"did you mean 'shop\.yaml'"):
        load_system(Path("x/systems/shp.yaml"), around())
    assert wrong_system("") == ["1:1: expected a system (environment, entry, components), found nothing"]
    assert wrong_system("[a]")[0].startswith("1:1: expected a system")


PROBES = """\
probes:
  - stock: {http: /stock, value: $.left.0, expect: 200, every: 2s, timeout: 1s}
  - full url: {http: http://127.0.0.1:1/x}
  - port: {tcp: '127.0.0.1:5432'}
  - disk: {process: [df, /]}
  - alone: {process: true}
"""


def test_probes() -> None:
    """A probe asks one thing on a schedule, and tolerances may name it."""
    text = PROBES + changed(EXPERIMENT, ("[errors < 1%]", "[stock >= 3, full url >= 1]"))
    found = read(text)
    assert found.probes == (
        Probe(
            name="stock",
            kind="http",
            args={"url": "/stock", "expect": 200, "value": "$.left.0"},
            every_s=2.0,
            timeout_s=1.0,
        ),
        Probe(name="full url", kind="http", args={"url": "http://127.0.0.1:1/x"}),
        Probe(name="port", kind="tcp", args={"at": "127.0.0.1:5432"}),
        Probe(name="disk", kind="process", args={"command": ["df", "/"]}),
        Probe(name="alone", kind="process", args={"command": ["true"]}),
    )
    assert found.hypothesis.after[0].metric.probe == "stock"


@pytest.mark.parametrize(
    ("probe", "problem"),
    [
        ("stock", "a probe is one name and what it asks, such as '- stock: {http: /stock}'"),
        ("{a: {tcp: 'h:1'}, b: {}}", "a probe is one name and what it asks"),
        ("errors: {tcp: 'h:1'}", "'errors' is no name for a probe"),
        ("p95: {tcp: 'h:1'}", "'p95' is no name for a probe"),
        ("a of b: {tcp: 'h:1'}", "'a of b' is no name for a probe"),
        ("a: {}", "a probe asks exactly one of http, tcp or process"),
        ("a: 5", "probe 'a': expected a mapping of keys, found a single value"),
        ("a: {tcp: 'h:1', http: /}", "a probe asks exactly one of http, tcp or process"),
        ("a: {tcp: 'h:1', value: $.x}", "'value' is no key of probe 'a'"),
        ("a: {tcp: http://h}", "expected host:port"),
        ("a: {http: x}", "expected a URL"),
        ("a: {http: ''}", "expected a text, found nothing"),
        ("a: {http: /, value: x}", "expected a path into the JSON reply, such as '$.queue.length'"),
        ("a: {http: /, expect: 5}", "expected 100 to 599"),
        ("a: {http: /, every: 0s}", "expected more than zero"),
    ],
)
def test_what_a_probe_may_not_say(probe: str, problem: str) -> None:
    """Each slip in a probe has its place and its advice."""
    assert any(problem in mistake for mistake in wrong(f"probes:\n  - {probe}\n{EXPERIMENT}"))


def test_two_probes_of_one_name() -> None:
    """Each probe has a name of its own."""
    text = "probes: [a: {tcp: 'h:1'}, a: {tcp: 'h:2'}]\n"
    assert wrong(text + EXPERIMENT) == ["1:27: two probes are called 'a'"]
