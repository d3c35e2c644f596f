"""Regular expressions that are searched in linear time find what Python's own find."""

import re
import warnings

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from chaosrunner.proxy.patterns import MOST_STEPS, BadExpression, Pattern

LETTERS = ["a", "B", "c", " ", "_", "ß", ".", "{", "}", "]", "{,a}"]
CLASSES = [r"\d", r"\D", r"\s", r"\S", r"\w", r"\W", r"\.", r"\n", "[ab]", "[^a]", "[]x]", "[^]]", r"[\w.]", "[a-c]"]
CHECKS = ["^", "$", r"\b", r"\B", r"\A", r"\Z"]
ATOMS = st.sampled_from([*LETTERS, *CLASSES, *CHECKS])
REPEATS = st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "{,}", "{0}", "*?", "+?", "??", "{1,2}?"])


def grown(inner):
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda ways: f"({'|'.join(ways)})"),
        inner.map(lambda way: f"(?:{way})"),
        st.tuples(inner, REPEATS).map("".join),
    )


EXPRESSIONS = st.recursive(ATOMS, grown, max_leaves=8)
TEXTS = st.text(alphabet="aAbBcx _-.1{},]\nßẞé", min_size=1, max_size=12)


def python_finds(expression, text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # Ours has no place before a last line's end that is the end too.
        plain = re.sub(r"(?<!\\)\$", r"\\Z", expression)
        return re.compile(plain, re.IGNORECASE | re.DOTALL).search(text) is not None


@settings(max_examples=3000, deadline=None)
@given(EXPRESSIONS, TEXTS)
@example("a.*c", "xA\nC")
@example(r"\borders\b", "insert into ORDERS (id)")
@example("(a|ab)(c|bcd)(d*)$", "abcd")
@example("(a*)*$", "aaab")
@example("()", "x")
@example("a||b", "x")
def test_what_is_found_is_what_python_finds(expression, text):
    """For any supported expression and any text the verdict is that of `re.search`."""
    try:
        expected = python_finds(expression, text)
    except re.error:
        with pytest.raises(BadExpression):
            Pattern(expression)
        return
    try:
        pattern = Pattern(expression)
    except BadExpression as refused:
        assume("possessive" not in str(refused))
        raise
    assert pattern.found_in(text) is expected
    assert pattern.found_in(text) is expected, "the second search takes remembered steps"


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_refused_with_a_reason(text):
    """Nothing that someone sends as an expression gives another error than `BadExpression`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reason = "none needed"
        try:
            Pattern(text).found_in("select 1")
        except BadExpression as refused:
            reason = str(refused)
        assert reason


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("(", "missing \\)"),
        ("a**", "multiple repeat"),
        ("a" * 1001, "longer than 1000"),
        ("(?=a)", "groups that begin"),
        ("(?P<n>a)", "groups that begin"),
        ("(?i)a", "groups that begin"),
        (r"(a)\1", "not supported"),
        (r"\x41", "not supported"),
        ("a*+", "possessive"),
        ("(a{100}){100}", "too large"),
        ("a{99999999999999999999}", "too large"),
        ("(" * 450 + ")" * 450, "nested too deeply"),
    ],
)
def test_what_cannot_be_searched_is_refused(expression, why):
    """An expression that is none, too large, or looks around is refused when it is read."""
    with pytest.raises(BadExpression, match=why):
        Pattern(expression)


@pytest.mark.parametrize("expression", ["(a+)+$", "(a|a)+$", "(a|aa)+b", ".*.*.*.*b", "(.*a){10}b", r"(\w+\s*)+;"])
def test_no_expression_takes_longer_than_its_text_is_long(expression):
    """What takes a backtracking search years has an answer after one step for each character."""
    pattern = Pattern(expression)
    assert not pattern.found_in("a" * 10_000 + "!")


def test_steps_are_forgotten_before_they_are_too_many():
    """A text of endlessly many different characters takes no endless memory, and is still searched to its end."""
    pattern = Pattern("x.*y")
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + MOST_STEPS)))
    for _ in range(3):
        assert not pattern.found_in("x" + letters)
        assert pattern.found_in("x" + letters + "y")
    assert sum(len(state.steps) for state in pattern._states.values()) <= MOST_STEPS
