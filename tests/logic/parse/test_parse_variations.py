"""The same experiment at another load or dose: texts in which only what must differ is written anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parse_rig import SYSTEM, around, find

from chaosrunner.logic.parse import Source, parse_experiment
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.search.draft import Draft
from chaosrunner.logic.search.vary import (
    alone,
    at_load,
    capacity_tolerances,
    control,
    dosed,
    healthy,
    lead_s,
    level_of,
    looking,
    overload,
    scaled,
    texts_of,
    unit_of,
    with_only,
)
from chaosrunner.logic.search.words import DOSES, arrivals, dose_of, users
from chaosrunner.model import units
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.load import Closed, Stage, Stream, Wave

FILE = """\
# A comment that stays.
question: Does it hold?
system: shop
load:
  each_user:
    - read: {GET: /}
  arrivals: 10 to 40 users/s over 6s, then hold   # who comes
baseline: 15s
faults:
  - proxy.latency: {target: database, add: 200ms}
    for: 12s
  # Between them.
  - noop: {}
    for: 3s
hypothesis:
  before: [p95 <= 250ms]
  during:
    - p95 <= 1s
    - errors < 2%
    - rate >= 0.5x baseline
recover: within 20s, hold 10s
abort: errors > 90% for 10s
"""
JOURNEY = FILE[FILE.index("  each_user") : FILE.index("baseline")]
SCENARIOS = FILE.replace(
    JOURNEY,
    """\
  scenarios:
    - browse:
        each_user: [{read: {GET: /}}]
        arrivals: 5 to 15 users/s in waves of 5s
    - shop:
        each_user: [{buy: {GET: /buy}}]
  arrivals: 30 users/s
""",
)
USERS = FILE.replace(JOURNEY, JOURNEY.replace("arrivals: 10 to 40 users/s over 6s, then hold", "users: 8"))
FLOW = FILE.replace(
    FILE[FILE.index("faults:") : FILE.index("hypothesis:")],
    "faults: [{noop: {}, for: 2s}, {noop: {}, for: 4s}]\n",
)
BOTH = SCENARIOS.replace("arrivals: 30 users/s", "users: 30")


def read(text: str) -> Experiment:
    """An experiment of a text."""
    return parse_experiment(Source("x/e.yaml", text), Source("x/systems/shop.yaml", SYSTEM), around())


def again(draft: Draft) -> Experiment:
    """What a draft spells; its lines are those of the file it is of."""
    assert draft.text.startswith("# A comment that stays.\n")
    return read(draft.text)


@settings(deadline=None, max_examples=20)
@given(level=st.floats(0.5, 5_000).map(lambda value: float(f"{value:.4g}")))
@pytest.mark.parametrize("text", [FILE, SCENARIOS], ids=["one stream", "two streams"])
def test_a_load_is_scaled_as_a_whole(text: str, level: float) -> None:
    """All streams and stages are in proportion, and the sum is the level asked for; all else is as it was."""
    one = read(text)
    other = again(at_load(one, level))
    assert level_of(other) == pytest.approx(level, rel=1e-4)
    factor = level / level_of(one)
    for before, after in zip(one.load.streams, other.load.streams, strict=True):
        assert after.peak == pytest.approx(before.peak * factor, rel=1e-3, abs=2e-6)
        assert after.scenarios == before.scenarios
    assert (other.faults, other.hypothesis, other.abort) == (one.faults, one.hypothesis, one.abort)


def test_users_are_scaled_to_whole_ones() -> None:
    """A closed model has no half users, and never none."""
    one = read(USERS)
    assert (level_of(one), unit_of(one), unit_of(read(FILE))) == (8.0, "users", "users/s")
    assert level_of(again(at_load(one, 11.0))) == 11.0
    stream = Stream(scenarios=(), stages=(Stage(start=0.0, end=2.0, lasts_s=3.0),), closed=Closed())
    assert scaled(stream, 0.01).stages == (Stage(start=0.0, end=1.0, lasts_s=3.0),)
    wave = Stream(scenarios=(), stages=(Wave(low=1.0, high=3.0, period_s=2.0, lasts_s=None),))
    assert scaled(wave, 2.0).stages == (Wave(low=2.0, high=6.0, period_s=2.0, lasts_s=None),)


def test_a_load_that_is_two_things_has_no_level() -> None:
    """Arrivals and users beside each other are no one number."""
    with pytest.raises(ReadingError, match="no one number"):
        level_of(read(BOTH))


def test_without_faults_what_must_hold_under_load_is_all_that_is_asked() -> None:
    """`before`, and of `during` what is absolute and not bounded by it; faults and recovery are gone, lines are not."""
    one = read(FILE)
    assert texts_of(capacity_tolerances(one)) == "p95 <= 250ms, errors < 2%"
    draft = healthy(at_load(one, 80.0), one, 7.5)
    other = again(draft)
    assert other.faults == ()
    assert texts_of(other.hypothesis.before) == "p95 <= 250ms, errors < 2%"
    assert (other.hypothesis.during, other.hypothesis.after, other.baseline_s) == ((), (), 7.5)
    assert [tolerance.line for tolerance in other.abort] == [tolerance.line for tolerance in one.abort]
    assert again(healthy(Draft(FILE), one)).baseline_s == 15.0


def test_where_nothing_is_asked_there_is_no_capacity() -> None:
    """Without a tolerance nothing could hold or break."""
    one = replace(read(FILE), hypothesis=Hypothesis())
    for make in (lambda: healthy(Draft(FILE), one), lambda: overload(one, (1.0, 2.0), 5.0)):
        with pytest.raises(ReadingError, match="nothing in 'before'"):
            make()


@pytest.mark.parametrize(("nth", "injector"), [(0, "proxy.latency"), (1, "noop")])
def test_one_fault_of_several_can_be_kept(nth: int, injector: str) -> None:
    """The others are gone, and the one that is left has kept its length and its line."""
    one = read(FILE)
    other = again(with_only(Draft(FILE), nth))
    assert [(fault.injector, fault.for_s, fault.line) for fault in other.faults] == [
        (injector, one.faults[nth].for_s, one.faults[nth].line)
    ]
    assert other.recover == one.recover
    assert [fault.for_s for fault in again(with_only(Draft(FLOW), nth)).faults] == [2.0 + 2 * nth]


def test_a_control_breaks_nothing_for_as_long() -> None:
    """Every fault is a noop of the same length, and nothing else has changed."""
    one, other = read(FILE), again(control(read(FILE)))
    assert [(fault.injector, fault.for_s) for fault in other.faults] == [("noop", 12.0), ("noop", 3.0)]
    assert other.hypothesis == one.hypothesis


def test_faults_that_are_composed_cannot_be_played_alone() -> None:
    """Each fault must be an entry of its own; an experiment without any has nothing to take apart."""
    one = read(FILE)
    alone(one)
    alone(replace(one, faults=(), source="question: x\n"))
    with pytest.raises(ReadingError, match="composed"):
        alone(replace(one, faults=one.faults * 2))


def test_a_dose_is_written_where_the_fault_stands() -> None:
    """The parameter is found by the fault's line, and read again as it was written."""
    one = read(FILE)
    dose = dose_of(one, "database add", find)  # type: ignore[arg-type,return-value]
    place = Draft(FILE).find(dose.fault.injector, dose.fault.line)
    assert place == ("faults", 0, "proxy.latency")
    other = again(dosed(one, (*place, dose.parameter), dose.unit.write(0.0375)))
    assert other.faults[0].params.add == 0.0375  # type: ignore[attr-defined]
    assert dose.title == "add of proxy.latency on database"


def test_a_place_that_is_not_in_the_file_is_an_error() -> None:
    """Only a key of the file itself may be new."""
    draft = Draft(FILE)
    for call in (
        lambda: draft.put(("faults", 0, "proxy.latency", "jitter"), "1ms"),
        lambda: draft.find("proxy.latency", 1),
        lambda: draft.swap(("faults", 0, "process.kill"), "noop: {}"),
    ):
        with pytest.raises(KeyError):
            call()
    assert draft.drop("probes") == draft
    assert again(draft.put(("seed",), "7")).seed == 7
    assert looking(draft, None) == draft


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("databse add", "did you mean 'database'"),
        ("database ad", "did you mean 'proxy.latency add'"),
        ("noop much", "it has none"),
        ("", "is no dose"),
    ],
)
def test_a_dose_that_is_not_there_is_told_from_the_nearest(text: str, why: str) -> None:
    """An unknown fault or parameter is answered with the nearest spelling."""
    with pytest.raises(ReadingError, match=why):
        dose_of(read(FILE), text, find)  # type: ignore[arg-type,return-value]


def test_a_dose_needs_a_fault_and_only_one() -> None:
    """Without faults there is no dose; of two faults that have it one must be named."""
    one = read(FILE)
    with pytest.raises(ReadingError, match="there is no fault"):
        dose_of(replace(one, faults=()), "add", find)  # type: ignore[arg-type,return-value]
    twice = replace(one, faults=(one.faults[0], replace(one.faults[0], index=1)))
    with pytest.raises(ReadingError, match="say which"):
        dose_of(twice, "add", find)  # type: ignore[arg-type,return-value]
    assert dose_of(one, "add", find).parameter == "add"  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("kind", "text", "value", "said"),
    [
        (units.Seconds, "37.5ms", 0.0375, "37.5 ms"),
        (units.Share, "2.5%", 0.025, "2.5 %"),
        (units.Bytes, "64KB", 64_000.0, "64,000 B"),
        (units.BytesPerSecond, "1MB/s", 1e6, "1,000,000 B/s"),
        (int, "12", 12.0, "12"),
        (float, "1.5", 1.5, "1.5"),
    ],
)
def test_a_dose_is_read_written_and_said_in_its_unit(kind: object, text: str, value: float, said: str) -> None:
    """What is written is read as the same."""
    unit = DOSES[kind]
    assert unit.read(text) == value
    assert unit.read(unit.write(value)) == value
    assert unit.say(value).replace("37.5 ms", "37.5 ms") == said


@pytest.mark.parametrize(("text", "level"), [("50/s", 50.0), ("50 users/s", 50.0), ("90/min", 1.5)])
def test_a_load_is_journeys_a_second(text: str, level: float) -> None:
    """A rate with its time; without one it is a mistake."""
    unit = arrivals()
    assert unit.read(text) == level
    assert unit.say(1234.0) == "1,234/s"
    with pytest.raises(ReadingError, match="such as '50/s'"):
        unit.read("50")


def test_a_load_of_users_is_whole() -> None:
    """`50` or `50 users`."""
    unit = users()
    assert (unit.read("50"), unit.read("50 users"), unit.say(50.0), unit.whole) == (50.0, 50.0, "50 users", True)


def test_an_overload_is_a_ramp_up_and_down_while_a_noop_is_in_place() -> None:
    """It begins when the baseline is judged, ends at the level it began with, and the trigger lasts until then."""
    one = read(FILE)
    other = again(overload(one, (5.0, 50.0), 10.0))
    stages = other.load.streams[0].stages
    assert [(stage.start, stage.end) for stage in stages] == [(5, 5), (5, 50), (50, 5), (5, 5)]
    assert stages[0].lasts_s == lead_s(one) == 6.0 + 15.0 + 2.0 + 2.0
    assert [(fault.injector, fault.for_s) for fault in other.faults] == [("noop", 24.0)]
    assert texts_of(other.hypothesis.before) == texts_of(other.hypothesis.after) == "p95 <= 250ms, errors < 2%"
    own = read(FILE.replace("  before: [p95 <= 250ms]", "  before: [p95 <= 250ms]\n  after: [p95 <= 300ms]"))
    assert texts_of(again(overload(own, (5.0, 50.0), 10.0)).hypothesis.after) == "p95 <= 300ms"
    with pytest.raises(ReadingError, match="one line of 'arrivals'"):
        overload(read(SCENARIOS), (5.0, 50.0), 10.0)


def test_a_shipped_experiment_can_be_varied() -> None:
    """The files that ship are read again at any load, without faults, and as a control."""
    text = (Path(__file__).parents[3] / "experiments/slow-database.yaml").read_text()
    assert Draft(text).places(("arrivals", "users")) == [("load", "arrivals")]
    assert "12.5" in Draft(text).put(("load", "arrivals"), "12.5 users/s").text
