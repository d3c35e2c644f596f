"""YAML: what plain words mean, where nodes stand, and what is refused."""

from __future__ import annotations

import pytest
from parse_rig import EXPERIMENT, changed, read, read_changed, read_system, wrong, wrong_changed

from chaosrunner.logic.parse.yaml_errors import explain
from chaosrunner.logic.parse.yaml_nodes import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_NODES,
    Items,
    Node,
    Scalar,
    Table,
    compose,
)
from chaosrunner.logic.parse.yaml_scalars import LONGEST_NUMBER, core_value


def value(node: Node | None) -> object:
    """The plain value of a tree."""
    match node:
        case Table():
            return {key.text: value(inner) for key, inner in node.entries}
        case Items():
            return [value(item) for item in node.items]
        case Scalar():
            return node.value
        case None:
            return None


def good(text: str) -> object:
    node, problems = compose(text)
    assert problems == []
    return value(node)


def bad(text: str) -> list[str]:
    return [f"{problem.line}:{problem.column}: {problem}" for problem in compose(text)[1]]


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("1:30", "1:30"),
        ("2026-11-23", "2026-11-23"),
        ("1_000", "1_000"),
        ("014", "014"),
        ("-007.5", "-007.5"),
        ("0b11", "0b11"),
        ("=", "="),
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("0", 0),
        ("-12", -12),
        ("0o14", 12),
        ("0x1F", 31),
        ("0.5", 0.5),
        (".5", 0.5),
        ("12e3", 12000.0),
        ("5.", 5.0),
        ("-.inf", float("-inf")),
        ("9" * (LONGEST_NUMBER + 1), "9" * (LONGEST_NUMBER + 1)),
    ],
)
def test_plain_words_mean_what_they_look_like(text: str, means: object) -> None:
    """Unquoted words follow YAML 1.2's core schema."""
    found = core_value(text)
    assert found == means
    assert type(found) is type(means)


def test_not_a_number_is_one() -> None:
    """`.nan` is a float that equals nothing."""
    found = core_value(".nan")
    assert isinstance(found, float)
    assert found != found  # noqa: PLR0124


def test_nodes_know_their_place() -> None:
    """Lines and columns count from 1, in characters."""
    node, _ = compose('é: {b: [x, "y"]}\nc:\n  - 1\n')
    assert isinstance(node, Table)
    inner = node.get("é")
    assert isinstance(inner, Table)
    listed = inner.get("b")
    assert isinstance(listed, Items)
    assert [(item.line, item.column) for item in listed.items] == [(1, 9), (1, 12)]
    key = node.key("c")
    assert key is not None
    assert (key.line, key.column) == (2, 1)
    assert node.get("none") is None
    assert node.key("none") is None


def test_quotes_and_tags_make_text() -> None:
    """A quoted value and one tagged !!str are text; block texts keep their lines."""
    assert good("[\"014\", 'true', !!str 5, ! 6]") == ["014", "true", "5", "6"]
    assert good("a: |\n  x\n  y\n") == {"a": "x\ny\n"}


def test_aliases_and_merges_work() -> None:
    """Anchors may be used again, and `<<` merges without overriding."""
    assert good("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}\nc: *x\nd: {<<: [*x, {m: 4, k: 9}]}") == {
        "a": {"k": 1, "l": 2},
        "b": {"l": 3, "k": 1},
        "c": {"k": 1, "l": 2},
        "d": {"k": 1, "l": 2, "m": 4},
    }
    assert good("- &a 5\n- *a\n- &b [1]\n- *b") == [5, 5, [1], [1]]
    assert bad("a: {<<: 5}") == ["1:9: '<<' merges a mapping or a list of mappings"]
    assert good('{"<<": 5}') == {"<<": 5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "3:1: 'a' is given twice; the first is at 1:1"),
        ("? [x]\n: 1", "1:3: a key must be a word, not a list or a mapping"),
        ("a: *x", "1:4: '*x' stands for nothing that was finished before"),
        ("a: &x [*x]", "1:8: '*x' stands for nothing that was finished before"),
        ("a: 1\n---\nb: 2", "2:1: a second document begins; expected one document a file"),
        ("a: !!python/name:os.system x", "1:4: the tag '!!python/name:os.system' means nothing here; leave it out"),
        ("a: !x [1]", "1:4: the tag '!x' means nothing here; leave it out"),
        ("[" * (MAX_DEPTH + 1), f"1:{MAX_DEPTH + 1}: nested deeper than {MAX_DEPTH} levels"),
        ("[" + "1," * MAX_NODES + "]", f"1:{2 * MAX_NODES}: more than 20,000 values, aliases expanded"),
        ("x" * (MAX_CHARACTERS + 1), "1:1: longer than 256 KiB: this is not an experiment or a system"),
        ("a: {b: ${X}}", "1:8: inside {…} and […] quote a value that holds"),
        ("a: [${X:-3}]", 'write "${X:-3}"'),
        ("a: {b: x: y}", "did not find expected ',' or '}' of {…} or […]; inside {…} and […] quote a value"),
        ("a: {b: 'it's'}", "inside {…} and […] quote a value"),
        ("a: {b: c", "2:1: did not find expected ',' or '}'"),
        ("\ta: b", "1:1: a tab cannot indent YAML; use spaces"),
        ("a: b\n\tc: d", "2:1: a tab cannot indent YAML; use spaces"),
        ("a: x: y", "1:5: ': ' inside an unquoted value, or a line indented differently"),
        ("a: @x", "1:4: a value cannot begin with '@' unless it is quoted"),
        ("a: %x", "1:4: a value cannot begin with '%' unless it is quoted"),
        ("a:\n  b\nc", "expected 'key: value'"),
        ("a: 'x", "1:6: found unexpected end of stream (while scanning a quoted scalar)"),
        ("a: - b", "1:4: block sequence entries are not allowed in this context"),
        ("a: \x01", "1:4: the character U+0001 cannot stand in YAML"),
        ("x\ny: \x07", "2:4: the character U+0007 cannot stand in YAML"),
        ("a: \ud800", "1:1: this is no UTF-8 text"),
    ],
)
def test_what_yaml_refuses_is_said_with_advice(text: str, said: str) -> None:
    """Each refusal has a place and says what to type instead."""
    assert any(said in problem for problem in bad(text))


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    """Nine levels of nine aliases stand for a billion values and are refused at once."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert bad("\n".join(lines))[-1].endswith("more than 20,000 values, aliases expanded")


def test_problems_found_before_a_fatal_one_are_kept() -> None:
    """A duplicate key is still reported when the text breaks later."""
    said = bad("a: {b: 1, b: 2}\nc: [")
    assert said[0] == "1:11: 'b' is given twice; the first is at 1:5"
    assert len(said) == 2


def test_an_error_without_a_place_is_still_a_mistake() -> None:
    """Whatever the YAML library raises becomes a place and a sentence."""
    assert explain(ValueError("x"), "") == (1, 1, "this is no UTF-8 text")


def test_empty_texts_are_nothing() -> None:
    """Nothing, a comment and an empty document hold nothing."""
    assert compose("") == (None, [])
    assert compose("# x") == (None, [])
    assert good("---\n") is None


def test_yaml_mistakes_reach_the_user_with_their_place() -> None:
    """A file that libyaml refuses is one located mistake."""
    assert wrong(EXPERIMENT + "baseline: 1s\n")[0].startswith("20:1: 'baseline' is given twice; the first is at 10:1")
    said = wrong_changed(("{target: database, add: 200ms}", "{target: ${T}}"))
    assert len(said) == 1
    assert said[0].startswith("12:29: inside {…}")


def test_leading_zeros_are_text_where_text_is_expected() -> None:
    """A pin stays as written in a text, and is a mistake where it could be either."""
    assert read_system("environment: 014").environment == "014"
    assert read_changed(("{user: <user>}", "{user: <user>, pin: '014'}")).load.steps[0].body == {
        "user": "<user>",
        "pin": "014",
    }
    assert "is 014 a text or a number?" in wrong_changed(("{user: <user>}", "{user: <user>, pin: 014}"))[0]


def test_the_same_experiment_may_use_anchors() -> None:
    """An anchored hypothesis serves two phases."""
    text = changed(EXPERIMENT, ("before: [p95 <= 250ms]", "before: &ok [p95 <= 250ms]"), ("[errors < 1%]", "*ok"))
    found = read(text)
    assert found.hypothesis.after == found.hypothesis.before
