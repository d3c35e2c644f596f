"""Runs that could have been: traffic is drawn once per scenario, and every figure of the verdict is counted from it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from chaosrunner.errors import Exit
from chaosrunner.logic.fold import State, fold
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment, Phase, RecoveryTarget
from chaosrunner.model.fault import Fault, Target
from chaosrunner.model.http_step import Request
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Stat, Tolerance
from chaosrunner.model.load import ERRORS, LoadProfile, Stage, single
from chaosrunner.model.load import Outcome as Hitting
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.model.system import Component, System
from chaosrunner.model.units import NANOS
from chaosrunner.model.verdict import FaultReport, Finding, Outcome, PhaseStats, Recovery, Trust, Verdict

EPOCH_NS = 1_000 * NANOS
STEPS = ("log in", "create", "read", "update", "delete")
SCENARIOS = ("held", "broken", "unknown", "never", "not restored", "interrupted", "control")


@dataclass(frozen=True)
class Sample:
    """All that a report is made from."""

    experiment: Experiment
    entries: tuple[e.Entry, ...]
    state: State
    verdict: Verdict


@dataclass(frozen=True)
class Script:
    """What a scenario does to its traffic, in seconds after the load's epoch."""

    bad_from: float = 0.0
    bad_until: float = 0.0
    bad_share: float = 0.0
    slow_ms: float = 0.0
    ends: float = 48.0
    reversible: bool = True
    phases: tuple[tuple[Phase, float], ...] = (
        (Phase.WARMUP, 0.0),
        (Phase.BASELINE, 6.0),
        (Phase.FAULT, 21.0),
        (Phase.RECOVERY, 33.1),
        (Phase.AFTER, 36.0),
    )


SCRIPTS = {
    "held": Script(21.0, 22.1, 0.08, 20),
    "broken": Script(21.1, 24.9, 0.36, 260),
    "unknown": Script(21.1, 24.9, 0.05, 120),
    "never": Script(21.1, 63.0, 0.4, 400, 63.0, phases=Script.phases[:4]),
    "not restored": Script(21.1, 40.0, 0.2, 300, 40.0, phases=Script.phases[:4]),
    "interrupted": Script(21.1, 27.0, 0.2, 200, 27.0, phases=Script.phases[:3]),
    "control": Script(),
}


def tolerance(text: str, stat: Stat, value: float, cmp: str = "<=", **more: object) -> Tolerance:
    """A tolerance written by hand."""
    metric = Metric(stat=stat, quantile=0.95 if stat is Stat.QUANTILE else 0.0, of=str(more.pop("of", "")))
    against = more.pop("against", Against.ABSOLUTE)
    assert isinstance(against, Against)
    return Tolerance(text=text, metric=metric, cmp=cmp, against=against, value=value, **more)  # type: ignore[arg-type]


def experiment(scenario: str = "broken", question: str = "") -> Experiment:
    """The experiment of a scenario."""
    kill = Fault(index=0, injector="process.kill", target=Target(component="api", count=1, of=3), params=(), for_s=12)
    slow = Fault(index=1, injector="proxy.latency", target=Target(component="database"), params=(), for_s=12)
    noop = Fault(index=0, injector="noop", target=None, params=(), for_s=12)
    return Experiment(
        question=question or "Do users keep working when an API replica dies while the database is slow?",
        file="experiments/lost-replica.yaml",
        source="question: Do users keep working?\nauth: bearer ${API_TOKEN}\n",
        system=System(
            name="shop", file="systems/shop.yaml", environment="staging", components={"api": Component(name="api")}
        ),
        system_source="environment: staging\ndatabase: {dsn: '${file:/run/secrets/dsn}'}\n",
        load=single(
            steps=tuple(Request(name=name, method="GET", path="/") for name in STEPS),
            stages=(Stage(start=5, end=20, lasts_s=6), Stage(start=20, end=20, lasts_s=None)),
            warmup_s=6,
        ),
        baseline_s=15,
        faults=(noop,) if scenario == "control" else (kill, slow),
        hypothesis=Hypothesis(
            before=(tolerance("p95 <= 400ms", Stat.QUANTILE, 0.4), tolerance("errors < 1%", Stat.ERRORS, 0.01, "<")),
            during=(
                tolerance("p95 <= 4x baseline", Stat.QUANTILE, 4, against=Against.TIMES_BASELINE),
                tolerance("errors < 2%", Stat.ERRORS, 0.02, "<"),
                tolerance("errors of log in < 5% in any 10s", Stat.ERRORS, 0.05, "<", of="log in", window_s=10),
            ),
            after=(
                tolerance("p95 <= 1.5x baseline", Stat.QUANTILE, 1.5, against=Against.TIMES_BASELINE),
                tolerance("errors < 1%", Stat.ERRORS, 0.01, "<"),
            ),
        ),
        recover=RecoveryTarget(within_s=20, hold_s=10),
    )


def traffic(script: Script, seed: int = 7) -> list[Hit]:
    """Every hit of a scenario: a ramp of 6 s to 100 requests/s, natural noise, and the outage of the script."""
    rng = random.Random(seed)
    hits, at = [], 0.0
    while at < script.ends:
        per_second = 25 + 75 * min(1.0, at / 6)
        bad = script.bad_from <= at < script.bad_until
        micros = int(rng.lognormvariate(9.2, 0.35) + (script.slow_ms * 1000 * rng.uniform(0.3, 1) if bad else 0))
        outcome = Hitting.OK
        if rng.random() < (script.bad_share if bad else 0.0005):
            outcome = rng.choice([Hitting.REFUSED, Hitting.REFUSED, Hitting.TIMEOUT])
            micros = 10_000_000 if outcome is Hitting.TIMEOUT else 900
        hits.append(Hit(int(at * 1e6), rng.randrange(len(STEPS)), outcome, micros, rng.randrange(20, 200)))
        at += 1 / per_second
    return hits


def frames(hits: list[Hit], ends: float) -> list[Frame]:
    """The hits as a load worker would report them: four frames a second, everything finished in its own frame."""
    result = []
    for seq in range(int(ends * 4)):
        begin, until = seq * 250_000, (seq + 1) * 250_000
        inside = [hit for hit in hits if begin <= hit.due_us < until]
        slots: dict[tuple[int, int], Slot] = {}
        for hit in inside:
            slot = slots.setdefault((hit.due_us // 100_000, hit.name), Slot())
            slot.due += 1
            slot.done[hit.outcome] = slot.done.get(hit.outcome, 0) + 1
            (slot.ok if hit.outcome is Hitting.OK else slot.failed).record(hit.response_us)
            slot.lag.record(hit.lag_us)
            if hit.outcome is Hitting.OK:
                slot.adjusted.record(hit.response_us - hit.lag_us)
        result.append(
            Frame(worker=0, seq=seq, until_us=until, slots=slots, hits=tuple(inside), journeys=len(inside) // 5)
        )
    return result


def fault_events(scenario: str) -> list[tuple[float, e.Event]]:
    """What the journal says of the faults, at seconds after the epoch."""

    def at(seconds: float) -> int:
        return EPOCH_NS + int(seconds * NANOS)

    def prepared(fault: int, says: str, reversible: bool) -> e.Event:
        recipe = {"injector": "x", "says": says, "reversible": reversible, "data": {}, "claims": []}
        return e.Prepared(fault=fault, recipe=recipe, deadline_ns=at(60))

    if scenario == "control":
        return [
            (21.00, prepared(0, "touch nothing", True)),
            (21.01, e.Injecting(fault=0, called_ns=at(21.01))),
            (21.02, e.Injected(fault=0, called_ns=at(21.01), answered_ns=at(21.02))),
            (21.10, e.Verified(fault=0, ok=True, says="nothing was asked", at_ns=at(21.1))),
            (33.03, e.Undoing(fault=0, attempt=1, called_ns=at(33.03))),
            (33.05, e.Undone(fault=0, called_ns=at(33.03), answered_ns=at(33.05), attempts=1, says="nothing to undo")),
        ]
    told: list[tuple[float, e.Event]] = [
        (21.00, prepared(0, "kill api-2 (pid 4242); it comes back by itself", False)),
        (21.02, e.Injecting(fault=0, called_ns=at(21.02))),
        (21.05, e.Injected(fault=0, called_ns=at(21.02), answered_ns=at(21.05))),
        (21.06, e.Verified(fault=0, ok=True, says="pid 4242 is gone", at_ns=at(21.06))),
        (21.07, prepared(1, "add 300 ms to database; remove the toxic", True)),
        (21.08, e.Injecting(fault=1, called_ns=at(21.08))),
        (21.10, e.Injected(fault=1, called_ns=at(21.08), answered_ns=at(21.1))),
    ]
    if scenario != "unknown":
        told.append((22.0, e.Verified(fault=1, ok=True, says="48,211 bytes through the toxic", at_ns=at(22))))
    match scenario:
        case "interrupted":
            told += [
                (24.0, e.Signalled(signal="SIGTERM")),
                (24.01, e.Decided(step="abort", why="interrupted: SIGTERM", now_ns=at(24.01))),
            ]
            heal = 24.1
        case _:
            heal = 33.0
    told.append((heal, e.Undoing(fault=1, attempt=1, called_ns=at(heal))))
    if scenario == "not restored":
        told.append((39.0, e.UndoFailed(fault=1, why="the proxy does not answer: connection refused")))
    else:
        told.append(
            (
                heal + 0.6,
                e.Undone(fault=1, called_ns=at(heal), answered_ns=at(heal + 0.05), attempts=1, says="toxic removed"),
            )
        )
    return told


def journal(scenario: str, asked: Experiment, hits: list[Hit]) -> tuple[e.Entry, ...]:
    """The entries of a scenario in the order of a journal."""
    script = SCRIPTS[scenario]
    told: list[tuple[float, e.Event]] = [
        (
            -2.0,
            e.RunStarted(
                run="7f3a",
                question=asked.question,
                file=asked.file,
                source=asked.source,
                system="shop",
                system_file=asked.system.file,
                system_source=asked.system_source,
                seed=42,
                boot="b",
                version="0.1.0",
            ),
        ),
        (-1.0, e.WatchdogReady(pid=777)),
        (-0.2, e.LoadStarted(epoch_ns=EPOCH_NS, workers=1)),
    ]
    told += [(at, e.PhaseEntered(phase=phase, at_ns=EPOCH_NS + int(at * NANOS))) for phase, at in script.phases]
    told += [(frame.until_us / 1e6, e.SlotsArrived(frame=frame)) for frame in frames(hits, script.ends)]
    told += fault_events(scenario)
    told.append((script.ends, e.Ended(why="proven", at_ns=EPOCH_NS + int(script.ends * NANOS))))
    told.sort(key=lambda item: item[0])
    return tuple(
        e.Entry(n, EPOCH_NS + int(at * NANOS), f"2026-01-02T03:04:{n % 60:02d}Z", 0, event)
        for n, (at, event) in enumerate(told)
    )


def phase_stats(script: Script, hits: list[Hit]) -> tuple[PhaseStats, ...]:
    """Statistics counted from sorted lists."""
    result = []
    ends = [*[at for _, at in script.phases[1:]], script.ends]
    for (phase, begin), end in zip(script.phases, ends, strict=True):
        for index, name in [(None, ""), *enumerate(STEPS)]:
            mine = [h for h in hits if begin <= h.due_us / 1e6 < end and (index is None or h.name == index)]
            if mine:
                result.append(_stats(phase, name, end - begin, mine))
    return tuple(result)


def _stats(phase: Phase, name: str, length: float, mine: list[Hit]) -> PhaseStats:
    times = sorted(h.response_us / 1e6 if h.outcome is Hitting.OK else float("inf") for h in mine)

    def at(share: float) -> float:
        return times[max(0, -int(-share * len(times) // 1) - 1)]

    return PhaseStats(
        phase=phase,
        name=name,
        seconds=length,
        hits=len(mine),
        errors=sum(h.outcome in ERRORS for h in mine),
        p50=at(0.5),
        p95=at(0.95),
        p99=at(0.99),
        max=times[-1],
        rate=sum(h.outcome is Hitting.OK for h in mine) / length,
        by_outcome=dict(Counter(h.outcome.value for h in mine)),
    )


def findings_of(asked: Experiment, stats: tuple[PhaseStats, ...], scenario: str) -> tuple[Finding, ...]:
    """Each tolerance held against the counted statistics; windows are taken as the whole phase."""
    by = {(s.phase, s.name): s for s in stats}
    result = []
    groups = {"before": (Phase.BASELINE, asked.hypothesis.before), "during": (Phase.FAULT, asked.hypothesis.during)}
    for word, (phase, group) in (groups | {"after": (Phase.AFTER, asked.hypothesis.after)}).items():
        for one in group:
            seen, base = by.get((phase, one.metric.of)), by[Phase.BASELINE, one.metric.of]
            read: Callable[[PhaseStats], float] = (
                (lambda s: s.p95 or 0.0) if one.metric.stat is Stat.QUANTILE else (lambda s: s.errors / s.hits)
            )
            baseline = read(base)
            limit = one.value * baseline if one.against is Against.TIMES_BASELINE else one.value
            value = read(seen) if seen else None
            outcome = Outcome.UNKNOWN if value is None else Outcome.HELD if value <= limit else Outcome.BROKEN
            why = "no traffic in this phase" if value is None else ""
            if scenario == "unknown" and phase is not Phase.BASELINE:
                outcome, why = Outcome.UNKNOWN, "proxy.latency on database was not verified"
            if phase is Phase.BASELINE:
                baseline_of: float | None = None
            else:
                baseline_of = baseline
            result.append(
                Finding(
                    name=f"{word}: {one.text}",
                    phase=phase,
                    expected=one.text,
                    observed="no data" if value is None else str(value),
                    outcome=outcome,
                    why=why,
                    value=value,
                    baseline=baseline_of,
                    evidence=(7, 9),
                )
            )
    return tuple(result)


RECOVERIES = {
    "held": Recovery(
        state="recovered",
        at_ns=EPOCH_NS + int(33.4 * NANOS),
        time_s=0.4,
        low_s=0.35,
        high_s=0.45,
        from_inject_s=12.38,
        detected_s=0.02,
        outage_s=1.1,
        outage_low_s=1.08,
        outage_high_s=1.12,
        depth=0.11,
        lost=9,
        waited_s=14.2,
        residual=1.01,
        held_s=10.0,
        target_s=20,
    ),
    "broken": Recovery(
        state="recovered",
        at_ns=EPOCH_NS + int(36.0 * NANOS),
        time_s=2.95,
        low_s=2.9,
        high_s=3.0,
        from_inject_s=14.98,
        detected_s=0.08,
        outage_s=3.8,
        outage_low_s=3.78,
        outage_high_s=3.82,
        depth=0.43,
        lost=137,
        waited_s=1402.7,
        residual=1.02,
        held_s=10.0,
        target_s=20,
    ),
    "unknown": Recovery(state="unknown", target_s=20, why="proxy.latency on database was not verified"),
    "never": Recovery(
        state="never",
        detected_s=0.08,
        depth=0.52,
        lost=1660,
        waited_s=9_731.0,
        target_s=20,
        why="watched for 30 s after the last fault; errors of the last 10 s: 41 %",
    ),
    "not restored": Recovery(state="unknown", lost=377, waited_s=900.0, target_s=20, why="the fault was not undone"),
    "interrupted": Recovery(state="unknown", lost=110, waited_s=210.0, target_s=20, why="the run was interrupted"),
    "control": Recovery(
        state="recovered",
        at_ns=EPOCH_NS + int(33.03 * NANOS),
        time_s=0.0,
        low_s=0.0,
        high_s=0.01,
        from_inject_s=12.0,
        lost=0,
        residual=0.99,
        held_s=10.0,
        target_s=20,
    ),
}

ENDS = {
    "held": (Exit.HELD, "every tolerance held; recovered in 0.4 s"),
    "broken": (Exit.BROKEN, "errors during faults 10.9 %, allowed 2 %"),
    "unknown": (Exit.UNKNOWN, "proxy.latency on database was not verified"),
    "never": (Exit.BROKEN, "not recovered within 20 s"),
    "not restored": (Exit.NOT_RESTORED, "proxy.latency on database may still be in place"),
    "interrupted": (Exit.INTERRUPTED, "SIGTERM; everything was restored"),
    "control": (Exit.HELD, "every tolerance held; users noticed nothing"),
}


def fault_reports(scenario: str) -> tuple[FaultReport, ...]:
    """What became of the faults of a scenario."""
    if scenario == "control":
        return (
            FaultReport(
                title="noop",
                says="touch nothing",
                proven=True,
                evidence="nothing was asked",
                lasted_s=12.0,
                restored=True,
            ),
        )
    proven = None if scenario == "unknown" else True
    return (
        FaultReport(
            title="process.kill on 1 of 3 api",
            says="kill api-2 (pid 4242)",
            proven=True,
            evidence="pid 4242 is gone",
            lasted_s=None,
            restored=True,
            note="back by itself after 3.7 s",
        ),
        FaultReport(
            title="proxy.latency on database",
            says="add 300 ms to database",
            proven=proven,
            evidence="48,211 bytes through the toxic" if proven else "",
            lasted_s=12.0,
            restored=scenario != "not restored",
        ),
    )


def _verdict(scenario: str, asked: Experiment, hits: list[Hit]) -> Verdict:
    stats = phase_stats(SCRIPTS[scenario], hits)
    code, headline = ENDS[scenario]
    recovery = RECOVERIES[scenario]
    findings = [*findings_of(asked, stats, scenario)]
    held = {"recovered": Outcome.HELD, "unknown": Outcome.UNKNOWN}.get(recovery.state, Outcome.BROKEN)
    observed = f"{recovery.time_s} s" if recovery.time_s is not None else recovery.state
    findings.append(
        Finding(
            name="recovery within 20 s",
            phase=None,
            expected="within 20 s",
            observed=observed,
            outcome=held,
            why=recovery.why,
        )
    )
    return Verdict(
        run="7f3a",
        question=asked.question,
        system="shop",
        environment="staging",
        outcome=max((f.outcome for f in findings), default=Outcome.UNKNOWN),
        exit=code,
        headline=headline,
        restored=scenario != "not restored",
        findings=tuple(findings),
        recovery=recovery,
        faults=fault_reports(scenario),
        phases=stats,
        trust=Trust(
            lag_p99_s=0.0001,
            offered=len(hits),
            fired=len(hits),
            unaccounted=0,
            skipped=31,
            notes=("this host was busy: 12 % of the time some task waited for CPU",) if scenario == "unknown" else (),
        ),
        seconds=SCRIPTS[scenario].ends,
        users_per_s=20,
        requests_per_s=100,
    )


@cache
def sample(scenario: str = "broken", question: str = "") -> Sample:
    """A whole run of a scenario; the question may be replaced to see what becomes of hostile text."""
    asked = experiment(scenario, question)
    hits = traffic(SCRIPTS[scenario])
    entries = journal(scenario, asked, hits)
    return Sample(asked, entries, fold(entries), _verdict(scenario, asked, hits))


def renamed(load: LoadProfile, text: str) -> LoadProfile:
    """The same load, every step of which has this name."""
    (stream,) = load.streams
    (scenario,) = stream.scenarios
    steps = tuple(replace(step, name=text) for step in scenario.steps)
    return replace(load, streams=(replace(stream, scenarios=(replace(scenario, steps=steps),)),))


def hostile(text: str) -> Sample:
    """The broken run with `text` in every place where a user or a target can put words."""
    plain = sample("broken")
    asked = replace(
        plain.experiment,
        question=text,
        source=text,
        system=replace(plain.experiment.system, name=text),
        load=renamed(plain.experiment.load, text),
    )
    verdict = replace(
        plain.verdict,
        question=text,
        system=text,
        environment=text,
        headline=text,
        findings=tuple(replace(f, why=text, observed=text, expected=text) for f in plain.verdict.findings),
        faults=tuple(replace(f, title=text, says=text, evidence=text, note=text) for f in plain.verdict.faults),
        phases=tuple(replace(p, name=p.name and text, by_outcome={text: p.hits}) for p in plain.verdict.phases),
        recovery=replace(plain.verdict.recovery, why=text),
        trust=replace(plain.verdict.trust, notes=(text,)),
    )
    told = [*plain.entries, e.Entry(len(plain.entries), 0, text, 0, e.Signalled(signal=text))]
    return Sample(asked, tuple(told), fold(told), verdict)
