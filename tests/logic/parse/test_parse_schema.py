"""The JSON Schemas agree with the reader, with the committed files, and with everything that ships."""

from __future__ import annotations

import json
import re
from importlib.metadata import entry_points
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from parse_rig import EXPERIMENT, INJECTORS, SYSTEM, Signal, read
from test_parse_arrivals import profiles
from test_parse_tolerance import tolerances

from chaosrunner.logic.parse import arrivals, tolerance
from chaosrunner.logic.parse.arrivals import Coming
from chaosrunner.logic.parse.schema import ARRIVALS, BOUND, USERS, experiment_schema, system_schema
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar, Table, compose
from chaosrunner.model.hypothesis import Tolerance

ROOT = Path(__file__).resolve().parents[3]
COMMITTED = ROOT / "chaosrunner" / "schema"
EXPERIMENTS = sorted(ROOT.glob("experiments/*.yaml"))
SYSTEMS = sorted(ROOT.glob("experiments/systems/*.yaml"))


def plain(node: Node | None) -> object:
    """A tree as an editor sees it."""
    match node:
        case Table():
            return {key.text: plain(inner) for key, inner in node.entries}
        case Items():
            return [plain(item) for item in node.items]
        case Scalar():
            return node.value
        case None:
            return None


def problems(schema: dict[str, object], text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema)
    return [error.message for error in validator.iter_errors(plain(compose(text)[0]))]


def ours() -> dict[str, object]:
    """The schema of an experiment with the injectors that ship, as they are installed."""
    points = [
        point for point in entry_points(group="chaosrunner.injectors") if point.value.startswith("fault_injectors.")
    ]
    return experiment_schema([point.load()() for point in points])


@pytest.mark.parametrize(
    "schema", [experiment_schema(INJECTORS.values()), system_schema()], ids=["experiment", "system"]
)
def test_schemas_are_schemas(schema: dict[str, object]) -> None:
    """Both are valid JSON Schemas of draft 2020-12."""
    jsonschema.Draft202012Validator.check_schema(schema)
    json.dumps(schema)


def test_what_the_reader_takes_the_schema_takes() -> None:
    """The good files of these tests are fine to an editor as well."""
    assert problems(experiment_schema(INJECTORS.values()), EXPERIMENT) == []
    assert problems(system_schema(), SYSTEM) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("add: 200ms", "add: 200"),
        ("add: 200ms", "ad: 200ms"),
        ("{target: database, add: 200ms}", "{add: 200ms}"),
        ("proxy.latency", "proxy.latancy"),
        ("baseline: 15s", "baseline: 15"),
        ("baseline: 15s", "basline: 15s"),
        ("p95 <= 250ms", "p95 250ms"),
        ("2x baseline", "2x basline"),
        ("within 20s", "within 20"),
        ("then hold", "then stay"),
        ("GET: ", "get: "),
        ("for: 12s", "for: 12"),
    ],
)
def test_an_editor_sees_common_slips(old: str, new: str) -> None:
    """Missing units, unknown keys and broken lines are marked while typing."""
    assert old in EXPERIMENT
    assert problems(experiment_schema(INJECTORS.values()), EXPERIMENT.replace(old, new))


def test_an_editor_takes_a_redis_in_a_system() -> None:
    """An URL without a password, with a reference to one, or that is a reference, is not marked."""
    for url in ("redis://h:6379/0", "rediss://:${PW}@h", "${REDIS_URL}"):
        assert not problems(system_schema(), f'cache: {{redis: "{url}"}}')


def test_an_editor_sees_slips_in_a_system() -> None:
    """Two ways to find processes, an unknown key and a password in the open are marked."""
    for text in (
        "api: {processes: {ports: 1, pids: 2}}",
        "api: {processes: {command: x}}",
        "api: {port: 1}",
        "entry: shop.example",
        "db: {dsn: 'postgresql://app:geheim@h/shop'}",
        "cache: {redis: 'redis://:geheim@h/0'}",
        "cache: {redis: 'postgresql://h/0'}",
    ):
        assert problems(system_schema(), text)


@given(tolerances())
def test_the_pattern_of_tolerances_takes_all_of_them(made: Tolerance) -> None:
    """Whatever the reader takes matches the schema's pattern, up to its window."""
    text = re.sub(r" (in any|for) .*", "", tolerance.render(made))
    assert re.fullmatch(BOUND, text)


@given(profiles(), profiles(closed=True))
def test_the_patterns_of_arrivals_and_users_take_all_of_them(coming: Coming, users: Coming) -> None:
    """Whatever the reader takes matches the schema's pattern."""
    assert re.fullmatch(ARRIVALS, arrivals.render_stream(coming))
    assert re.fullmatch(USERS, arrivals.render_stream(users))


@pytest.mark.parametrize(
    "line",
    [
        "arrivals: soak at 50 users/s for 8h",
        "arrivals: 10 users/s, then step by 10 every 30s to 100, at random",
        "arrivals: 50 users/s over 60s, then spike to 500 for 10s",
        "arrivals: 60 to 140 users/s in waves of 30s",
        "users: 50",
        "users: 10 to 200 over 60s, then hold, each user every 10s\n  iterations: 20",
    ],
)
def test_an_editor_takes_every_load_model(line: str) -> None:
    """Each way to say who comes is fine to an editor, and both at once are not."""
    schema = experiment_schema(INJECTORS.values())
    plain_line = "arrivals: 5 to 25 users/s over 6s, then hold"
    assert problems(schema, EXPERIMENT.replace(plain_line, line)) == []
    assert problems(schema, EXPERIMENT.replace(plain_line, "users: 5\n  arrivals: 5 users/s"))
    assert problems(schema, EXPERIMENT.replace(plain_line, "users: 5\n  max_in_flight: 5"))
    assert problems(schema, EXPERIMENT.replace("  data:", "  iterations: 5\n  data:"))


def test_parameters_keep_their_words() -> None:
    """An editor shows the help, the default in its own unit, and the choices of each parameter."""
    schema = experiment_schema(INJECTORS.values())
    faults = schema["$defs"]["fault"]["properties"]  # type: ignore[index]
    latency = faults["proxy.latency"]["properties"]
    assert latency["add"] == {"$ref": "#/$defs/dose_duration", "description": "How much."}
    assert latency["jitter"]["description"] == "0s unless said."
    assert latency["share"] == {"$ref": "#/$defs/dose_share", "description": "100% unless said."}
    every = faults["test.everything"]["properties"]
    assert every["rate"] == {"$ref": "#/$defs/dose_rate", "description": "1000B/s unless said."}
    assert every["size"]["description"] == "64B unless said."
    assert every["count"] == {"type": ["integer", "string"], "description": "3 unless said."}
    assert every["factor"]["description"] == "1.5 unless said."
    assert every["on"]["description"] == "false unless said."
    assert every["level"] == {"enum": [1, 2], "description": "1 unless said."}
    assert every["maybe"] == {"$ref": "#/$defs/dose_duration", "description": ""}
    assert faults["process.kill"]["required"] == ["target", "comes_back"]
    assert faults["noop"]["type"] == ["object", "null"]


COMPOSITE = """  - in turn:
      - proxy.latency: {target: database, add: 50ms to 200ms}
        for: 4s
        steps: 4
      - random: {choose: 1, of: [{noop: {}, for: 1s}], within: 3s}
    pause: 1s
  - together: [{noop: {}, for: 1s, at: 1s}]
    every: 4s
    times: 3
"""


def test_an_editor_takes_composites() -> None:
    """What belongs together is fine to an editor as it is to the reader, and its slips are marked."""
    schema = experiment_schema(INJECTORS.values())
    one = "  - proxy.latency: {target: database, add: 200ms}\n    for: 12s\n"
    text = EXPERIMENT.replace(one, COMPOSITE)
    assert text != EXPERIMENT
    assert problems(schema, text) == []
    assert len(read(text).faults) == 4 + 1 + 3
    for old, new in (("in turn", "in turns"), ("to 200ms", "to 200"), ("    every: 4s\n", ""), (", within: 3s", "")):
        assert problems(schema, text.replace(old, new)), new


def test_text_defaults_are_shown() -> None:
    """A default that is a text stands as it is."""
    fault = experiment_schema([Signal()])["$defs"]["fault"]["properties"]  # type: ignore[index]
    assert fault["test.signal"]["properties"]["signal"] == {
        "enum": ["KILL", "TERM"],
        "description": "KILL unless said.",
    }


def test_the_committed_schemas_are_current() -> None:
    """What editors read is what the code says today (`chaosrunner schema` prints it)."""
    for name, schema in (("experiment", ours()), ("system", system_schema())):
        committed = (COMMITTED / f"{name}.schema.json").read_text()
        assert committed == json.dumps(schema, indent=2, ensure_ascii=False) + "\n", f"run: chaosrunner schema {name}"


@pytest.mark.parametrize("path", [*EXPERIMENTS, *SYSTEMS], ids=lambda path: path.name)
def test_what_ships_begins_with_its_schema_and_keeps_it(path: Path) -> None:
    """Every shipped file names its schema in its first line, and an editor finds nothing wrong with it."""
    text = path.read_text()
    found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert found
    schema = (path.parent / found[1]).resolve()
    assert schema == COMMITTED / ("system.schema.json" if path in SYSTEMS else "experiment.schema.json")
    assert problems(json.loads(schema.read_text()), text) == []


def test_files_ship() -> None:
    """There are experiments and systems to look at."""
    assert len(EXPERIMENTS) >= 7
    assert SYSTEMS
