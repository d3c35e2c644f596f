"""The experiment file → an Experiment, or every mistake in it and in its system at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from chaosrunner.errors import Mistake, Mistakes
from chaosrunner.logic.parse.composites import read_faults
from chaosrunner.logic.parse.desk import Around, Desk
from chaosrunner.logic.parse.faults import Grounds
from chaosrunner.logic.parse.fields import Fields, whole
from chaosrunner.logic.parse.hypothesis import PHASES, SAY_WHAT, parse_recover, read_abort, read_hypothesis
from chaosrunner.logic.parse.load import Lengths, check_length, read_load
from chaosrunner.logic.parse.probes import read_probes
from chaosrunner.logic.parse.rules import check_rules, read_environments, read_rules
from chaosrunner.logic.parse.spelling import did_you_mean, quoted
from chaosrunner.logic.parse.steps import relative_steps
from chaosrunner.logic.parse.system import read_system
from chaosrunner.logic.parse.tolerance import Names
from chaosrunner.logic.parse.yaml_nodes import Node, Scalar, Table
from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.load import LoadProfile
from chaosrunner.model.system import System

KEYS = (
    "question", "system", "load", "baseline", "faults", "hypothesis", "recover", "abort", "probes", "seed",
    "repeat", "environments", "rules",
)  # fmt: skip
SUFFIXES = (".yaml", ".yml")
DEFAULT_BASELINE_S = 30.0
MOST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """A file's name and its text."""

    file: str
    text: str


def load_experiment(path: Path, around: Around, *, system: str | None = None) -> Experiment:
    """Read an experiment and the system it names.

    Args:
        path: of the experiment file.
        around: what it is read against.
        system: a path or a name that replaces the file's own `system`.

    Raises:
        Mistakes: every mistake in both files.
    """
    desk = Desk(str(path), around.environ, around.lenient)
    text = _text(desk.mistakes, path, around)
    root = desk.root(text, EXPERIMENT) if text is not None else None
    if root is None:
        raise Mistakes(desk.mistakes)
    where = _system_path(desk, root, system)
    there = _system_source(desk, where, root.get("system") if system is None else None, around) if where else None
    return _build(desk, root, Source(str(path), text or ""), there, around)


def parse_experiment(source: Source, system: Source, around: Around) -> Experiment:
    """Read an experiment from texts, as a journal keeps them. Raises Mistakes."""
    desk = Desk(source.file, around.environ, around.lenient)
    root = desk.root(source.text, EXPERIMENT)
    if root is None:
        raise Mistakes(desk.mistakes)
    return _build(desk, root, source, system, around)


def load_system(path: Path, around: Around) -> System:
    """Read a system file. Raises Mistakes."""
    mistakes: list[Mistake] = []
    text = _text(mistakes, path, around)
    if text is None:
        raise Mistakes(mistakes)
    return parse_system(Source(str(path), text), around)


def parse_system(source: Source, around: Around) -> System:
    """Read a system from its text. Raises Mistakes."""
    desk = Desk(source.file, around.environ, around.lenient)
    system = _system(desk, source, around)
    if system is None or desk.mistakes:
        raise Mistakes(desk.mistakes)
    return system


def is_system(path: Path, around: Around) -> bool:
    """Whether a file means to be a system: it lies in a folder `systems`, or none of its keys is an experiment's."""
    if path.parent.name == "systems":
        return True
    text = _text([], path, around)
    root = Desk(str(path), {}).root(text, EXPERIMENT) if text else None
    return root is not None and not any(key.text in KEYS and key.text != "rules" for key, _ in root.entries)


EXPERIMENT = "an experiment (question, system, load, faults, hypothesis)"


def _build(desk: Desk, root: Table, source: Source, there: Source | None, around: Around) -> Experiment:
    """The experiment of a composed file. Raises Mistakes."""
    beside = Desk(there.file, around.environ, around.lenient, variables=desk.variables) if there else None
    system = _system(beside, there, around) if beside and there else None
    # A system that is wrong itself is not held against the experiment: that would say the same mistake twice.
    sound = system if beside and not beside.mistakes else None
    experiment = _read(desk, root, source, sound, around)
    mistakes = [*desk.mistakes, *(beside.mistakes if beside else ())]
    if mistakes or system is None or there is None:
        raise Mistakes(mistakes)
    load = replace(experiment.load, tls=experiment.load.tls or system.tls)
    check_rules(desk, experiment, around.injectors)
    if desk.mistakes:
        raise Mistakes(desk.mistakes)
    return replace(experiment, load=load, system=system, system_source=there.text, variables=dict(desk.variables))


def _system(desk: Desk, source: Source, around: Around) -> System | None:
    root = desk.root(source.text, "a system (environment, entry, components)")
    system = read_system(desk, root) if root else None
    desk.look_for_files(around.reader)
    return system


def _read(desk: Desk, root: Table, source: Source, system: System | None, around: Around) -> Experiment:
    fields = Fields(desk, root, "").only(KEYS)
    fields.need("question", "say in one sentence what this experiment asks")
    load_node = fields.need("load", "say who uses the system meanwhile")
    hypothesis_node = fields.need("hypothesis", SAY_WHAT)
    if system is not None:
        desk.databases = {name: None for name, component in system.components.items() if component.dsn is not None}
    load = read_load(desk, load_node, around)
    faults = read_faults(Grounds(desk, around, system), fields.node("faults"))
    probes = read_probes(desk, fields.node("probes"))
    named = _words(load.profile)
    # What a journal asked is not held against it: its verdict says what there was too little of.
    paces = {} if desk.lenient else {probe.name: probe.every_s for probe in probes}
    names = Names(named, frozenset(probe.name for probe in probes), paces)
    recover = fields.read("recover", parse_recover, RecoveryTarget())
    rules = read_rules(desk, fields.node("rules"), system.components if system else ())
    blank = Experiment(
        question=fields.text("question"),
        file=source.file,
        source=source.text,
        system=system or System(name="", file=""),
        system_source="",
        load=load.profile,
        baseline_s=fields.seconds("baseline", DEFAULT_BASELINE_S),
        faults=faults.laid_out,
        asked=faults.asked,
        hypothesis=Hypothesis(),
        recover=recover,
        abort=read_abort(desk, fields.node("abort"), names),
        probes=probes,
        unanswered_s=load.unanswered_s,
        seed=fields.read("seed", lambda text: whole(text, 0, 2**63 - 1), None),
        repeat=fields.count("repeat", 1, most=MOST_RUNS),
        rules=replace(rules, environments=read_environments(fields)),
    )
    # A duration that could not be read has its default here: what compares durations would only mislead.
    lasts = dict.fromkeys(PHASES, math.inf)
    if not desk.mistakes:
        lasts = {"before": blank.baseline_s, "during": blank.fault_s, "after": recover.hold_s}
        needs = Lengths(baseline_s=blank.baseline_s, longest_s=blank.longest_s, faults=bool(blank.faults))
        check_length(desk, load, needs)
    any_fault = bool(blank.faults) or not _nothing(fields.node("faults"))
    hypothesis = read_hypothesis(desk, hypothesis_node, names, lasts_s=lasts, faults=any_fault)
    _check_together(fields, blank.load, system, any_fault=any_fault)
    desk.look_for_files(around.reader)
    return replace(blank, hypothesis=hypothesis)


def _words(load: LoadProfile) -> frozenset[str] | None:
    """What a tolerance may name: steps, what is measured beside them, scenarios and tags; None without any step."""
    words = set(load.names.values())
    for scenario in load.scenarios:
        words |= {scenario.name, *scenario.tags}
    return frozenset(words - {""}) or None


def _check_together(fields: Fields, load: LoadProfile, system: System | None, *, any_fault: bool) -> None:
    """Note what no part alone can know."""
    desk = fields.desk
    if fields.node("recover") and not any_fault:
        desk.wrong(fields.place("recover"), "'recover' needs a fault to recover from, and there is none")
    relative = next(relative_steps(load.steps), None)
    if system is not None and relative is not None and not system.entry:
        wrong = f"step {quoted(relative.name)} asks for {quoted(relative.path)}, but {system.file} has no 'entry'"
        desk.wrong(fields.place("load"), wrong)


def _nothing(node: Node | None) -> bool:
    return node is None or (isinstance(node, Scalar) and node.value is None) or getattr(node, "items", True) == ()


def _text(mistakes: list[Mistake], path: Path, around: Around) -> str | None:
    """The text of a file named on the command line; a mistake of the whole file when it cannot be read."""
    try:
        return around.reader.text(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        near = did_you_mean(path.name, _yaml(around.reader.names(path.parent)))
        mistakes.append(Mistake(str(path), 0, 0, f"cannot be read: {_why(error)}{near}"))
        return None


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is no UTF-8 text"


def _yaml(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith(SUFFIXES)]


def _system_path(desk: Desk, root: Table, system: str | None) -> Path | None:
    """Where the system file is: `--system` as given, else the file's own `system`, seen from its folder."""
    folder = Path(desk.file).parent
    if system is not None:
        return Path(system) if _is_path(system) else folder / "systems" / f"{system}.yaml"
    node = Fields(desk, root, "").need("system", "name it, such as 'system: demo' for systems/demo.yaml")
    found = desk.scalar(node, "system") if node else None
    if found is None:
        return None
    if not found.text:
        desk.wrong(found, "system is empty; name it, such as 'system: demo' for systems/demo.yaml")
        return None
    return folder / (found.text if _is_path(found.text) else f"systems/{found.text}.yaml")


def _is_path(text: str) -> bool:
    return "/" in text or text.endswith(SUFFIXES)


def _system_source(desk: Desk, path: Path, node: Node | None, around: Around) -> Source | None:
    try:
        return Source(str(path), around.reader.text(path))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        names = [PurePath(name).stem for name in _yaml(around.reader.names(path.parent))]
        near = did_you_mean(path.stem, names)
        message = f"the system {quoted(path.stem)} cannot be read ({path}): {_why(error)}{near}"
        if node is None:
            desk.mistakes.append(Mistake("--system", 0, 0, message))
        else:
            desk.wrong(node, message)
        return None
