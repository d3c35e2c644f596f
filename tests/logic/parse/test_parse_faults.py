"""Faults: injectors, parameters by type, targets and what they need of the system."""

from __future__ import annotations

import pytest
from parse_rig import EXPERIMENT, SYSTEM, Everything, changed, read, wrong, wrong_changed

from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.parse.target import hits_all, how_many, parse_target
from chaosrunner.model.fault import Fault, Target
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component, Containers

FAULT = "  - proxy.latency: {target: database, add: 200ms}\n    for: 12s\n"


def faults(text: str, environ: dict[str, str] | None = None) -> tuple[Fault, ...]:
    """The faults of a list that replaces the good one."""
    return read(changed(EXPERIMENT, (FAULT, text)), environ=environ).faults


def said(text: str) -> list[str]:
    """What is wrong with a list of faults; it begins at line 12."""
    return wrong_changed((FAULT, text))


def test_a_fault_says_what_when_and_how_long() -> None:
    """`for`, `at` and `accept` stand beside the injector."""
    found = faults("  - noop: {}\n    for: 5s\n    at: 2s\n  - noop:\n    accept: unguarded\n    for: 5s\n")
    assert [(fault.index, fault.at_s, fault.for_s, fault.line) for fault in found] == [
        (0, 2.0, 5.0, 12),
        (1, 0.0, 5.0, 15),
    ]
    assert found[0].target is None
    assert found[1].accept == {"unguarded"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("  - noop\n", "12:5: write 'noop: {}', so that it can have parameters"),
        ("  - nop\n", "12:5: expected a fault, such as '- proxy.latency: {target: database, add: 300ms}'"),
        (
            "  - for: 3s\n",
            "12:5: no fault is named here; beside a fault may stand 'for', 'at', 'accept', 'steps' and 'every'",
        ),
        ("  - noop: {}\n    fr: 3s\n", "13:5: 'fr' is no key of a fault; did you mean 'for'?"),
        ("  - nop: {}\n", "12:5: 'nop' is no fault; did you mean 'noop'?"),
        ("  - test.broken: {}\n", "12:5: 'test.broken' is installed, which fails"),
        ("  - noop: [a]\n", "12:11: noop: expected a mapping of keys, found a list"),
        ("  - noop: {target: api}\n", "12:12: 'noop' takes no target"),
        ("  - noop: {x: 1}\n", "12:12: 'x' is no parameter of 'noop'"),
        (
            "  - noop: {}\n    then: start it\n",
            "13:5: 'then' stands inside the fault: docker.kill: {target: api, then: st",
        ),
        ("  - noop: {}\n    for: 0s\n", "13:10: for '0s': expected more than zero"),
        ("  - noop: {}\n    accept: al\n", "13:13: accept 'al'; did you mean 'all'?"),
        ("  - noop: {}\n    accept: []\n", "13:13: accept accepts nothing; leave it out"),
        ("  - proxy.latency: {add: 1s}\n", "12:5: 'proxy.latency' needs a 'target': a component of the system"),
        ("  - proxy.latency: {target: database}\n", "12:5: 'proxy.latency' needs 'add: 300ms' (How much.)"),
        (
            "  - proxy.latency: {target: database, ad: 1s}\n",
            "'ad' is no parameter of 'proxy.latency'; did you mean 'add'?",
        ),
        ("  - proxy.latency: {target: database, add: 300}\n", "add of proxy.latency '300': a duration needs a unit"),
        (
            "  - proxy.latency: {target: database, add: [1s]}\n",
            "add of proxy.latency: expected a single value, found a list",
        ),
        ("  - proxy.latency: {target: database, add: 1s, share: 2}\n", "a share needs a percent sign; write '2%'"),
        ("  - proxy.latency: {target: dtabase, add: 1s}\n", "no component 'dtabase'; did you mean 'database'?"),
        (
            "  - proxy.latency: {target: vault, add: 1s}\n",
            "x/systems/shop.yaml:16 protects 'vault': no fault may target it",
        ),
        (
            "  - proxy.latency: {target: cache, add: 1s}\n",
            "needs to know more of 'cache'; add 'proxies: [name]' or 'proxy: for me' to it in",
        ),
        ("  - postgres.pool: {target: cache}\n", "add 'dsn: postgresql://…' and 'admin: postgresql://…' to it in"),
        ("  - proxy.latency: {target: api, add: 1s}\n", "names 3 of them; write '1 of 3 api'"),
        ("  - process.kill: {target: 1 of 4 api, comes_back: by itself}\n", "names 3 of 'api', not 4"),
        ("  - process.kill: {target: 4 of 3 api, comes_back: by itself}\n", "4 of 3 is more than there are"),
        ("  - process.kill: {target: 0% of api, comes_back: by itself}\n", "0% of something is nothing to break"),
        (
            "  - process.kill: {target: 1 api, comes_back: by itself}\n",
            "expected a component of the system, '1 of 3 api'",
        ),
        (
            "  - process.kill: {target: all api, comes_back: by itself}\n",
            "12:28: 'all api' leaves none of them; say 'accept: all'",
        ),
        ("  - process.kill: {target: 3 of 3 api, comes_back: by itself}\n", "'3 of 3 api' leaves none of them"),
        ("  - process.kill: {target: 1 of 3 api}\n", "'process.kill' needs 'comes_back: by itself'"),
        (
            "  - process.kill: {target: 1 of 3 api, comes_back: by itsel}\n",
            "expected 'by itself'; did you mean 'by itself'?",
        ),
        ("  - test.everything: {on: yes}\n", "on of test.everything 'yes': expected 'true' or 'false'"),
        ("  - test.everything: {level: 3}\n", "level of test.everything '3': expected '1' or '2'"),
        ("  - test.everything: {count: 13}\n", "12:5: 'test.everything': 13 brings bad luck"),
        ("  - test.everything: {count: 1.5}\n", "expected a whole number"),
        ("  - test.everything: {strange: x}\n", "the injector gives it a type that no file can write: list[str]"),
        ("  - test.everything: {key: [x]}\n", "key of test.everything: expected a single value, found a list"),
    ],
)
def test_what_a_fault_may_not_say(text: str, problem: str) -> None:
    """Each slip in a fault has its place and its advice."""
    assert any(problem in mistake for mistake in said(text))


def test_parameters_are_read_by_their_type() -> None:
    """Units, choices, truths, secrets and empty values arrive as the injector declares them."""
    text = (
        "{rate: 64KB/s, size: 1KiB, count: -2, factor: 0.5, word: 014, on: true, level: 2, maybe: 3s, "
        'key: "${file:/run/secrets/key}"}'
    )
    found = faults(f"  - test.everything: {text}\n    for: 12s\n")[0].params
    assert found == Everything.Params(
        rate=64_000.0,  # type: ignore[arg-type]
        size=1024,  # type: ignore[arg-type]
        count=-2,
        factor=0.5,
        word="014",
        on=True,
        level=2,
        maybe=3.0,  # type: ignore[arg-type]
        key=Secret("${file:/run/secrets/key}"),
    )
    assert faults("  - test.everything: {maybe: null}\n    for: 12s\n")[0].params == Everything.Params()
    assert faults("  - test.everything: {on: false, count: '${N:-4}'}\n    for: 12s\n", {"N": "7"})[0].params == (
        Everything.Params(count=7)
    )


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("database", Target(component="database")),
        ("1 of 3 api", Target(component="api", count=1, of=3)),
        ("30% of api", Target(component="api", share=0.3)),
        ("all api", Target(component="api", share=1.0)),
        ("all of api", Target(component="api", share=1.0)),
        ("api.eu-1", Target(component="api.eu-1")),
    ],
)
def test_targets(text: str, target: Target) -> None:
    """A target is a component, or a part of it."""
    assert parse_target(text) == target
    assert parse_target(str(target)) == target


@pytest.mark.parametrize("text", ["", "api database", "-1 of 3 api", "1 of 3", "130% of api", "0 of 3 api", "of api"])
def test_what_is_no_target(text: str) -> None:
    """What names no component, or an impossible part of one, is refused."""
    with pytest.raises(ReadingError):
        parse_target(text)


def test_leaving_none_needs_to_be_accepted() -> None:
    """All of several is refused without `accept: all`; the only one of one is not."""
    assert hits_all(Target(component="api", share=1.0))
    assert hits_all(Target(component="api", count=3, of=3))
    assert not hits_all(Target(component="api", count=1, of=1))
    assert not hits_all(Target(component="api", share=0.5))
    kill = "  - process.kill: {target: all api, comes_back: by itself}\n    accept: all\n    for: 12s\n"
    assert faults(kill)[0].accept == {"all"}


def test_the_system_says_how_many_there_are() -> None:
    """Only what a system file lists can be counted; a command's matches cannot."""
    kill = "  - process.kill: {target: workers, comes_back: by itself}\n    for: 12s\n"
    assert faults(kill)[0].target == Target(component="workers")
    assert how_many(Component(name="x"), "processes") is None
    assert how_many(Component(name="x"), "dsn") is None
    assert how_many(Component(name="x", containers=Containers(names=("a", "b"))), "containers") == 2
    assert how_many(Component(name="x", containers=Containers(image="a")), "containers") is None


def test_a_fault_may_need_one_of_several_things() -> None:
    """Where the system says any of what an injector needs, the target will do."""
    assert faults("  - postgres.pool: {target: database}\n    for: 12s\n")[0].target == Target(component="database")


def test_a_proxy_needs_to_be_found() -> None:
    """A fault through a proxy needs the proxy's address in the system file."""
    problems = wrong(EXPERIMENT, system=changed(SYSTEM, ("fault_proxy: http://127.0.0.1:8474\n", "")))
    assert problems == [
        (
            "12:29: target 'database': x/systems/shop.yaml names no fault proxy;"
            " add 'fault_proxy: http://127.0.0.1:8474' to it"
        )
    ]


def test_targets_are_left_alone_when_the_system_is_wrong() -> None:
    """A system that cannot be read is one mistake, not one for each target as well."""
    assert wrong(EXPERIMENT, system=changed(SYSTEM, ("environment: test", "environment: [a]"))) == [
        "x/systems/shop.yaml:1:14: environment: expected a single value, found a list"
    ]


def test_faults_are_a_list() -> None:
    """A single fault is a list of one all the same."""
    text = changed(EXPERIMENT, ("faults:\n  - proxy", "faults:\n    proxy"))
    assert "12:5: faults: expected a list, each entry beginning with '- '" in wrong(text)
