"""A journal read back: its experiment, its state and its verdict, without any other file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosrunner.errors import Mistake, Mistakes

if TYPE_CHECKING:
    from pathlib import Path

    from chaosrunner.logic.fold import State
    from chaosrunner.model.events import Entry
    from chaosrunner.model.experiment import Experiment
    from chaosrunner.model.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Rejudged:
    """What a journal says, judged now."""

    experiment: Experiment
    entries: list[Entry]
    state: State
    verdict: Verdict
    skipped: int
    """Lines and records that could not be read."""


def rejudge(run_dir: Path) -> Rejudged:
    """Judge a run again from its directory. Raises Mistakes when it holds no journal."""
    from chaosrunner.logic.composite import drawn
    from chaosrunner.logic.fold import fold
    from chaosrunner.logic.judge import judge
    from chaosrunner.logic.parse import Source, parse_experiment
    from chaosrunner.world.files import around_journal
    from chaosrunner.world.journal import read
    from chaosrunner.world.segments import Damage

    damage = Damage()
    folder = run_dir.parent if run_dir.is_file() else run_dir
    try:
        entries = list(read(folder, damage))
    except FileNotFoundError:
        raise Mistakes([Mistake(str(run_dir), 0, 0, "no journal is here; expected a run directory")]) from None
    state = fold(entries)
    if (started := state.started) is None:
        raise Mistakes([Mistake(str(run_dir), 0, 0, "the journal's first event is missing; it cannot be judged")])
    read_again = parse_experiment(
        Source(started.file, started.source),
        Source(started.system_file, started.system_source),
        around_journal(started.variables),
    )
    experiment = drawn(read_again, started.seed)
    return Rejudged(experiment, entries, state, judge(experiment, state), damage.lines + damage.records)
