"""Recipes as JSON."""

from __future__ import annotations

import json

import pytest

from chaosrunner.model.fault import Recipe, recipe_from_json, recipe_to_json

RECIPE = Recipe(
    injector="x.y", says="what", data={"a": [1, {"secret": "${S}"}]}, claims=("c:1", "c:2"), settle_s=2.0, lasts_s=3.0
)


def test_a_recipe_is_the_same_after_json() -> None:
    """What is written and read back is what was prepared."""
    assert recipe_from_json(json.loads(json.dumps(recipe_to_json(RECIPE)))) == RECIPE


def test_what_a_later_version_added_is_ignored() -> None:
    """An unknown field does not stop an undo, and a missing one has its default."""
    raw = recipe_to_json(RECIPE)
    del raw["guard"]
    assert recipe_from_json({**raw, "colour": "blue"}) == RECIPE


def test_a_recipe_without_its_data_is_refused() -> None:
    """Nothing is undone by guessing."""
    with pytest.raises(TypeError):
        recipe_from_json({"injector": "x.y", "says": "what", "claims": []})
