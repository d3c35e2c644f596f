"""Whatever a file holds, reading it ends in a value or in Mistakes with places inside the file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from parse_rig import EXPERIMENT, SYSTEM, USERS, around

from chaosrunner.errors import Mistake, Mistakes
from chaosrunner.logic.parse import Source, is_system, load_experiment, parse_experiment, parse_system

PIECES = sorted({*EXPERIMENT.split(), *SYSTEM.split(), "${X}", "${X:-1}", "${file:/x}", "<x>", "<<", "014", "&a", "*a"})
WORDS = st.one_of(
    st.sampled_from(PIECES),
    st.sampled_from(
        [" ", "\n", "\n  ", "\n    - ", ": ", ", ", "{", "}", "[", "]", "'", '"', "#", "|", ">", "\t", "-"]
    ),
    st.text(max_size=5),
    st.integers().map(str),
)


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """A valid file with some spans replaced by something else."""
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 12)))
        text = text[:begin] + draw(WORDS) + text[end:]
    return text


@st.composite
def scalars_replaced(draw: st.DrawFn, text: str) -> str:
    """A valid file in which whole words are replaced, so that most of it still reads."""
    words = text.split(" ")
    for _ in range(draw(st.integers(1, 3))):
        words[draw(st.integers(0, len(words) - 1))] = draw(WORDS)
    return " ".join(words)


def mistakes_of(attempt: Callable[[], object]) -> tuple[Mistake, ...]:
    """The mistakes of an attempt; none when it works. Anything else it raises is the test's failure."""
    try:
        attempt()
    except Mistakes as error:
        return error.mistakes or (Mistake("Mistakes without a mistake", -1, -1, ""),)
    return ()


def read(experiment: str, system: str = SYSTEM, users: str = USERS) -> None:
    """Read all three files; only Mistakes may come of it, each at a place that exists."""
    files: dict[str, str | None] = {"x/e.yaml": experiment, "x/systems/shop.yaml": system, "x/users.csv": users}
    for mistake in mistakes_of(lambda: load_experiment(Path("x/e.yaml"), around(files, environ={"X": "<y>"}))):
        lines = (files.get(mistake.file) or "").splitlines()
        assert mistake.line <= len(lines) + 1
        assert mistake.column >= (1 if mistake.line else 0)
        assert "\n" not in mistake.message


@settings(max_examples=200, deadline=None)
@given(mutated(EXPERIMENT) | scalars_replaced(EXPERIMENT))
@example("a: \ud800")
@example("[" * 5000)
@example("? ? ? x")
def test_no_experiment_breaks_the_reader(text: str) -> None:
    """A mutated experiment is read, or its mistakes are."""
    read(text)


@settings(max_examples=200, deadline=None)
@given(mutated(SYSTEM) | scalars_replaced(SYSTEM))
def test_no_system_breaks_the_reader(text: str) -> None:
    """A mutated system is read, or its mistakes are."""
    read(EXPERIMENT, system=text)


@settings(max_examples=100, deadline=None)
@given(mutated(USERS))
def test_no_data_file_breaks_the_reader(text: str) -> None:
    """A mutated data file is read, or its mistakes are."""
    read(EXPERIMENT, users=text)
    read(EXPERIMENT.replace("users.csv", "systems/shop.yaml"), users=text)


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=30).map("".join))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Random text is read as nothing but an experiment, a system, or Mistakes."""
    for lenient in (False, True):
        reading = around({"x/s.yaml": text}, lenient=lenient)
        is_system(Path("x/s.yaml"), reading)
        one, two = partial(parse_system, Source("s", text), reading), partial(parse_experiment, Source("e", text))
        for attempt in (one, partial(two, Source("s", SYSTEM), reading)):
            assert all(mistake.line >= 0 for mistake in mistakes_of(attempt))


@settings(max_examples=150, deadline=None)
@given(mutated(EXPERIMENT) | scalars_replaced(EXPERIMENT))
def test_what_was_read_once_is_read_again_from_the_journal(text: str) -> None:
    """Whatever experiment could be played can be judged again from its texts and variables alone."""
    files: dict[str, str | None] = {"x/e.yaml": text}
    try:
        first = load_experiment(Path("x/e.yaml"), around(files, environ={"X": "1s"}))
    except Mistakes:
        return
    later = around({}, environ=dict(first.variables), lenient=True)
    again = parse_experiment(Source(first.file, first.source), Source(first.system.file, first.system_source), later)
    assert again.hypothesis == first.hypothesis
    assert again.system == first.system
    assert (again.recover, again.baseline_s, again.longest_s) == (first.recover, first.baseline_s, first.longest_s)
    assert [fault.title for fault in again.faults] == [fault.title for fault in first.faults]


@pytest.mark.parametrize("cut", range(0, len(EXPERIMENT), 17))
def test_no_cut_breaks_the_reader(cut: int) -> None:
    """An experiment that ends anywhere is read, or its mistakes are."""
    read(EXPERIMENT[:cut])
