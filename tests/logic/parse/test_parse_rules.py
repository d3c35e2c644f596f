"""Rules of a system and of an experiment: what a file may say, what is wrong with it, and what is refused at once."""

from __future__ import annotations

from datetime import UTC, date
from pathlib import Path
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from parse_rig import EXPERIMENT, INJECTORS, SYSTEM, around, changed, read, wrong
from test_parse_schema import problems

from chaosrunner.logic.parse import Source, is_system, parse_experiment, rules
from chaosrunner.logic.parse.schema import experiment_schema, system_schema
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.model.rules import EACH, IN_ALL

RULES = """\
rules:
  faults: [proxy.*, process.kill]
  at_most: [50% of api, 1 of each, 3 in all]
  only:
    - Mon-Fri 09:00-17:00 Europe/Berlin
    - Sat UTC
  never: [2026-12-24 to 2027-01-01 Europe/Berlin, 2026-05-01 UTC]
  protect: {names: ["*-primary"], labels: [tier=critical, keep], namespaces: prod-*}
"""
FAULT = "  - proxy.latency: {target: database, add: 200ms}\n    for: 12s\n"
KILL = "  - process.kill: {target: %s, comes_back: by itself}\n"


def of_system(text: str) -> list[str]:
    """The mistakes of the good system with rules, with its file's name."""
    return wrong(EXPERIMENT, system=f"{SYSTEM}{text}")


def test_a_system_says_what_its_owner_allows() -> None:
    """Faults, limits, hours, dates and protections are read with the line they stand on."""
    found = read(EXPERIMENT, system=f"{SYSTEM}{RULES}").system.rules
    assert [str(one) for one in found.faults] == [
        "x/systems/shop.yaml:18: 'proxy.*'",
        "x/systems/shop.yaml:18: 'process.kill'",
    ]
    assert [(one.component, one.count, one.share) for one in found.at_most] == [
        ("api", None, 0.5),
        (EACH, 1, None),
        (IN_ALL, 3, None),
    ]
    week, saturday = found.only
    assert (week.days, week.begin_s, week.end_s, week.zone) == (
        {0, 1, 2, 3, 4},
        9 * 3600,
        17 * 3600,
        ZoneInfo("Europe/Berlin"),
    )
    assert (saturday.days, saturday.begin_s, saturday.end_s, saturday.zone, saturday.line) == ({5}, 0, 86_400, UTC, 22)
    assert [(one.first, one.last) for one in found.never] == [
        (date(2026, 12, 24), date(2027, 1, 1)),
        (date(2026, 5, 1), date(2026, 5, 1)),
    ]
    assert [one.text for one in (*found.protect.names, *found.protect.labels, *found.protect.namespaces)] == [
        "*-primary",
        "tier=critical",
        "keep",
        "prod-*",
    ]


def test_an_experiment_says_less_than_its_system() -> None:
    """It has rules of its own and environments, and all rules hold together."""
    found = read(f"{EXPERIMENT}environments: [test, staging-*]\nrules: {{at_most: 1 in all}}\n")
    assert [one.text for one in found.rules.environments] == ["test", "staging-*"]
    assert found.all_rules == (found.system.rules, found.rules)
    assert found.rules.at_most[0].count == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules: {fault: noop}\n", "17:9: 'fault' is no key of rules; did you mean 'faults'?"),
        ("rules: [a]\n", "17:8: rules: expected a mapping of keys, found a list"),
        ("rules: {faults: []}\n", "17:17: faults is empty, and would allow nothing; leave it out"),
        ("rules: {never: []}\n", "17:16: never is empty, and would forbid nothing; leave it out"),
        ("rules: {protect: {names: []}}\n", "17:26: names is empty, and would protect nothing; leave it out"),
        (
            "rules: {faults: a b}\n",
            "17:17: faults 'a b': expected a name, or a part of one with '*', such as 'proxy.*'",
        ),
        ("rules: {at_most: 1 apis}\n", "17:18: at_most '1 apis': expected '30% of api', '1 of each' or '3 in all'"),
        ("rules: {at_most: 1 of apis}\n", "17:18: at_most '1 of apis': no component of that name; did you mean 'api'?"),
        ("rules: {at_most: 130% of api}\n", "17:18: at_most '130% of api': '130%' is more than 100%"),
        ("rules: {at_most: 0 in all}\n", "17:18: at_most '0 in all': expected 1 to 100,000"),
        (
            "rules: {only: Mon-Fri 09:00-17:00}\n",
            "17:15: only 'Mon-Fri 09:00-17:00': expected days, hours and a time zone, such as 'Mon-Fri 09:00-17:00 Eur",
        ),
        ("rules: {only: Europe/Berlin}\n", "17:15: only 'Europe/Berlin': expected days, hours and a time zone"),
        ("rules: {only: Mon 25:00-26:00 UTC}\n", "17:15: only 'Mon 25:00-26:00 UTC': '25:00' is no time of day"),
        (
            "rules: {only: 09:00-09:00 UTC}\n",
            "17:15: only '09:00-09:00 UTC': these hours end when they begin; '00:00-24:00' is a whole day",
        ),
        (
            "rules: {only: Mon Europe/Berlim}\n",
            "17:15: only 'Mon Europe/Berlim': 'Europe/Berlim' is no time zone; did you mean 'Europe/Berlin'?",
        ),
        ("rules: {only: Mon Xq}\n", "17:15: only 'Mon Xq': 'Xq' is no time zone; expected UTC or one such as Europe/B"),
        ("rules: {only: Mon CEST}\n", "17:15: only 'Mon CEST': 'CEST' is no time zone; expected UTC or one such as Eu"),
        ("rules: {never: 24.12.2026 UTC}\n", "17:16: never '24.12.2026 UTC': expected dates and a time zone"),
        ("rules: {never: 2026-02-30 UTC}\n", "17:16: never '2026-02-30 UTC': '2026-02-30' is no date"),
        (
            "rules: {never: 2026-02-03 to 2026-02-01 UTC}\n",
            "17:16: never '2026-02-03 to 2026-02-01 UTC': the last of these dates comes before the first",
        ),
        ("rules: {protect: [a]}\n", "17:18: protect: expected a mapping of keys, found a list"),
        ("rules: {protect: {name: a}}\n", "17:19: 'name' is no key of protect; did you mean 'names'?"),
    ],
)
def test_a_wrong_rule_is_said_with_its_place(text: str, problem: str) -> None:
    """Each slip is one mistake, where it stands, with what was expected."""
    (said,) = of_system(text)
    assert said.startswith(f"x/systems/shop.yaml:{problem}")


def test_a_host_without_time_zones_knows_utc() -> None:
    """UTC needs no list of time zones."""
    assert rules.zone("UTC") is UTC
    with pytest.raises(ReadingError, match="'Nowhere' is no time zone; this host has no list"):
        rules.zone("Nowhere", known=set)


@pytest.mark.parametrize(
    ("days", "numbers"),
    [("Mon", {0}), ("Sat-Mon", {5, 6, 0}), ("Mon, Wed and Fri-Sat", {0, 2, 4, 5}), ("Mon-Sun", set(range(7)))],
)
def test_days_are_single_or_ranges(days: str, numbers: set[int]) -> None:
    """A range may lead over Sunday."""
    assert rules.parse_hours(f"{days} UTC", "f", 1).days == numbers


@pytest.mark.parametrize(
    ("environments", "environment", "problem"),
    [
        ("staging", "test", "x/systems/shop.yaml has environment 'test', and this may only run in x/e.yaml:20"),
        ("[ci, staging-*]", "staging", "environment 'staging', and this may only run in x/e.yaml:20: 'ci' or x/e"),
        ("staging", "", "x/systems/shop.yaml has no 'environment', and this may only run in x/e.yaml:20: 'staging'"),
    ],
)
def test_another_environment_is_refused(environments: str, environment: str, problem: str) -> None:
    """An experiment that names environments runs in no other, and the refusal names the rule."""
    system = changed(SYSTEM, ("environment: test\n", f"environment: {environment}\n" if environment else ""))
    (said,) = wrong(f"{EXPERIMENT}environments: {environments}\n", system=system)
    assert problem in said


@pytest.mark.parametrize(
    ("fault", "text", "problem"),
    [
        (FAULT, "rules: {faults: process.*}\n", "'proxy.latency' is not among the faults that are allowed: x/systems/"),
        (KILL % "2 of 3 api", "rules: {at_most: 30% of api}\n", "2 of 3 api would be under faults at once (2 of 3 api"),
        (KILL % "50% of workers", "rules: {at_most: 30% of each}\n", "50% of workers is more than x/systems/shop.yaml"),
        (
            KILL % "50% of api",
            "rules: {at_most: 30% of api}\n",
            "1 of 3 api would be under faults at once (50%",
        ),
        (
            KILL % "1 of 3 api",
            "rules: {at_most: 30% of api}\n",
            "than x/systems/shop.yaml:17: '30% of api' allows",
        ),
    ],
)
def test_what_is_too_much_in_any_case_is_refused_at_once(fault: str, text: str, problem: str) -> None:
    """A fault that no rule could let pass is a mistake of the experiment, at the fault's line, and names the rule."""
    (said,) = wrong(changed(EXPERIMENT, (FAULT, fault)), system=f"{SYSTEM}{text}")
    assert said.startswith("12:1: ")
    assert problem in said


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (KILL % "1 of 3 api", "rules: {at_most: 34% of api}\n"),
        (KILL % "30% of workers", "rules: {at_most: [30% of workers, 2 of workers, 5 in all]}\n"),
        (KILL % "1 of 2 workers", "rules: {at_most: 1 of api}\n"),
        (KILL % "workers", "rules: {at_most: 1 of workers}\n"),
        ("  - postgres.pool: {target: database}\n", "rules: {at_most: 1 of database}\n"),
        ("  - noop:\n", "rules: {at_most: 1 of api}\n"),
    ],
)
def test_what_may_be_right_is_left_to_who_looks(fault: str, text: str) -> None:
    """Within its limits, or where only the live system knows, an experiment is fine."""
    assert read(changed(EXPERIMENT, (FAULT, fault)), system=f"{SYSTEM}{text}").faults


def test_an_old_journal_is_read_whatever_is_allowed_today() -> None:
    """Rules are about what may be done, not about what was."""
    text = f"{EXPERIMENT}environments: [elsewhere]\n"
    found = parse_experiment(Source("x/e.yaml", text), Source("x/systems/shop.yaml", SYSTEM), around(lenient=True))
    assert found.rules.environments[0].text == "elsewhere"


def test_rules_alone_do_not_make_an_experiment() -> None:
    """A file with components and rules is a system wherever it lies."""
    assert is_system(Path("x/there.yaml"), around({"x/there.yaml": f"{SYSTEM}{RULES}"}))


def test_an_editor_takes_rules() -> None:
    """Both schemas take what the reader takes, and mark common slips."""
    assert problems(system_schema(), f"{SYSTEM}{RULES}") == []
    schema = experiment_schema(INJECTORS.values())
    assert problems(schema, f"{EXPERIMENT}environments: [test]\n{RULES}") == []
    for slip in ("only: Mon-Fri 9-17", "at_most: 30%", "never: 24.12. UTC", "fault: noop", "protect: a"):
        assert problems(system_schema(), f"{SYSTEM}rules: {{{slip}}}\n"), slip
    jsonschema.Draft202012Validator.check_schema(schema)
