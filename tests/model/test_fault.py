"""Targets: how many of how many, and what they are called."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.model.fault import Context, Fault, Recipe, Target, recipe_from_json, recipe_to_json
from chaosrunner.model.system import System


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target(component="api", count=1, of=3), "1 of 3 api"),
        (Target(component="api", share=0.3), "30% of api"),
        (Target(component="api", share=1.0), "all api"),
        (Target(component="database"), "database"),
    ],
)
def test_a_target_reads_as_it_was_written(target: Target, text: str) -> None:
    """A target is printed in the words of the experiment."""
    assert str(target) == text
    assert Fault(index=0, injector="process.kill", target=target, params=None).title == f"process.kill on {text}"


def test_a_fault_on_nothing() -> None:
    """A fault without a target is called by its injector."""
    assert Fault(index=0, injector="noop", target=None, params=None).title == "noop"


@pytest.mark.parametrize(
    ("target", "live", "hit"),
    [
        (Target(component="api", count=1, of=3), 3, 1),
        (Target(component="api", count=2, of=3), 3, 2),
        (Target(component="api", share=0.3), 10, 3),
        (Target(component="api", share=0.3), 2, 1),
        (Target(component="api", share=1.0), 5, 5),
        (Target(component="database"), 1, 1),
    ],
)
def test_how_many_are_hit(target: Target, live: int, hit: int) -> None:
    """A count is itself, a share is rounded down but at least one, a bare name is its only instance."""
    assert target.how_many(live) == hit


@pytest.mark.parametrize(
    ("target", "live", "message"),
    [
        (Target(component="api"), 0, "no live instance of api"),
        (Target(component="api", count=1, of=3), 2, "1 of 3 api: expected 3 live, found 2"),
        (Target(component="api"), 3, "api has 3 live instances; write '1 of 3 api'"),
    ],
)
def test_what_is_not_as_promised_is_refused(target: Target, live: int, message: str) -> None:
    """When the live count is not what the target promises nothing is hit, and the message says both."""
    with pytest.raises(ValueError, match=message):
        target.how_many(live)


@given(st.floats(0.001, 1.0), st.integers(1, 1000))
def test_a_share_never_hits_more_than_there_are(share: float, live: int) -> None:
    """A share of the live ones is at least one and at most all of them."""
    assert 1 <= Target(component="api", share=share).how_many(live) <= live


def test_what_a_fault_creates_is_tagged() -> None:
    """The tag names the run and the fault."""
    context = Context(
        run="7f3a",
        system=System(name="shop", file="shop.yaml"),
        tools=None,  # type: ignore[arg-type]
        rng=random.Random(1),
        spare=frozenset,
    )
    assert context.tag(Fault(index=2, injector="noop", target=None, params=None)) == "chaosrunner/7f3a/2"


RECIPE = Recipe(
    injector="noop", says="does nothing", data={"pid": 7, "list": [1, None]}, claims=("a", "b"), settle_s=2.0
)


def test_a_recipe_survives_json() -> None:
    """Recipe → JSON text → recipe gives an equal recipe, and what a later version added is ignored."""
    raw = json.loads(json.dumps(recipe_to_json(RECIPE)))
    assert recipe_from_json(raw) == RECIPE
    assert recipe_from_json({**raw, "later": 1}) == RECIPE


def test_a_recipe_without_its_way_back_is_none() -> None:
    """A recipe that lacks what undo needs is refused."""
    with pytest.raises(TypeError, match="data"):
        recipe_from_json({"injector": "noop", "says": "", "claims": []})
