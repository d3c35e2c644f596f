"""The run while it runs: a screenful on a terminal, one plain line a second in a pipe; neither can hold up the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, Self, TextIO, cast

from chaosrunner.logic.fault_state import FaultState, FaultStatus
from chaosrunner.logic.fold import State
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.units import NANOS
from chaosrunner.report import words
from chaosrunner.report.mailbox import DirectText, Mailbox
from chaosrunner.report.pulse import FaultPulse, Pulse, Pulses

if TYPE_CHECKING:
    from rich.live import Live

SCREEN_EVERY_NS = NANOS // 2
"""Two pictures a second: enough to follow, cheap enough to share a core with the load."""

STATUS_WORDS = {
    FaultStatus.PLANNED: "to come",
    FaultStatus.PREPARED: "prepared",
    FaultStatus.INJECTING: "injecting",
    FaultStatus.ACTIVE: "active",
    FaultStatus.FAILED: "FAILED",
    FaultStatus.UNDOING: "healing",
    FaultStatus.PAID: "removed",
    FaultStatus.STUCK: "STUCK: may still be in place",
}


class View(Protocol):
    """Shows a run while it runs. Used as a context manager; no method waits for the reader or raises because of it."""

    def update(self, state: State, now_ns: int) -> None:
        """Look at the state; call it as often as there is news."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


def view_for(
    experiment: Experiment, run: str, stream: TextIO | None, environ: Mapping[str, str], *, hint: str = ""
) -> View:
    """The screen on a terminal; plain lines in a pipe, in CI or on a dumb terminal; silence without a descriptor."""
    if stream is None:
        return SilentView()
    screen = not stream.closed and stream.isatty() and not environ.get("CI") and environ.get("TERM", "dumb") != "dumb"
    try:
        return LiveView(experiment, run, stream, hint=hint) if screen else PlainView(experiment, run, stream)
    except (OSError, ValueError):  # closed, or not a file: there is nowhere to draw
        return SilentView()


class SilentView:
    """Shows nothing."""

    def update(self, state: State, now_ns: int) -> None:
        """Look away."""

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing to tidy up."""


class LiveView:
    """A screenful that is drawn again and again in place, by a thread of its own; gone when the run is over."""

    def __init__(self, experiment: Experiment, run: str, stream: TextIO, *, hint: str = "") -> None:
        self._pulses = Pulses(experiment)
        self._head = f"{experiment.question}\n{_where(experiment)}, run {run}" + (f" · {hint}" if hint else "")
        self._out = DirectText(stream)
        self._live: Live | None = None
        self._next_ns = 0
        self._box: Mailbox[Pulse | None] = Mailbox(self._draw, depth=1)

    def update(self, state: State, now_ns: int) -> None:
        """Take the pulse, at most twice a second, and leave it to be drawn."""
        if self._box.quiet or now_ns < self._next_ns:
            return
        self._next_ns = now_ns + SCREEN_EVERY_NS
        self._box.post(self._pulses.at(state, now_ns))

    def __enter__(self) -> Self:
        """Nothing is drawn before the first update."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Wipe the screenful; a terminal that takes no output is left as it is."""
        self._box.post(None)
        if self._box.close():
            self._out.close()

    def _draw(self, pulse: Pulse | None) -> None:
        from rich.live import Live

        from chaosrunner.report.console import console_for
        from chaosrunner.report.screen import picture

        if pulse is None:
            if self._live is not None:
                self._live.stop()
            return
        if self._live is None:
            drawn_on = console_for(cast("TextIO", self._out))
            self._live = Live(
                console=drawn_on, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()
        console = self._live.console
        image = picture(self._head, pulse, width=console.width, ascii_only=console.options.ascii_only)
        self._live.update(image, refresh=True)


class PlainView:
    """One line a change of phase or fault, and one a second."""

    def __init__(self, experiment: Experiment, run: str, stream: TextIO) -> None:
        self._asked = experiment.faults
        self._pulses = Pulses(experiment)
        self._out = DirectText(stream)
        self._say = words.printable if self._out.encoding.lower().startswith("utf") else words.ascii_only
        self._box: Mailbox[str] = Mailbox(self._write, depth=1000)
        self._second = -1
        self._phase: Phase | None = None
        self._faults = self._standing(State())
        self._why = ""
        self._line(experiment.question)
        self._line(f"{_where(experiment)}, run {run}")

    def update(self, state: State, now_ns: int) -> None:
        """Write what is new since the last update."""
        epoch_ns = state.load_epoch_ns
        second = -1 if epoch_ns is None else (now_ns - epoch_ns) // NANOS
        seen = (second, state.phase, self._standing(state), state.aborted or state.ended)
        if seen == (self._second, self._phase, self._faults, self._why):
            return
        pulse = self._pulses.at(state, now_ns)
        self._changes(pulse, seen[2])
        if second > self._second and state.phase is not None:
            self._line(second_line(pulse))
        self._second = second

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Let the last lines out."""
        if self._box.close():
            self._out.close()

    def _standing(self, state: State) -> list[tuple[FaultStatus, bool | None]]:
        faults = [state.faults.get(fault.index, FaultState()) for fault in self._asked]
        return [(fault.status, fault.proven) for fault in faults]

    def _changes(self, pulse: Pulse, standing: list[tuple[FaultStatus, bool | None]]) -> None:
        at = _clock(pulse)
        if pulse.phase is not self._phase:
            self._line(f"{at}  phase {pulse.phase}")
        for fault, now, before in zip(pulse.faults, standing, self._faults, strict=True):
            if now != before:
                self._line(f"{at}  fault {fault.title}: {fault_line(fault)}")
        if pulse.why and pulse.why != self._why:
            self._line(f"{at}  {pulse.why}")
        self._phase, self._faults, self._why = pulse.phase, standing, pulse.why

    def _line(self, text: str) -> None:
        self._box.post(self._say(text))

    def _write(self, line: str) -> None:
        self._out.write(line + "\n")


def second_line(pulse: Pulse) -> str:
    """`12 s  baseline  100 req/s  p95 12 ms  errors 0.00 %  faults 0  open 3`."""
    rate = words.NOTHING if pulse.per_second is None else f"{pulse.per_second:,.0f}"
    errors = words.NOTHING if pulse.errors is None else f"{pulse.errors * 100:.2f} %"
    standing = sum(fault.standing for fault in pulse.faults)
    return (
        f"{_clock(pulse)}  {pulse.phase}  {rate} req/s  p95 {words.seconds(pulse.p95_s)}  errors {errors}"
        f"  faults {standing}  open {pulse.open:,}"
    )


def fault_line(fault: FaultPulse) -> str:
    """`active 3.2 s, proven: pid 4242 is gone`."""
    done = fault.final and fault.status is FaultStatus.ACTIVE
    parts = "done, has no undo" if done else STATUS_WORDS[fault.status]
    if fault.lasts_s is not None and not done:
        parts += f" {fault.lasts_s:.1f} s" if fault.standing else f" after {fault.lasts_s:.1f} s"
    if fault.proven is not None:
        parts += f", {'proven' if fault.proven else 'NOT in effect'}: {fault.evidence}"
    elif fault.evidence:
        parts += f": {fault.evidence}"
    return parts


def _where(experiment: Experiment) -> str:
    system = experiment.system
    return f"{system.name} @ {system.environment}" if system.environment else system.name


def _news(view: PlainView, state: State) -> bool:
    return (state.aborted or state.ended) != view._why


def _clock(pulse: Pulse) -> str:
    """Seconds since the load's epoch; the moment before it is shown as its beginning."""
    return f"{max(0.0, pulse.clock_s):.0f} s"
