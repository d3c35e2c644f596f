"""Faults, targets and recipes."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.model.fault import Context, Fault, Recipe, Target, recipe_from_json, recipe_to_json
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import System

TARGETS = [
    (Target(component="database"), "database"),
    (Target(component="api", count=1, of=3), "1 of 3 api"),
    (Target(component="api", share=0.3), "30% of api"),
    (Target(component="api", share=1.0), "all api"),
]


@pytest.mark.parametrize(("target", "text"), TARGETS, ids=[text for _, text in TARGETS])
def test_a_target_reads_as_it_was_written(target: Target, text: str) -> None:
    """The text of a target is what a file says."""
    assert str(target) == text


@pytest.mark.parametrize(
    ("target", "live", "hit"),
    [
        (Target(component="database"), 1, 1),
        (Target(component="api", count=2, of=3), 3, 2),
        (Target(component="api", count=2), 5, 2),
        (Target(component="api", share=0.5), 5, 2),
        (Target(component="api", share=0.1), 3, 1),
        (Target(component="api", share=1.0), 7, 7),
    ],
)
def test_how_many_are_hit(target: Target, live: int, hit: int) -> None:
    """A count is taken as it is, a share is rounded down but is at least one."""
    assert target.how_many(live) == hit


@pytest.mark.parametrize(
    ("target", "live", "says"),
    [
        (Target(component="api", share=1.0), 0, "no live instance of api"),
        (Target(component="api", count=1, of=3), 2, "1 of 3 api: expected 3 live, found 2"),
        (Target(component="api"), 3, "write '1 of 3 api'"),
    ],
)
def test_a_target_that_is_not_as_promised_is_refused(target: Target, live: int, says: str) -> None:
    """The message says what was expected and what is there."""
    with pytest.raises(ValueError, match=says):
        target.how_many(live)


@given(share=st.floats(0.001, 1.0), live=st.integers(1, 1000))
def test_a_share_hits_some_but_never_more_than_there_are(share: float, live: int) -> None:
    """At least one, at most all, and never more than the share asks for beyond that one."""
    hit = Target(component="api", share=share).how_many(live)
    assert 1 <= hit <= max(1, share * live) <= live


def test_a_fault_has_a_title() -> None:
    """A fault is called by its injector and its target, if it has one."""
    on = Fault(index=0, injector="proxy.latency", target=Target(component="database"), params=None)
    assert on.title == "proxy.latency on database"
    assert Fault(index=0, injector="noop", target=None, params=None).title == "noop"


RECIPE = Recipe(injector="noop", says="nothing", data={"a": [1, "x", None]}, claims=("proxy:x", "pid:1"), settle_s=0.25)


def test_a_recipe_survives_json() -> None:
    """What comes back from JSON is the recipe that went in."""
    assert recipe_from_json(json.loads(json.dumps(recipe_to_json(RECIPE)))) == RECIPE


def test_a_recipe_of_a_later_version_is_understood() -> None:
    """Fields of a later version are ignored, fields it does not have yet have their default."""
    raw = {"injector": "noop", "says": "nothing", "data": {}, "claims": [], "colour": "blue"}
    assert recipe_from_json(raw) == Recipe(injector="noop", says="nothing", data={}, claims=())


def test_half_a_recipe_is_refused() -> None:
    """A recipe without what is needed to undo it is an error, never a guess."""
    with pytest.raises(TypeError, match="data"):
        recipe_from_json({"injector": "noop", "says": "nothing", "claims": []})


class PlainTools:
    """Secrets are what they look like."""

    def reveal(self, secret: Secret) -> str:
        return secret.template


def test_what_a_fault_creates_is_named_after_run_and_fault() -> None:
    """The tag says whose it is: ours, of which run, of which fault."""
    system = System(name="s", file="s.yaml")
    context = Context(run="7f3a", system=system, tools=PlainTools(), rng=random.Random(1), spare=frozenset)
    assert context.tag(Fault(index=2, injector="noop", target=None, params=None)) == "chaosrunner/7f3a/2"
