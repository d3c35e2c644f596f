"""Several scenarios at once: who draws from which line, by what weight, from when on, and what may be said of them."""

from __future__ import annotations

from textwrap import dedent

import pytest
from parse_rig import EXPERIMENT, changed, read, wrong

from chaosrunner.logic.parse.arrivals import render
from chaosrunner.model.journey import Again
from chaosrunner.model.load import Closed, LoadProfile, Stage
from chaosrunner.model.secret import Secret

HEAD, _, REST = EXPERIMENT.partition("  each_user:")
TAIL = "baseline:" + REST.partition("baseline:")[2].replace("errors of log in < 5% in any 5s", "errors of browse < 5%")


def load_of(text: str) -> str:
    """The good experiment with another load."""
    return HEAD + "".join(f"  {line}\n" for line in dedent(text).strip().splitlines()) + TAIL


MIX = """
scenarios:
  - browse: {weight: 3, tags: reading, each_user: [{home: {GET: /}}, {list: {GET: /agents}}]}
  - buy: {each_user: [{pay: {POST: /pay}}], tags: [money, reading]}
arrivals: 10 users/s
"""
OWN = """
scenarios:
  - browse: {each_user: [{home: {GET: /}}], arrivals: 5 users/s, max_in_flight: 7}
  - chat: {each_user: [{talk: {GET: /talk}}], users: 20, iterations: 4, starts: 10s}
"""


def test_scenarios_share_a_line_by_weight() -> None:
    """Scenarios without a line of their own are drawn from the load's, by weights of 1 unless said."""
    load = read(load_of(MIX)).load
    assert len(load.streams) == 1
    assert [(one.name, one.weight, one.tags) for one in load.scenarios] == [
        ("browse", 3.0, ("reading",)),
        ("buy", 1.0, ("money", "reading")),
    ]
    assert load.streams[0].steps_a_journey == 1.75
    assert not load.closed
    assert render(load) == "10 users/s"


def test_scenarios_with_lines_of_their_own() -> None:
    """Each has its own model, limits and start; the warm-up lasts until the last has ramped up."""
    load = read(load_of(OWN)).load
    one, two = load.streams
    assert (one.stages, one.closed, one.starts_s, one.max_in_flight) == (
        (Stage(start=5, end=5, lasts_s=None),),
        None,
        0.0,
        7,
    )
    assert (two.plateau, two.closed, two.starts_s) == (20, Closed(iterations=4), 10.0)
    assert (load.warmup_s, load.closed) == (13.0, True)
    assert render(load) == "browse: 5 users/s; chat: 20 users, after 10s"


def test_shared_and_own_lines_together() -> None:
    """The load's line is for those without one of their own."""
    both = MIX.replace("arrivals", "  - chat: {each_user: [{talk: {GET: /talk}}], users: 20}\narrivals")
    load = read(load_of(both)).load
    assert render(load) == "3 browse + 1 buy: 10 users/s; chat: 20 users"


def test_auth_and_data_are_the_loads_unless_a_scenario_has_its_own() -> None:
    """What stands in the load is for all scenarios; a scenario may say otherwise."""
    text = """
    auth: basic ${KEY}
    data: users.csv
    scenarios:
      - browse: {each_user: [{home: {GET: "/<user>"}}]}
      - buy: {each_user: [{pay: {POST: /pay}}], auth: "own ${KEY}"}
    arrivals: 10 users/s
    """
    browse, buy = read(load_of(text), environ={"KEY": "k"}).load.scenarios
    assert (browse.auth, buy.auth) == (Secret("basic ${KEY}"), Secret("own ${KEY}"))
    assert browse.data == buy.data != ()


@pytest.mark.parametrize(
    ("word", "indices"), [("", {0, 1, 2}), ("home", {0}), ("browse", {0, 1}), ("money", {2}), ("reading", {0, 1, 2})]
)
def test_a_word_stands_for_steps(word: str, indices: set[int]) -> None:
    """A step's name, a scenario's and a tag may be used where a tolerance names what it is about."""
    load = read(load_of(MIX)).load
    assert load.called(word) == indices
    if word:
        named = load_of(MIX).replace("errors of browse", f"errors of {word}")
        assert read(named).hypothesis.during[1].metric.of == word


def test_a_word_that_nothing_is_called() -> None:
    """Asking for it is a mistake of ours."""
    with pytest.raises(KeyError):
        read(load_of(MIX)).load.called("nobody")


def test_a_step_again_and_again() -> None:
    """A step may be repeated so many times, or for a while, paced or not, and have a timeout of its own."""
    text = """
    each_user:
      - browse: {GET: /, times: 20, every: 100ms, timeout: 2s}
      - poll: {GET: /, for: 10s}
    arrivals: 10 users/s
    """
    first, second = read(load_of(text)).load.steps
    assert (first.again, first.timeout_s) == (Again(times=20, every_s=0.1), 2.0)
    assert (second.again, second.timeout_s) == (Again(for_s=10.0), None)


@pytest.mark.parametrize(
    ("again", "known"),
    [
        (Again(times=3), 3),
        (Again(for_s=1.0, every_s=0.3), 4),
        (Again(times=3, for_s=1.0, every_s=0.3), 3),
        (Again(for_s=1.0), 1),
    ],
)
def test_how_often_a_step_is_done_as_far_as_is_known(again: Again, known: int) -> None:
    """The smaller of what count and time allow; without a pace, time says nothing beforehand."""
    assert again.known == known


def test_the_names_of_a_load() -> None:
    """A slot's name index is a step's number, in the order of the file."""
    assert read(load_of(MIX)).load.names == {0: "home", 1: "list", 2: "pay"}
    assert LoadProfile(streams=()).names == {}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        pytest.param(MIX + "each_user: [{x: {GET: /}}]", "'each_user' and 'scenarios' exclude each other", id="both"),
        pytest.param("scenarios: []\narrivals: 1 users/s", "scenarios needs at least one, such as", id="none"),
        pytest.param("scenarios: [browse]\narrivals: 1 users/s", "a scenario is one name and what", id="a word"),
        pytest.param("scenarios: [browse: 3]\narrivals: 1 users/s", "expected a mapping of keys", id="a number"),
        pytest.param(MIX.replace("weight", "wieght"), "did you mean 'weight'?", id="a slip"),
        pytest.param(MIX.replace("- buy:", "- 'a<b':"), "'a<b' is no name for a scenario", id="an odd name"),
        pytest.param(MIX.replace("[money, reading]", "'a=b'"), "'a=b' is no name for a tag", id="an odd tag"),
        pytest.param(MIX.replace("weight: 3", "weight: 0"), "expected a share above zero", id="no weight"),
        pytest.param(MIX.replace("each_user: [{pay: {POST: /pay}}], ", ""), "'each_user' is missing", id="no steps"),
        pytest.param(MIX.replace("pay:", "home:"), "'home' is a step and a step", id="a step twice"),
        pytest.param(MIX.replace("- buy", "- browse"), "'browse' is a scenario and a scenario", id="a scenario twice"),
        pytest.param(MIX.replace("money", "list"), "'list' is a tag and a step", id="a tag like a step"),
        pytest.param(MIX.replace("weight: 3", "starts: 3s"), "'starts' is for a scenario with its own", id="starts"),
        pytest.param(OWN.replace("users: 20", "users: 20, weight: 2"), "'weight' is a share of", id="weight"),
        pytest.param(OWN + "arrivals: 10 users/s", "'arrivals' is for nobody", id="a line for nobody"),
        pytest.param(OWN.replace("5 users/s", "5 users/s for 20s"), "expected '10 users/s' or", id="an odd line"),
        pytest.param(
            OWN.replace("5 users/s", "'1 to 5 users/s over 5s, then hold 9s'"), "arrivals end after 14s", id="too short"
        ),
        pytest.param(
            "each_user: [{browse: {GET: /, every: 1s}}]\narrivals: 1 users/s", "needs an end", id="every without an end"
        ),
    ],
)
def test_what_is_wrong_with_scenarios(text: str, mistake: str) -> None:
    """Each mistake is named at its place."""
    found = wrong(load_of(text))
    assert any(mistake in one for one in found), found


def test_a_step_name_used_for_a_step_only() -> None:
    """The good experiment has no scenario names, and its steps are found by theirs."""
    assert read(changed(EXPERIMENT)).load.called("read") == {1}


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (("auth: bearer <token>", "auth: bearer hunter2"), "7:9: auth: a secret written out"),
        (("{GET: /agents/<token>}", "{GET: /, headers: {X-API-Key: k}}"), "6:43: header 'X-API-Key': a secret written"),
    ],
)
def test_a_secret_is_not_written_out(change: tuple[str, str], mistake: str) -> None:
    """A credential without a reference or a variable is a mistake: reports keep the file's text."""
    found = wrong(changed(EXPERIMENT, change))
    assert any(one.startswith(mistake) for one in found), found


def test_an_ordinary_header_may_be_written_out() -> None:
    """What is no credential, and a credential by reference, are as they were."""
    text = changed(EXPERIMENT, ("{GET: /agents/<token>}", "{GET: /, headers: {Accept: a, Cookie: 's=${S}'}}"))
    assert read(text, environ={"S": "s"}).load.steps[1].headers == {"Accept": "a", "Cookie": "s=${S}"}  # type: ignore[union-attr]


def test_a_credential_that_cannot_be_read_is_said_once() -> None:
    """A '<' that begins no variable is the mistake; that it is written out is not said as well."""
    assert wrong(changed(EXPERIMENT, ("auth: bearer <token>", "auth: bearer <"))) == [
        "7:9: auth: the '<' in 'bearer <' begins no <variable>; write '<<' for a literal one"
    ]
