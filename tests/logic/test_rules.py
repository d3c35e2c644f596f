"""Rules held against faults, amounts and hours; and what a run does when one of them closes, or something is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from building import Script, experiment, fault
from test_decide import Story
from test_decide import experiment as quick

from chaosrunner.errors import Exit
from chaosrunner.logic.judge import judge
from chaosrunner.logic.parse.rules import parse_at_most, parse_dates, parse_hours, parse_pattern
from chaosrunner.logic.rules import (
    closed,
    closes_within,
    not_here,
    not_this,
    refused_together,
    struck_by,
    surely_too_much,
    together,
    too_much,
)
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.fault import Fault, Recipe, Target
from chaosrunner.model.rules import Dates, Hours, Protections, Rules, Struck
from chaosrunner.model.steps import Abort, Done, Heal
from chaosrunner.model.system import System

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = Rules(only=(parse_hours("Mon-Fri 09:00-17:00 Europe/Berlin", "shop.yaml", 9),))
NIGHT = Rules(only=(parse_hours("Fri 22:00-06:00 UTC", "shop.yaml", 9), parse_hours("Mon UTC", "shop.yaml", 9)))
HOLIDAY = Rules(never=(parse_dates("2026-12-24 to 2026-12-26 Europe/Berlin", "shop.yaml", 10),))


def limited(*texts: str) -> Rules:
    """Rules with these limits, on line 7."""
    return Rules(at_most=tuple(parse_at_most(text, "shop.yaml", 7, ()) for text in texts))


def struck(component: str, names: str, live: int = 3) -> Struck:
    """Something under a fault."""
    return Struck(component=component, names=tuple(names.split()), live=live, by=f"kill {names}")


def aimed(index: int = 0, component: str = "api", **changes: object) -> Fault:
    """A fault with a target."""
    return fault(index, injector="proxy.latency", target=Target(component=component, count=1, of=3), **changes)


def recipe(*names: str, live: int = 3) -> Recipe:
    """What was drawn."""
    return Recipe(injector="proxy.latency", says="", data={}, claims=(), names=names, live=live)


def allowing(*faults: Fault, rules: Rules, own: Rules | None = None) -> Experiment:
    """An experiment on a system with rules."""
    system = System(name="shop", file="shop.yaml", environment="test", rules=rules)
    return experiment(faults=faults, system=system, rules=own or Rules())


@pytest.mark.parametrize(
    ("limit", "names", "refusal"),
    [
        ("1 of api", "api-1", ""),
        (
            "1 of api",
            "api-1 api-2",
            "2 of 3 api would be under faults at once (kill api-1 api-2), more than shop.yaml:7",
        ),
        ("34% of api", "api-1", ""),
        ("33% of api", "api-1", "1 of 3 api would be"),
        ("0% of api", "api-1", "1 of 3 api would be"),
        ("1 of worker", "api-1 api-2", ""),
        ("1 of each", "api-1 api-2", "2 of 3 api would be"),
        ("2 in all", "api-1", ""),
        (
            "1 in all",
            "api-1",
            "2 instances would be under faults at once (kill api-1, kill w-1), more than shop.yaml:7",
        ),
    ],
)
def test_a_limit_counts_instances_at_once(limit: str, names: str, refusal: str) -> None:
    """A limit is about instances of one component, of each, or of all, and its refusal names the rule."""
    said = too_much([limited("9 of api", limit)], [struck("api", names), struck("worker", "w-1")])
    assert said.startswith(refusal)
    assert bool(said) is bool(refusal)


def test_one_instance_under_two_faults_counts_once() -> None:
    """Faults that know an instance by the same name share it; those that name it otherwise count it again."""
    assert too_much([limited("1 of api")], [struck("api", "api-1"), struck("api", "api-1", live=2)]) == ""
    assert too_much([limited("1 of api")], [struck("api", "api-1"), struck("api", "shop-api-1")])


def test_a_share_is_exact() -> None:
    """29 of 100 is 29 %, whatever binary fractions make of it; 30 of 100 is more."""
    names = [f"api-{nth}" for nth in range(30)]
    assert too_much([limited("29% of api")], [struck("api", " ".join(names[:29]), live=100)]) == ""
    assert too_much([limited("29% of api")], [struck("api", " ".join(names), live=100)]).startswith("30 of 100 api wo")


def test_what_a_target_surely_is() -> None:
    """Before anybody has looked, only what no live system could make right is too much."""
    half = Target(component="api", share=0.5)
    assert surely_too_much([limited("2 of api")], half, None) == ""
    assert surely_too_much([limited("49% of api")], half, None).startswith("50% of api is more than shop.yaml:7")
    assert surely_too_much([limited("30% of api")], Target(component="api"), 4) == ""
    assert surely_too_much([limited("1 of api")], Target(component="api"), None) == ""


def test_only_some_faults_are_allowed() -> None:
    """Each file's list holds: what one of them does not name is refused with that rule."""
    proxies = Rules(faults=(parse_pattern("proxy.*", "shop.yaml", 3),))
    kills = Rules(faults=(parse_pattern("process.kill", "x.yaml", 8),))
    assert not_this([proxies, Rules()], aimed()) == ""
    assert not_this([proxies, kills], aimed()).endswith("allowed: x.yaml:8: 'process.kill'")


def test_only_some_environments_are_allowed() -> None:
    """An experiment that names none runs anywhere."""
    assert not_here(experiment()) == ""
    named = Rules(environments=(parse_pattern("test", "x.yaml", 2),))
    assert not_here(experiment(rules=named)) == ""


def test_an_injector_that_does_not_say_what_it_draws_is_taken_at_the_files_word() -> None:
    """Names come from the recipe, else as many as the target counts; without a target there is nothing to count."""
    drawn = struck_by(aimed(), recipe("api-2"))
    assert drawn == Struck(component="api", names=("api-2",), live=3, by="proxy.latency on 1 of 3 api")
    assert struck_by(aimed(), recipe(live=0)) == replace(drawn, names=("proxy.latency 0",))
    alone = fault(target=Target(component="api"))
    assert struck_by(alone, recipe(live=0)) == Struck(component="api", names=("noop 0",), live=1, by="noop on api")
    assert struck_by(fault(), recipe()) is None


def test_faults_are_in_place_together_until_they_are_undone() -> None:
    """A fault whose time ends as another begins still is in place, unless that one waits for it."""
    first, second = aimed(0, for_s=5.0), aimed(1, at_s=5.0)
    later, waits, last = aimed(2, at_s=20.0), aimed(3, at_s=20.0, after=(2,)), aimed(4, at_s=20.0, after=(3,))
    groups = [[one.index for one in group] for group in together([first, second, later, waits, last])]
    assert groups == [[0], [0, 1], [2], [3], [4]]


def test_the_maximum_is_over_all_faults_at_once() -> None:
    """Each fault alone is within the limit, both at once are not; one after the other they are."""
    both = [recipe("api-1"), recipe("api-2")]
    at_once = allowing(aimed(0), aimed(1, at_s=2.0), rules=limited("1 of api"))
    ((late, why),) = refused_together(at_once, both)
    assert (late.index, why.partition(",")[0]) == (
        1,
        "2 of 3 api would be under faults at once (proxy.latency on 1 of 3 api)",
    )
    assert list(refused_together(allowing(aimed(0), aimed(1, at_s=6.0), rules=limited("1 of api")), both)) == []
    proxies = Rules(faults=(parse_pattern("process.*", "shop.yaml", 3),))
    ((_, forbidden),) = refused_together(allowing(aimed(0), rules=proxies), both[:1])
    assert forbidden.endswith("shop.yaml:3: 'process.*'")
    narrowed = allowing(aimed(0), aimed(1, at_s=2.0), rules=limited("2 of api"), own=limited("1 of api"))
    assert list(refused_together(narrowed, both))


def berlin(text: str) -> datetime:
    """An instant by the clocks of Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("rules", "at", "refusal"),
    [
        (OFFICE, berlin("2026-11-27T09:00:00"), ""),
        (OFFICE, berlin("2026-11-27T16:59:59"), ""),
        (OFFICE, berlin("2026-11-27T17:00:00"), "faults are allowed only in shop.yaml:9: 'Mon-Fri 09:00-17:00 Europe/"),
        (OFFICE, berlin("2026-11-28T12:00:00"), "faults are allowed only in"),
        (OFFICE, datetime(2026, 7, 1, 7, 30, tzinfo=UTC), ""),
        (OFFICE, datetime(2026, 1, 7, 7, 30, tzinfo=UTC), "faults are allowed only in"),
        (NIGHT, datetime(2026, 11, 27, 23, 0, tzinfo=UTC), ""),
        (NIGHT, datetime(2026, 11, 28, 5, 59, tzinfo=UTC), ""),
        (
            NIGHT,
            datetime(2026, 11, 28, 6, 0, tzinfo=UTC),
            "faults are allowed only in shop.yaml:9: 'Fri 22:00-06:00 UTC'",
        ),
        (NIGHT, datetime(2026, 11, 28, 23, 0, tzinfo=UTC), "faults are allowed only in"),
        (NIGHT, datetime(2026, 11, 30, 12, 0, tzinfo=UTC), ""),
        (HOLIDAY, berlin("2026-12-23T23:59:59"), ""),
        (HOLIDAY, berlin("2026-12-24T00:00:00"), "no fault on shop.yaml:10: '2026-12-24 to 2026-12-26 Europe/Berlin'"),
        (HOLIDAY, berlin("2026-12-26T23:59:59"), "no fault on"),
        (HOLIDAY, berlin("2026-12-27T00:00:00"), ""),
    ],
)
def test_hours_and_dates_are_those_of_their_zone(rules: Rules, at: datetime, refusal: str) -> None:
    """Local clocks decide, summer time included; hours over midnight belong to the day they begin on."""
    said = closed([Rules(), rules], at)
    assert said.startswith(refusal)
    assert bool(said) is bool(refusal)


def test_a_run_that_will_not_be_over_in_time_is_known() -> None:
    """The first minute at which a rule closes is found, and none beyond what is asked for."""
    at = berlin("2026-11-27T16:58:30")
    assert closes_within([OFFICE], at, 60.0) is None
    found = closes_within([HOLIDAY, OFFICE], at, 3600.0)
    assert found is not None
    assert (found[0], found[1].partition(" only")[0]) == (90.0, "faults are allowed")
    assert closes_within([OFFICE], berlin("2026-11-28T12:00:00"), 1.0) == (
        0.0,
        closed([OFFICE], berlin("2026-11-28T12:00:00")),
    )
    assert closes_within([Rules()], at, 1e9) is None


def test_what_is_protected_is_told_by_name_label_or_namespace() -> None:
    """Any of them is enough, and the rule comes with what it met; labels are met by key or by key and value."""
    guarded = Protections(
        names=(parse_pattern("*-primary", "s", 1),),
        labels=(parse_pattern("tier=critical", "s", 2), parse_pattern("keep", "s", 3)),
        namespaces=(parse_pattern("prod-*", "s", 4),),
    )

    def met(names: tuple[str, ...] = (), labels: dict[str, str] | None = None, spaces: tuple[str, ...] = ()) -> object:
        found = guarded.against(names, labels or {}, spaces)
        return None if found is None else (found[0], found[1].line)

    assert met(("db-primary", "x")) == ("name 'db-primary'", 1)
    assert met(("x",), {"tier": "critical"}) == ("label 'tier=critical'", 2)
    assert met((), {"keep": "no matter"}) == ("label 'keep'", 3)
    assert met(("x",), {"tier": "low"}, ("prod-eu",)) == ("namespace 'prod-eu'", 4)
    assert met(("x",), {"tier": "low"}, ("test",)) is None


def test_hours_and_dates_are_values() -> None:
    """Without more words, hours are a whole day."""
    hours = Hours(text="", file="", line=0, days=frozenset({1}), zone=UTC)
    assert closed([Rules(only=(hours,))], datetime(2026, 11, 24, tzinfo=UTC)) == ""
    day = Dates(text="d", file="f", line=1, first=date(2026, 1, 1), last=date(2026, 1, 1), zone=UTC)
    assert closed([Rules(never=(day,))], datetime(2026, 1, 1, tzinfo=UTC)) == "no fault on f:1: 'd'"


CLOSED = e.Forbidden(why="no fault on f:1: 'd'", at_ns=0)


def test_an_hour_that_closes_ends_the_run_and_heals() -> None:
    """No further inject: what is in place is healed, and the run ends with the reason."""
    story = Story(quick(aimed(0), aimed(1, at_s=3.0))).begins().injected().happens(CLOSED)
    abort = story.next()
    assert abort == Abort("not allowed any more: no fault on f:1: 'd'")
    story.happens(e.Decided(step="abort", why=abort.why, now_ns=story.now))
    assert story.next() == Heal(0, abort.why)
    assert story.healed().next() == Done(abort.why)


def test_an_hour_that_closes_over_no_harm_changes_nothing() -> None:
    """Once every fault is over, and in a load test, it is nobody's business."""
    story = Story(quick(aimed())).begins().injected().flows(4.0).healed()
    story.happens(e.PhaseEntered(phase=Phase.RECOVERY, at_ns=story.now), CLOSED)
    assert not isinstance(story.next(), Abort)
    assert not isinstance(Story(quick()).happens(CLOSED).next(), Abort)


def test_an_hour_that_closed_is_unknown() -> None:
    """The verdict says that the run was not played to its end, and why."""
    cut = e.Decided(step="abort", why="not allowed any more: no fault on f:1: 'd'", now_ns=0)
    script = Script(after=None, recovery=None, heal=(25.0, 25.1), end=26.0, extra=[(24.9, CLOSED), (25.0, cut)])
    seen = judge(experiment(), script.state())
    assert seen.exit is Exit.UNKNOWN
    assert seen.headline.startswith("played to the end: not allowed any more: no fault on f:1: 'd'")


def test_the_abort_command_is_a_reason_of_its_own() -> None:
    """It is no interruption: the run ends UNKNOWN, not as by a signal."""
    story = Story(quick(aimed())).begins().happens(e.Signalled(signal=e.ABORT))
    assert story.next() == Abort("aborted by hand, by command or key")


WELL = Script(after=27.5, end=40.0)


def test_a_fault_that_is_there_again_is_not_restored() -> None:
    """A debt that was paid is open again, and exit 4 names the one command."""
    back = replace(WELL, extra=[(39.9, e.Residue(fault=0, says="it is there again"))])
    seen = judge(experiment(), back.state())
    assert (seen.exit, seen.restored, seen.residue) == (Exit.NOT_RESTORED, False, ())
    assert (seen.faults[0].restored, seen.faults[0].note) == (False, "it is there again")
    assert seen.headline == "noop may still be in place; repair with: chaosrunner recover 7f3a"


def test_anything_else_of_ours_is_not_restored_either() -> None:
    """What bears the run's tag is exit 4 although every debt is paid; the command scans the system."""
    left = replace(WELL, extra=[(39.9, e.Residue(fault=None, says="proxy.down: chaosrunner-7f3a-0 at db"))])
    seen = judge(experiment(), left.state())
    assert (seen.exit, seen.restored, seen.residue) == (
        Exit.NOT_RESTORED,
        False,
        ("proxy.down: chaosrunner-7f3a-0 at db",),
    )
    assert seen.faults[0].restored
    assert seen.headline == (
        "proxy.down: chaosrunner-7f3a-0 at db may still be in place; "
        "repair with: chaosrunner recover 7f3a --scan shop.yaml"
    )
