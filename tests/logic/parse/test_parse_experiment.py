"""The experiment file as a whole: what a good one means, and what each part may not say."""

from __future__ import annotations

from pathlib import Path

import pytest
from parse_rig import EXPERIMENT, SYSTEM, Latency, Memory, around, changed, read, read_changed, wrong, wrong_changed

from chaosrunner.errors import Mistakes
from chaosrunner.logic.parse import Source, is_system, load_experiment, parse_experiment
from chaosrunner.model.experiment import RecoveryTarget
from chaosrunner.model.fault import Target
from chaosrunner.model.http_step import Request
from chaosrunner.model.load import Stage
from chaosrunner.model.secret import Secret


def test_a_good_file_means_what_it_says() -> None:
    """Every line of the example arrives in the experiment in seconds and shares."""
    found = read(EXPERIMENT)
    assert found.question == "Do users keep working?"
    assert found.source == EXPERIMENT
    assert found.system_source == SYSTEM
    assert found.system.name == "shop"
    assert found.load.steps == (
        Request(name="log in", method="POST", path="/login", body={"user": "<user>"}, keep={"token": "$.token"}),
        Request(name="read", method="GET", path="/agents/<token>"),
    )
    assert found.load.scenarios[0].auth == Secret("bearer <token>")
    assert [row["user"] for row in found.load.scenarios[0].data] == ["ann", "bob"]
    assert found.load.streams[0].stages == (
        Stage(start=5.0, end=25.0, lasts_s=6.0),
        Stage(start=25.0, end=25.0, lasts_s=None),
    )
    assert found.load.warmup_s == 6.0
    assert found.baseline_s == 15.0
    fault = found.faults[0]
    assert (fault.injector, fault.target, fault.for_s, fault.line) == (
        "proxy.latency",
        Target(component="database"),
        12.0,
        12,
    )
    assert fault.params == Latency.Params(add=0.2)  # type: ignore[arg-type]
    assert [t.text for t in found.hypothesis.during] == ["p95 <= 2x baseline", "errors of log in < 5% in any 5s"]
    assert found.recover == RecoveryTarget(within_s=20.0, hold_s=10.0)
    assert found.abort[0].for_s == 10.0
    assert found.seed is None
    assert found.variables == {}


def test_the_example_of_the_manual_reads_line_by_line() -> None:
    """The mistakes of the manual's example come out word for word, at their places."""
    text = changed(
        EXPERIMENT,
        ("proxy.latency:", "proxy.latancy:"),
        ("p95 <= 2x baseline", "p95 <= 2x basline"),
        ("within 20s, hold 10s", "within 2"),
    )
    assert wrong(text) == [
        "12:5: 'proxy.latancy' is no fault; did you mean 'proxy.latency'?",
        "16:12: 'p95 <= 2x basline': expected 'baseline' after '2x'",
        "18:10: recover 'within 2': a duration needs a unit; write '2s' or '2min'",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("question: Do users keep working?\n", "", "1:1: 'question' is missing; say in one sentence"),
        ("question: Do users keep working?", "question: ''", "1:11: question '': expected a text, found nothing"),
        ("system: shop\n", "", "1:1: 'system' is missing; name it, such as"),
        ("system: shop", "system: ''", "2:9: system is empty; name it, such as"),
        ("system: shop", "system: [a]", "2:9: system: expected a single value, found a list"),
        ("system: shop", "system: {a: b}", "2:9: system: expected a single value, found a mapping"),
        ("baseline: 15s", "baseline: 60", "10:11: baseline '60': a duration needs a unit; write '60s' or '60min'"),
        ("baseline: 15s", "baseline: 0s", "10:11: baseline '0s': expected more than zero"),
        ("baseline: 15s", "basline: 15s", "10:1: 'basline' is no key; did you mean 'baseline'?"),
        ("baseline: 15s", "seed: -1", "10:7: seed '-1': expected 0 to 9,223,372,036,854,775,807"),
        ("baseline: 15s", "seed: 1.5", "10:7: seed '1.5': expected a whole number, such as 1"),
        ("baseline: 15s", "repeat: 0", "10:9: repeat '0': expected 1 to 1,000"),
        ("baseline: 15s", "repeat: 5 times", "10:9: repeat '5 times': expected a whole number, such as 1"),
        ("baseline: 15s", "repeat: [5]", "10:9: repeat: expected a single value, found a list"),
        ("baseline: 15s", "repeats: 5", "10:1: 'repeats' is no key; did you mean 'repeat'?"),
        ("baseline: 15s", "seed: 014", "10:7: seed '014': a number does not begin with zero; write 14, or quote it"),
        ("recover: within 20s, hold 10s", "recover: soon", "18:10: recover 'soon': expected 'within 2min, hold 30s'"),
        (
            ", hold 10s",
            ", to 10% of baseline",
            "18:10: recover 'within 20s, to 10% of baseline': expected 'within 2min, hold 30s'",
        ),
        (
            ", hold 10s",
            ", to within 10%",
            "18:10: recover 'within 20s, to within 10%': expected 'to within 10% of baseline' instead of",
        ),
        (", hold 10s", ", to within 100% of baseline", "expected more than 0% and less than 100% of baseline"),
        (", hold 10s", ", within 10s", "18:10: recover 'within 20s, within 10s': expected 'within 2min, hold 30s'"),
        ("  before:", "  befor:", "15:3: 'befor' is no key of hypothesis; did you mean 'before'?"),
        ("[p95 <= 250ms]", "[p95 <= 250ms, p95 <= 250ms]", "15:26: 'p95 <= 250ms' is said twice"),
        ("[p95 <= 250ms]", "['']", "15:12: before is empty"),
        ("[errors < 1%]", "[errors > 1%]", "17:11: 'errors > 1%': this asks for the worse, so it cannot say"),
        ("[p95 <= 250ms]", "[[a]]", "15:12: before: expected a single value, found a list"),
        ("[p95 <= 250ms]", "[p95 <= 2x baseline]", "15:12: 'p95 <= 2x baseline': 'before' is judged on the baseline"),
        ("[p95 <= 250ms]", "[mean < 1s in any 20s]", "a window of 20s is longer than 'before', which lasts 15s"),
        ("errors > 60% for 10s", "[errors > 60, x]", "19:9: abort 'errors > 60': a share needs a percent sign"),
        ("hypothesis:", "hypothesis: [a]\nprobes:", "14:13: hypothesis: expected a mapping of keys, found a list"),
    ],
)
def test_a_wrong_part_is_located(old: str, new: str, said: str) -> None:
    """Each wrong part is reported at its own line and column."""
    assert any(said in mistake for mistake in wrong_changed((old, new)))


def test_defaults_are_those_of_the_manual() -> None:
    """What may be left out has its documented value."""
    text = changed(EXPERIMENT, ("baseline: 15s\n", ""), ("recover: within 20s, hold 10s\n", ""), ("    for: 12s\n", ""))
    found = read(text)
    assert (found.baseline_s, found.recover, found.faults[0].for_s) == (30.0, RecoveryTarget(), 30.0)
    assert (found.load.timeout_s, found.unanswered_s, found.load.workers) == (10.0, 2.0, 1)
    assert read_changed((", hold 10s", "")).recover == RecoveryTarget(within_s=20.0, hold_s=30.0)
    asked = read_changed((", hold 10s", ", to within 7.5% of baseline")).recover
    assert asked == RecoveryTarget(within_s=20.0, hold_s=30.0, margin=0.075)


def test_a_load_test_has_no_fault() -> None:
    """Without faults only `before` can be judged, and there is nothing to recover from."""
    head, tail = EXPERIMENT.split("faults:")[0], "hypothesis:\n  before: [p95 <= 250ms]\n"
    for faults in ("", "faults:\n", "faults: []\n"):
        assert read(head + faults + tail).faults == ()
    late = head + "hypothesis:\n  during: [p95 <= 1s]\n  after: [p95 <= 1s]\nrecover: within 2s\n"
    assert [mistake.partition(": ")[2] for mistake in wrong(late)] == [
        "'during' needs a fault, and there is none; say it under 'before'",
        "'after' needs a fault, and there is none; say it under 'before'",
        "'recover' needs a fault to recover from, and there is none",
    ]


def test_something_must_hold() -> None:
    """An experiment without any tolerance cannot hold."""
    head = EXPERIMENT.split("hypothesis:", maxsplit=1)[0]
    assert wrong(head) == [
        "1:1: 'hypothesis' is missing; say what must hold, such as 'before: [p95 <= 400ms, errors < 1%]'"
    ]
    for nothing in ("hypothesis:\n", "hypothesis: {before: []}\n"):
        assert "say what must hold" in wrong(head + nothing)[0]


def test_windows_of_unread_phases_are_not_compared() -> None:
    """A duration that could not be read is not held against others as if it had its default."""
    said = wrong_changed(("baseline: 15s", "baseline: 60"), ("[p95 <= 250ms]", "[p95 <= 250ms in any 50s]"))
    assert len(said) == 1


def test_a_file_that_is_no_experiment() -> None:
    """An empty file, a list and a text are no experiment."""
    assert wrong("") == ["1:1: expected an experiment (question, system, load, faults, hypothesis), found nothing"]
    assert wrong("# nothing\n") == wrong("")
    assert wrong("[a]")[0].startswith("1:1: expected an experiment (question, system, load, faults, hypothesis): a")


def test_a_missing_file_names_its_neighbours() -> None:
    """A file that is not there is answered with the nearest name beside it."""
    with pytest.raises(Mistakes) as caught:
        load_experiment(Path("x/ee.yaml"), around())
    assert str(caught.value) == "x/ee.yaml: cannot be read: No such file or directory; did you mean 'e.yaml'?"
    with pytest.raises(Mistakes, match="it is no UTF-8 text"):
        load_experiment(Path("x/e.yaml"), around({"x/e.yaml": None}))


def test_the_system_is_found_by_name_or_path() -> None:
    """A name means the folder `systems`, a path is seen from the experiment, and `--system` replaces both."""
    files: dict[str, str | None] = {"x/other.yaml": SYSTEM, "y/else.yml": SYSTEM}
    with_path = changed(EXPERIMENT, ("system: shop", "system: other.yaml"))
    assert load_experiment(Path("x/e.yaml"), around({**files, "x/e.yaml": with_path})).system.name == "other"
    assert load_experiment(Path("x/e.yaml"), around(files), system="y/else.yml").system.file == "y/else.yml"
    assert load_experiment(Path("x/e.yaml"), around(files), system="shop").system.name == "shop"


def test_a_missing_system_names_the_nearest() -> None:
    """An unknown system is located where it is named: in the file, or on the command line."""
    said = wrong_changed(("system: shop", "system: shoop"))
    assert said == [
        "2:9: the system 'shoop' cannot be read (x/systems/shoop.yaml): No such file or directory; did you mean 'shop'?"
    ]
    with pytest.raises(Mistakes) as caught:
        load_experiment(Path("x/e.yaml"), around(), system="shoop")
    assert str(caught.value).startswith("--system: the system 'shoop' cannot be read")


def test_mistakes_of_both_files_come_together() -> None:
    """What is wrong with the system is reported with the rest, and not twice."""
    said = wrong(EXPERIMENT.replace("15s", "15"), system=changed(SYSTEM, ("entry: http:", "entry: ftp:")))
    assert said == [
        "10:11: baseline '15': a duration needs a unit; write '15s' or '15min'",
        "x/systems/shop.yaml:2:8: entry 'ftp://127.0.0.1:8080': expected a URL, such as http://127.0.0.1:8080",
    ]
    assert wrong(EXPERIMENT, system="") == [
        "x/systems/shop.yaml:1:1: expected a system (environment, entry, components), found nothing"
    ]


def test_a_relative_path_needs_an_entry() -> None:
    """A step that begins with '/' needs the system's entry."""
    said = wrong(EXPERIMENT, system=changed(SYSTEM, ("entry: http://127.0.0.1:8080\n", "")))
    assert said == ["3:1: step 'log in' asks for '/login', but x/systems/shop.yaml has no 'entry'"]


def test_a_journal_is_read_again_without_its_files() -> None:
    """Judging again needs neither the data file nor the injector nor a secret's variable, only what was journalled."""
    text = changed(
        EXPERIMENT,
        ("baseline: 15s", "baseline: ${BASELINE:-99s}"),
        ("bearer <token>", "bearer ${TOKEN}"),
        ("proxy.latency", "stranger.fault"),
    )
    again = parse_experiment(
        Source("x/e.yaml", text),
        Source("gone/shop.yaml", SYSTEM),
        around({"x/users.csv": None}, environ={"BASELINE": "15s"}, lenient=True),
    )
    assert again.baseline_s == 15.0
    assert again.load.scenarios[0].data == ()
    assert again.faults[0].title == "stranger.fault on database"
    assert again.load.scenarios[0].auth == Secret("bearer ${TOKEN}")
    assert again.system.name == "shop"


def test_judging_again_reads_no_file() -> None:
    """A journal's texts are read without opening anything."""
    reading = around(lenient=True)
    parse_experiment(Source("x/e.yaml", EXPERIMENT), Source("x/systems/shop.yaml", SYSTEM), reading)
    assert isinstance(reading.reader, Memory)
    assert reading.reader.asked == []


def test_a_broken_journal_text_is_a_mistake() -> None:
    """A text that is no YAML is reported as any other mistake."""
    with pytest.raises(Mistakes, match="found nothing"):
        parse_experiment(Source("x/e.yaml", ""), Source("s.yaml", SYSTEM), around(lenient=True))


def test_variables_that_were_put_in_are_kept() -> None:
    """What the environment gave is kept for the journal; defaults and secrets are not."""
    text = changed(
        EXPERIMENT,
        ("baseline: 15s", "baseline: ${BASELINE:-99s}"),
        ("bearer <token>", "bearer ${TOKEN}"),
        ("for: 12s", "for: ${FOR:-12s}"),
    )
    found = read(text, environ={"BASELINE": "15s", "TOKEN": "geheim", "UNUSED": "x"})
    assert found.variables == {"BASELINE": "15s"}
    assert found.faults[0].for_s == 12.0


def test_systems_and_experiments_are_told_apart() -> None:
    """A file in `systems`, or one without any key of an experiment, is a system."""
    files = around({"x/s.yaml": SYSTEM, "x/bad.yaml": "{"})
    assert is_system(Path("x/systems/none.yaml"), files)
    assert is_system(Path("x/s.yaml"), files)
    assert not is_system(Path("x/e.yaml"), files)
    assert not is_system(Path("x/bad.yaml"), files)
    assert not is_system(Path("x/none.yaml"), files)


def test_abort_conditions_may_be_several() -> None:
    """`abort` is one condition or a list of them, without a phase."""
    found = read_changed(("abort: errors > 60% for 10s", "abort: [errors > 60% for 10s, p95 > 5s]"))
    assert [condition.text for condition in found.abort] == ["errors > 60% for 10s", "p95 > 5s"]
    assert read_changed(("abort: errors > 60% for 10s\n", "")).abort == ()


def test_a_probe_is_asked_often_enough() -> None:
    """A probe that may be silent for all of a phase proves nothing of it; what a journal asked is read all the same."""
    seldom = changed(EXPERIMENT, ("[errors < 1%]", "[stock < 5]"))
    probe = "probes:\n- stock: {http: /stock, value: $.left, every: %s}\n"
    said = "17:11: 'stock < 5': asked every 15s, it may be silent in 'after', which lasts 10s; ask it more often"
    with pytest.raises(Mistakes) as wrong:
        read(seldom + probe % "15s")
    assert any(said in str(one) for one in wrong.value.mistakes)
    assert read(seldom + probe % "10s").probes[0].every_s == 10.0
    sources = Source("x/e.yaml", seldom + probe % "15s"), Source("s.yaml", SYSTEM)
    assert parse_experiment(*sources, around({"x/users.csv": None}, lenient=True)).probes[0].every_s == 15.0
