"""Regular expressions that are searched in linear time find what Python's own find."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chaosrunner.proxy.postgres.patterns import BadExpression, Pattern

ATOMS = st.sampled_from(["a", "B", "c", " ", "_", r"\.", r"\d", r"\s", r"\w", "[ab]", "[^a]", "[a-c]", "^", r"\b"])
REPEATS = st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{2,}", "*?", "+?"])


def grown(inner):
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda ways: f"({'|'.join(ways)})"),
        st.tuples(inner, REPEATS).map(lambda parts: f"(?:{parts[0]}){parts[1]}"),
    )


@settings(max_examples=1000, deadline=None)
@given(st.recursive(ATOMS, grown, max_leaves=8), st.text(alphabet="aAbBcx _-.1{},]\n", min_size=1, max_size=12))
@example("a.*c", "xA\nC")
@example(r"\borders\b", "insert into ORDERS (id)")
@example("(a|ab)(c|bcd)(d*)", "abcd")
def test_what_is_found_is_what_python_finds(expression, text):
    """What one would write to find a statement finds the same as Python's `re.search` does."""
    expected = re.compile(expression, re.IGNORECASE | re.DOTALL).search(text) is not None
    assert Pattern(expression).found_in(text) is expected


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_refused_with_a_reason(text):
    """Nothing that someone sends as an expression gives another error than `BadExpression`."""
    reason = "none needed"
    try:
        Pattern(text).found_in("select 1")
    except BadExpression as refused:
        reason = str(refused)
    assert reason


@pytest.mark.parametrize("expression", ["(", "a**", "a" * 1001, "(?=a)", r"(a)\1", "(a{100}){100}"])
def test_what_cannot_be_searched_is_refused(expression):
    """An expression that is none, too large, or looks around is refused when it is read."""
    with pytest.raises(BadExpression):
        Pattern(expression)


@pytest.mark.parametrize("expression", ["(a+)+$", "(a|a)+$", "(a|aa)+b", ".*.*.*.*b", "(.*a){10}b", r"(\w+\s*)+;"])
def test_no_expression_takes_longer_than_its_text_is_long(expression):
    """What takes a backtracking search years has an answer."""
    assert not Pattern(expression).found_in("a" * 10_000 + "!")
