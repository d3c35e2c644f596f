"""Searches on a virtual clock before targets whose boundary is known: how far off, how sure, in how many trials.

As a script: `python tests/truth/search_truth.py --seeds 200` prints the table of docs/reference/search.md.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import Random

from queue_target import Queue
from queue_target import capacity as true_capacity
from scripted_target import CALM, NOISY, Noise, Target
from virtual_play import World

from chaosrunner.logic.search.boundary import Asked, Ladder, found, next_level
from chaosrunner.logic.search.crossing import told
from chaosrunner.logic.search.outcome import trial_of
from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.fault import Fault
from chaosrunner.model.http_step import Request
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Stat, Tolerance
from chaosrunner.model.load import Outcome, Stage, single
from chaosrunner.model.search import Boundary, Known, Trial
from chaosrunner.model.system import System
from chaosrunner.model.verdict import Outcome as Verdict

BOUND_S = 0.15

WARM_S = 3.0

Searched = tuple[Boundary, list[Trial], float]
"""What was found, its trials, and the truth."""

FEW_ERRORS = Tolerance(
    text="errors < 1%", metric=Metric(stat=Stat.ERRORS), cmp="<", against=Against.ABSOLUTE, value=0.01
)


def p95(bound_s: float) -> Tolerance:
    """`p95 <= bound`."""
    metric = Metric(stat=Stat.QUANTILE, quantile=0.95)
    return Tolerance(text="p95", metric=metric, cmp="<=", against=Against.ABSOLUTE, value=bound_s)


def experiment(rate: float, baseline_s: float, hypothesis: Hypothesis, *, faults: tuple[Fault, ...] = ()) -> Experiment:
    """One step, so many requests a second."""
    return Experiment(
        question="Where does it break?",
        file="x.yaml",
        source="",
        system=System(name="scripted", file="x.yaml", environment="test"),
        system_source="",
        load=single(
            steps=(Request(name="ask", method="GET", path="/"),), stages=(Stage(start=rate, end=rate, lasts_s=None),)
        ),
        baseline_s=baseline_s,
        faults=faults,
        hypothesis=hypothesis,
        recover=RecoveryTarget(within_s=10.0, hold_s=3.0),
    )


class QueueWorld(World):
    """Before M/M/c: arrivals at random, answers when the queue has served them."""

    servers: int = 4
    mean_s: float = 0.02

    def answer(self, due: float, name: int) -> tuple[Outcome, float]:
        """The outcome of a request that comes `due` seconds after the epoch."""
        if not hasattr(self, "queue"):
            self.queue = Queue(self.servers, self.mean_s, self.chance)
        return Outcome.OK, self.queue.done_at(due) - due

    def _gap(self) -> float:
        return self.chance.expovariate(self.rate)


def load_trial(level: float, seed: int, *, lasts_s: float) -> Trial:
    """One run at a load."""
    asked = experiment(level, lasts_s, Hypothesis(before=(p95(BOUND_S), FEW_ERRORS)))
    world = QueueWorld(experiment=asked, target=Target(), noise=CALM, rate=level, seed=seed)
    world.play()
    return trial_of(asked, world.state, level)


@dataclass(frozen=True)
class Look:
    """How a queue is looked at: M/M/c whose p95 is to be within a bound, for so long, after 3 s of warm-up."""

    lasts_s: float
    servers: int = 4
    mean_s: float = 0.02
    bound_s: float = BOUND_S

    def trial(self, level: float, seed: int) -> Trial:
        """What a run would say of such a level: counted here, without the product, a hundred times as fast."""
        chance = Random(seed)
        queue, due, hits, slow = Queue(self.servers, self.mean_s, chance), 0.0, 0, 0
        while (due := due + chance.expovariate(level)) < WARM_S + self.lasts_s:
            late = queue.done_at(due) - due > self.bound_s
            hits, slow = hits + (due >= WARM_S), slow + (due >= WARM_S and late)
        held = slow <= hits - math.ceil(0.95 * hits - 1e-9)
        outcome = Verdict.HELD if held else Verdict.BROKEN
        return Trial(level=level, outcome=outcome, beyond=slow / max(1, hits), allowed=0.05)

    def seek(self, seed: int) -> Searched:
        """The capacity: found, how, and the truth, from a ninth of it to four and a half times it."""
        truth = true_capacity(self.servers, self.mean_s, 0.95, self.bound_s)
        answer, trials = seek(Ladder.between(round(truth / 9), round(truth * 4.5)), self.trial, seed)
        return answer, trials, truth


def dose_trial(dose: float, seed: int, *, noise: Noise, bound_s: float, rate: float = 50.0) -> Trial:
    """One run with a fault that adds `dose` seconds to every answer."""
    asked = experiment(
        rate,
        5.0,
        Hypothesis(before=(FEW_ERRORS,), during=(p95(bound_s),), after=(FEW_ERRORS,)),
        faults=(Fault(index=0, injector="noop", target=None, params=None, for_s=5.0),),
    )

    class Added(World):
        def answer(self, due: float, name: int) -> tuple[Outcome, float]:
            outcome, took = super().answer(due, name)
            return outcome, took + (dose if self.began_s <= due < self.ended_s else 0.0)

    world = Added(experiment=asked, target=Target(), noise=noise, rate=rate, seed=seed)
    world.play()
    return trial_of(asked, world.state, dose)


def seek(ladder: Ladder, trial: Callable[[float, int], Trial], seed: int) -> tuple[Boundary, list[Trial]]:
    """A whole search; its trials get seeds of their own."""
    trials: list[Trial] = []
    seeds = random.Random(seed)
    while (level := next_level(ladder, trials)) is not None:
        trials.append(trial(level, seeds.randrange(2**31)))
    answer = found(ladder, trials)
    assert answer is not None
    return told(ladder, trials, answer), trials


def seek_load(seed: int, *, lasts_s: float = 60.0, precision: float = 0.05) -> Searched:
    """The capacity of the queue: found, how, and the truth."""
    ladder = Ladder.between(20.0, 800.0, Asked(precision=precision))
    answer, trials = seek(ladder, lambda level, s: load_trial(level, s, lasts_s=lasts_s), seed)
    return answer, trials, true_capacity(4, 0.02, 0.95, BOUND_S)


def seek_dose(seed: int, noise: Noise, *, precision: float = 0.1) -> Searched:
    """The smallest breaking dose: found, how, and the truth."""
    bound_s = 0.1 + 0.4 * Random(seed).random()
    ladder = Ladder.between(0.005, 2.0, Asked(precision=precision))
    answer, trials = seek(ladder, lambda dose, s: dose_trial(dose, s, noise=noise, bound_s=bound_s), seed)
    return answer, trials, bound_s - noise.p95()  # what is added counts fully


def line(says: str, many: list[Searched], allowed: float) -> str:
    """A row of the table."""
    off = sorted(abs((seen.best or 0.0) / truth - 1) for seen, _, truth in many)
    inside = sum((seen.holds or 0) <= truth <= (seen.breaks or truth) for seen, _, truth in many)
    known = sum(seen.known is Known.BETWEEN for seen, _, _ in many)
    wide = [seen.breaks / seen.holds - 1 if seen.holds and seen.breaks else math.inf for seen, _, _ in many]
    trials = [len(one) for _, one, _ in many]
    return (
        f"| {says} | {len(many)} | {known} | {statistics.median(off) * 100:.1f} % | "
        f"{off[int(0.95 * (len(off) - 1))] * 100:.1f} % | {off[-1] * 100:.1f} % | "
        f"{sum(one <= allowed for one in off)} of {len(many)} within {allowed:.0%} | {inside} of {len(many)} | "
        f"{statistics.median(wide) * 100:.1f} % | "
        f"{statistics.mean(trials):.1f} |"
    )


HEAD = (
    "| search | searches | found | median error | 95 % below | worst | within what is promised | "
    "interval holds the truth | its width | trials |\n|---|---|---|---|---|---|---|---|---|---|"
)

QUEUES = {
    "M/M/4, p95 ≤ 7.5 service times, 5 s a level": Look(5.0),
    "M/M/4, p95 ≤ 7.5 service times, 10 s a level": Look(10.0),
    "M/M/4, p95 ≤ 7.5 service times, 30 s a level": Look(30.0),
    "M/M/1, p95 ≤ 5 service times, 10 s a level": Look(10.0, servers=1, mean_s=0.01, bound_s=0.05),
    "M/M/1, p95 ≤ 10 service times, 10 s a level": Look(10.0, servers=1, mean_s=0.01, bound_s=0.1),
    "M/M/16, p95 ≤ 5 service times, 10 s a level": Look(10.0, servers=16, mean_s=0.05, bound_s=0.25),
    "M/M/16, p95 ≤ 5 service times, 30 s a level": Look(30.0, servers=16, mean_s=0.05, bound_s=0.25),
}


def main(seeds: int, first: int, quick: int, jobs: int | None) -> None:
    """Print the table: whole searches, then (quick) those whose looks are counted without the product."""
    print(HEAD)
    with ProcessPoolExecutor(jobs) as pool:

        def row(says: str, seek: Callable[[int], Searched], many: int, allowed: float) -> None:
            print(line(says, list(pool.map(seek, range(first, first + many))), allowed), flush=True)

        for lasts_s in (10.0, 30.0, 60.0) if seeds else ():
            asked = f"capacity of M/M/4, p95 ≤ 150 ms, {lasts_s:g} s a level"
            row(asked, partial(seek_load, lasts_s=lasts_s), seeds, 0.05)
        for noise in (CALM, NOISY) if seeds else ():
            asked = f"smallest breaking latency, {noise.name} target, 50 requests/s"
            row(asked, partial(seek_dose, noise=noise), seeds, 0.1)
        for says, queue in QUEUES.items() if quick else ():
            row(says, queue.seek, quick, 0.05)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--quick", type=int, default=200, help="searches a queue whose looks are counted at once")
    parser.add_argument("--jobs", type=int, help="processes; as many as there are CPUs, if it is not said")
    asked = parser.parse_args()
    main(asked.seeds, asked.first_seed, asked.quick, asked.jobs)
