"""The runs in real time: which script, which load, what is asked, and which truth is due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from real_target import NOISES, SCRIPTS, SLOWER
from scripted_target import MARGIN, TIMEOUT_S, Target
from truth_cells import NAMES

from chaosrunner.model.verdict import Return

NOTHING = "nothing happens"
REMAINS = "+25 % remains"
RELAPSE = "relapse after 20 s"
BROWN_OUT = "brown-out of 3 %"
SWINGS = "back in swings"
RETURNS = (
    "back in a straight line",
    "back exponentially",
    SWINGS,
    "slow start: refused, then warming up",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """One run."""

    script: str
    rate: int
    noise: str = "calm"
    seed: int = 1
    longest_s: float = 6.0
    """The longest time to recover that is drawn."""
    baseline_s: float = 5.0
    fault_s: float = 2.0
    hold_s: float = 5.0
    meanwhile: str = ""
    """What is done to the generator or its host as soon as the fault is in place; see `real_time.MEANWHILE`."""
    probe: bool = False
    """Whether a probe is asked for that has no answer."""

    @property
    def says(self) -> str:
        """The first word of its row."""
        return f"{self.script}, {self.meanwhile or 'no answer of the probe'}" if self.unknowable else self.script

    @property
    def unknowable(self) -> bool:
        """Whether nothing may be known."""
        return bool(self.meanwhile or self.probe)

    @property
    def truth_s(self) -> float | None:
        """From the end of the effect, as scripted; None = never."""
        return self._target().truth_s

    @property
    def timed(self) -> bool:
        """Whether it has a bound on its error: outages and steps; slow returns have an interval only."""
        return self.truth_s is not None and not self.unknowable and self.script not in (*RETURNS, NOTHING)

    @property
    def by_latency(self) -> bool:
        """Whether it rests on `p95`; where it is errors that end, that may be anything below half a timeout."""
        return self._target().shape != "" or self.script == REMAINS or bool(self.meanwhile)

    @property
    def allowed_s(self) -> float:
        """max(100 ms, 4/(p·r)): p of the requests are affected, of r requests a second."""
        return max(0.1, 4 / (self._target().share * self.rate))

    @property
    def within_s(self) -> float:
        """The target of the experiment."""
        return 1.5 * self.longest_s + 25.0 * (self.script == RELAPSE)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What is due: hogs may be borne by a bound that is not tight, so only BROKEN is wrong of them."""
        if self.unknowable:
            return ("UNKNOWN", "HELD") if self.meanwhile.startswith("hogs") else ("UNKNOWN",)
        return ("BROKEN",) if self.truth_s is None else ("HELD",)

    @property
    def verdicts(self) -> tuple[Return | None, ...]:
        """What may be said of the return; INCONCLUSIVE is never wrong."""
        if self.unknowable:
            return (None, Return.INCONCLUSIVE, Return.RECOVERED)
        if self.truth_s is None:
            return (Return.NOT_RECOVERED, Return.INCONCLUSIVE)
        if self.script == SWINGS:  # each that crosses the bound once more may be called a relapse
            return (Return.RECOVERED, Return.RELAPSED, Return.INCONCLUSIVE)
        return (Return.RELAPSED if self.script == RELAPSE else Return.RECOVERED, Return.INCONCLUSIVE)

    def plan(self) -> dict[str, object]:
        """What the target is told."""
        return {"script": self.script, "seed": self.seed, "longest_s": self.longest_s, "noise": self.noise}

    def experiment(self, system: str, control: int) -> str:
        """The file."""
        bound_s = MARGIN * SLOWER * NOISES[self.noise].p95() if self.by_latency else TIMEOUT_S / 2
        slow = f"p95 <= {bound_s * 1000:.2f}ms"
        after = "p95 <= 1.1x baseline" if self.script == REMAINS else slow
        streams = "\n".join(
            f"    - user {nth}: {{each_user: [{{{name}: {{GET: /{nth}}}}}]}}" for nth, name in enumerate(NAMES)
        )
        return EXPERIMENT.format(
            system=system,
            streams=streams,
            rate=self.rate,
            timeout=TIMEOUT_S,
            random="" if self.noise == "calm" else ", at random",
            baseline=self.baseline_s,
            control=control,
            fault=self.fault_s,
            before=slow,
            after=f"{after}, queue < 5" if self.probe else after,
            within=self.within_s,
            hold=self.hold_s,
            probes="probes: [queue: {http: /queue, every: 1h, timeout: 1s}]" if self.probe else "",
        )

    def _target(self) -> Target:
        return SCRIPTS[self.script](Random(self.seed), self.longest_s)


EXPERIMENT = """\
question: Is the number right?
system: {system}
load:
  scenarios:
{streams}
  arrivals: {rate} users/s{random}
  timeout: {timeout:g}s
  connections: 1000
  max_in_flight: 5000
  warmup: 2s
baseline: {baseline:g}s
faults:
  - truth.script: {{port: {control}}}
    for: {fault:g}s
hypothesis:
  before: [errors < 1%, {before}]
  after: [errors < 1%, {after}]
recover: within {within:g}s, hold {hold:g}s
{probes}
"""

OUTAGES = (
    "connection reset",
    "connection refused",
    "accepts, never answers",
    "half-open: every other waits in vain",
    "one endpoint of five",
    "3 × as slow, a step back",
)
SLOWLY = {"baseline_s": 10.0, "hold_s": 10.0}
"""20 requests/s need longer before a p95 may be judged."""
LONG = {"baseline_s": 15.0, "hold_s": 15.0}


def lives() -> Iterator[Live]:
    """All of them: the gentle ones first, which may run two at a time."""
    for seed, script in enumerate(OUTAGES, 11):
        yield Live(script=script, rate=20, seed=seed, **SLOWLY)  # type: ignore[arg-type]
        yield Live(script=script, rate=200, seed=seed + 10)
        if seed % 2:
            yield Live(script=script, rate=200, noise="noisy", seed=seed + 20)
    yield Live(script=RELAPSE, rate=200, seed=31, longest_s=2.0, hold_s=21.0)  # as long as it is well
    yield Live(script=BROWN_OUT, rate=200, seed=32, fault_s=10.0)
    for seed, script in enumerate(RETURNS, 41):
        yield Live(script=script, rate=200, seed=seed)
        yield Live(script=script, rate=200, noise="noisy", seed=seed + 10)
    yield Live(script=REMAINS, rate=200, seed=61, longest_s=2.0, **LONG)  # type: ignore[arg-type]
    yield Live(script=REMAINS, rate=200, noise="noisy", seed=62, longest_s=2.0, **LONG)  # type: ignore[arg-type]
    yield Live(script="dead", rate=200, seed=63, longest_s=3.0)
    yield Live(script=NOTHING, rate=200, seed=64, longest_s=3.0)
    yield Live(script=NOTHING, rate=200, noise="noisy", seed=65, longest_s=3.0)
    yield Live(script=NOTHING, rate=200, seed=66, longest_s=3.0, probe=True)
    yield from _busy()


def _busy() -> Iterator[Live]:
    """One at a time: busy, or disturbing."""
    for nth, script in enumerate((OUTAGES[0], OUTAGES[1], OUTAGES[4], OUTAGES[5], BROWN_OUT)):
        fault_s = 10.0 if script == BROWN_OUT else 2.0
        yield Live(script=script, rate=2000 if nth else 1000, seed=71 + nth, longest_s=4.0, fault_s=fault_s)
    yield Live(script=REMAINS, rate=1000, noise="noisy", seed=77, longest_s=2.0)
    for nth, meanwhile in enumerate(("the worker is killed", "the worker stutters", "hogs on every core")):
        yield Live(script=NOTHING, rate=200, seed=81 + nth, longest_s=3.0, meanwhile=meanwhile)
    yield Live(script="connection reset", rate=200, seed=85, longest_s=3.0, meanwhile="the worker stutters")
