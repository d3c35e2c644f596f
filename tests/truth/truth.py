"""The lie detector: every cell played many times on a virtual clock, its verdicts laid beside the truth; one table.

`make truth` plays them 1,000 times each; `ARGS="--runs 100"` to look at, `ARGS="--out docs/reference/truth-virtual.md"`
writes the table down, `ARGS=--live` plays in real time instead. Exit code: 0 if every target is met, 1 if one is
missed.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from scripted_target import Target
from truth_cells import Cell, cells
from truth_oracle import Hits as Shown
from truth_oracle import oracle, shape_oracle
from truth_rivals import probe_after, thresholds
from virtual_play import EPOCH

from chaosrunner.model.load import Outcome as Hits
from chaosrunner.model.verdict import Outcome, Return

HEAD = """# Verdicts beside the truth, on a virtual clock

Written by `make truth`; [how to read it, and what misses](truth.md).
"""

VERDICTS = (Return.RECOVERED, Return.NOT_RECOVERED, Return.RELAPSED, Return.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run said."""

    outcome: Outcome
    error_s: float | None = None
    oracle_s: float | None = None
    """Error of the oracle that knows the shape."""
    told_s: float | None = None
    """Error of the one that is told the usual response and the noise as well."""
    inside: bool | None = None
    right: Outcome = Outcome.UNKNOWN
    """What the outcome should have been."""
    probe: bool | None = None
    threshold: bool | None = None
    verdict: Return | None = None
    """Whether it came back to its baseline."""
    allowed: tuple[Return, ...] = ()
    """Verdicts that are true of this run, beside INCONCLUSIVE, which never is wrong."""


def one(cell: Cell, seed: int) -> Run:
    """Play a cell once."""
    world, target, verdict = cell.play(seed)
    truth, seen = target.truth_s, verdict.recovery
    if cell.kind == "unknown" or math.isinf(world.ended_s):
        return Run(verdict.outcome, verdict=seen.verdict)
    within = world.experiment.recover.within_s
    bound = (1.1 if cell.after else 1.5) * cell.noise.p95()
    run = Run(
        verdict.outcome,
        right=Outcome.HELD if truth is not None and truth <= within else Outcome.BROKEN,
        probe=probe_after(world, bound),
        threshold=thresholds(world, bound),
        verdict=seen.verdict,
        allowed=_true_of(cell, target, (world.now - EPOCH) / 1e9 - world.ended_s),
    )
    if truth is None or seen.time_s is None or seen.low_s is None or seen.high_s is None:
        return run
    fields = {name: getattr(run, name) for name in ("outcome", "right", "probe", "threshold", "verdict", "allowed")}
    shape = told = None
    if target.shape:
        hits = [
            ((hit.due_us / 1e6) - world.ended_s, hit.response_us / 1e6)
            for hit in world.state.hits
            if hit.outcome is Hits.OK
        ]
        began = world.began_s - world.ended_s
        shown = Shown(
            before=[one for one in hits if one[0] < began],
            during=[one for one in hits if began <= one[0] < 0],
            after=[one for one in hits if one[0] >= 0],
        )
        told = oracle(target, cell.noise, shown.after) - truth
        shape = shape_oracle(target, cell.noise, shown) - truth
    error = seen.time_s - truth
    if target.shape:  # the moment itself, as the oracle is asked for: not counted from a heal that takes 20 ms
        answered = world.state.fault(0).undone_answered_ns
        assert answered is not None
        error += (answered - EPOCH) / 1e9 - world.ended_s
    inside = seen.low_s - 1e-6 <= truth <= seen.high_s + 1e-6
    return Run(**fields, error_s=error, oracle_s=shape, told_s=told, inside=inside)


def _true_of(cell: Cell, target: Target, watched_s: float) -> tuple[Return, ...]:
    """A slow return is NOT RECOVERED as long as it is a tenth slower at the end of the watch; swings are relapses."""
    found = [cell.expected] if cell.expected else []
    if cell.kind == "return" and target.level(watched_s) > 1.1:
        found.append(Return.NOT_RECOVERED)
    if target.shape == "oscillation":
        found.append(Return.RELAPSED)
    return tuple(found)


def many(nth: int, seeds: Sequence[int]) -> list[Run]:
    """Play the n-th cell with each of these seeds."""
    cell = list(cells())[nth]
    return [one(cell, seed) for seed in seeds]


@dataclass(frozen=True, slots=True)
class Line:
    """A cell and all its runs."""

    cell: Cell
    runs: Sequence[Run]

    @property
    def errors(self) -> list[float]:
        """|error| of the runs that gave a time, in order."""
        return sorted(abs(run.error_s) for run in self.runs if run.error_s is not None)

    @property
    def error_95(self) -> float | None:
        """95 % are at most this."""
        errors = self.errors
        return errors[max(0, math.ceil(0.95 * len(errors)) - 1)] if errors else None

    @property
    def allowed(self) -> float | None:
        """What an outage's may be."""
        if self.cell.kind != "outage":
            return None
        share = self.cell.play_share
        return max(0.1, 4 / (share * self.cell.rate))

    @property
    def ratio(self) -> float | None:
        """Mean |error| over that of the oracle that knows the shape."""
        return _ratio([(run.error_s, run.oracle_s) for run in self.runs])

    @property
    def ratio_of_medians(self) -> float | None:
        """Median |error| over that of the same oracle: what a few runs that are far off do not move."""
        return _ratio([(run.error_s, run.oracle_s) for run in self.runs], median)

    @property
    def ratio_told(self) -> float | None:
        """Mean |error| over that of the oracle that is told everything else as well."""
        return _ratio([(run.error_s, run.told_s) for run in self.runs])

    @property
    def inside(self) -> float | None:
        """Share of intervals that hold the truth."""
        seen = [run.inside for run in self.runs if run.inside is not None]
        return sum(seen) / len(seen) if seen else None

    @property
    def wrong(self) -> float:
        """Share of wrong verdicts; UNKNOWN is not wrong."""
        return sum(run.outcome is not Outcome.UNKNOWN and run.outcome is not run.right for run in self.runs) / len(
            self.runs
        )

    def said(self, verdict: Return) -> int:
        """How many runs had this verdict; a run that broke nothing has none."""
        return sum(run.verdict is verdict for run in self.runs)

    @property
    def against(self) -> float:
        """Share of verdicts that contradict the truth; INCONCLUSIVE never does, nor does no verdict."""
        return sum(run.verdict not in (None, Return.INCONCLUSIVE, *run.allowed) for run in self.runs) / len(self.runs)

    @property
    def unknown(self) -> float:
        """Share of UNKNOWN."""
        return sum(run.outcome is Outcome.UNKNOWN for run in self.runs) / len(self.runs)

    def rival(self, name: str) -> float | None:
        """Share of wrong verdicts of another way of deciding."""
        said = [getattr(run, name) is not (run.right is Outcome.HELD) for run in self.runs if run.probe is not None]
        return sum(said) / len(said) if said else None

    def misses(self) -> list[str]:
        """Targets it does not meet."""
        found = []
        if self.allowed is not None and (self.error_95 is None or self.error_95 > self.allowed):
            found.append("error")
        if self.ratio is not None and self.ratio > 1.5:
            found.append("÷ oracle")
        if self.inside is not None and self.inside < 0.93:
            found.append("inside")
        if self.wrong > (0.01 if self.cell.kind in ("nothing", "outage", "return") else 0.0):
            found.append("wrong")
        if self.against > 0.01 or (self.cell.expected is not Return.RECOVERED and self.said(Return.RECOVERED)):
            found.append("verdict")
        return found


def _ratio(
    pairs: Sequence[tuple[float | None, float | None]], usual: Callable[[Iterable[float]], float] = mean
) -> float | None:
    both = [(abs(ours), abs(theirs)) for ours, theirs in pairs if ours is not None and theirs is not None]
    return usual(ours for ours, _ in both) / max(1e-9, usual(theirs for _, theirs in both)) if both else None


def table(lines: Iterable[Line]) -> str:
    """The table in Markdown."""
    rows = [
        (
            "| target | requests/s | noise | runs | error, 95 % | allowed | median error | ÷ oracle | of medians "
            "| ÷ told all | inside | wrong | UNKNOWN | verdict due | RECOVERED | NOT RECOVERED | RELAPSED "
            "| INCONCLUSIVE | before/after wrong | thresholds wrong | missed |"
        ),
        "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for line in lines:
        cell = line.cell
        figures = [
            _s(line.error_95), _s(line.allowed), _s(median(line.errors) if line.errors else None),
            _times(line.ratio), _times(line.ratio_of_medians), _times(line.ratio_told), _percent(line.inside),
            _percent(line.wrong), _percent(line.unknown), str(cell.expected or "–"),
            *(str(line.said(verdict)) for verdict in VERDICTS),
            _percent(line.rival("probe")), _percent(line.rival("threshold")),
        ]  # fmt: skip
        head = f"| {cell.says} | {cell.rate:g} | {cell.noise.name} | {len(line.runs)} | "
        rows.append(f"{head}{' | '.join(figures)} | {', '.join(line.misses())} |")
    return "\n".join(rows) + "\n"


def _s(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.3f} s"


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share * 100:.1f} %"


def main() -> int:
    """Play all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--first-seed", type=int, default=10_000, help="settings were chosen on 0 to 59")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="cells whose name holds this")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--live", action="store_true", help="the confirmation in real time instead: real_time.py")
    options = parser.parse_args()
    if options.live:
        from real_time import live  # it needs packages, which all else does not: see docs/reference/truth.md

        return live(options.only, options.jobs, options.out)
    began, lines = time.monotonic(), []
    with ProcessPoolExecutor(options.jobs) as pool:
        for nth, cell in enumerate(cells()):
            if options.only not in cell.says:
                continue
            last = options.first_seed + options.runs
            parts = [range(options.first_seed + first, last, options.jobs) for first in range(options.jobs)]
            found = [run for part in pool.map(many, [nth] * options.jobs, parts) for run in part]
            lines.append(Line(cell, found))
            print(table(lines[-1:]).splitlines()[-1], flush=True)
    missed = sum(bool(line.misses()) for line in lines)
    seeds = f"seeds from {options.first_seed}, {options.runs} runs a cell"
    python = f"{platform.python_implementation()}, Python {platform.python_version()}"
    took = f"{(time.monotonic() - began) / 60:.0f} minutes on {options.jobs} cores, {python}"
    said = f"{len(lines) - missed} of {len(lines)} cells meet all their targets; {seeds}; {took}."
    print(said)
    if options.out:
        options.out.write_text(f"{HEAD}\n{said}\n\n{table(lines)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
