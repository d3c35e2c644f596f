"""What is said about the HTTP of a load: its path, its TLS, and what its retries added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from building import SLOT_US, Script, experiment

from chaosrunner.logic.fold import fold
from chaosrunner.logic.http_account import amplification, http_remarks, path_taken, tls_spoken
from chaosrunner.logic.tally import phase_stats, trust
from chaosrunner.logic.traffic import Traffic
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.http_client import Client, Retry, Tls
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import SERIES
from chaosrunner.model.load import LoadProfile, Outcome, Stage, single
from chaosrunner.model.slots import Frame, Slot
from chaosrunner.model.system import System

TRUSTED = "TLS, the target's certificate verified against what this host trusts"
BLIND = "TLS without looking at the target's certificate (verify: false): it could be anybody's"
AGAIN = Client(retry=Retry(statuses=(503,)))


def load(**clients: Client) -> LoadProfile:
    """Steps with these clients, asking for relative paths."""
    steps = tuple(Request(name=name, method="GET", path="/", client=client) for name, client in clients.items())
    return single(steps=steps, stages=(Stage(start=100.0, end=100.0, lasts_s=None),))


@dataclass(kw_only=True)
class Retried(Script):
    """Also retries: (second, series, how many)."""

    retries: Sequence[tuple[float, int, int]] = field(default_factory=tuple)

    def frames(self) -> list[tuple[float, Frame]]:
        found = []
        for at, frame in super().frames():
            slots = dict(frame.slots)
            for second, series, many in self.retries:
                if at - 0.5 <= second < at:
                    slots[int(second * 1e6) // SLOT_US, SERIES + series] = Slot(due=many, done={Outcome.OK: many})
            found.append((at, replace(frame, slots=slots)))
        return found


def traffic(profile: LoadProfile, script: Script) -> Traffic:
    return Traffic(experiment(load=profile), script.state())


def test_the_fast_path_needs_no_words() -> None:
    """Nothing is said of requests that need nothing."""
    assert path_taken(load(a=Client(), b=Client())) == ""


def test_the_full_path_says_why() -> None:
    """Each need is named with the steps that have it, the first three by name."""
    both = Client(redirects=3, cookies=True)
    assert path_taken(load(a=both)).endswith("for redirects, cookies (a)")
    assert path_taken(load(a=both, b=Client(cookies=True), c=Client())) == (
        "requests take the full path, slower than the fast one, for redirects (a); cookies (a, b)"
    )
    assert path_taken(load(**dict.fromkeys("abcde", AGAIN))).endswith("for retries (a, b, c and 2 more)")


@pytest.mark.parametrize(
    ("entry", "path", "tls", "said"),
    [
        ("http://h", "/", None, ""),
        ("http://h", "/", Tls(verify=False), ""),
        ("https://h", "http://other/", None, ""),
        ("https://h", "/", None, TRUSTED),
        ("http://h", "https://other/", Tls(ca="x/ca.pem"), "TLS, the target's certificate verified against x/ca.pem"),
        ("https://h", "/", Tls(server_name="s"), TRUSTED),
        ("https://h", "/", Tls(verify=False), BLIND),
    ],
)  # fmt: skip
def test_tls(entry: str, path: str, tls: Tls | None, said: str) -> None:
    """Whether the target's certificate is verified is said of every load that speaks TLS, and of no other."""
    asked = single(steps=(Request(name="a", method="GET", path=path),), stages=(Stage(start=1, end=1, lasts_s=None),))
    found: Experiment = experiment(load=replace(asked, tls=tls), system=System(name="s", file="", entry=entry))
    assert tls_spoken(found) == said


def test_amplification() -> None:
    """Requests sent for each that was due: overall, by name and by phase; none where nothing is ever retried."""
    profile = load(a=AGAIN, b=Client(), c=AGAIN)
    script = Retried(names=3, rate=30, retries=((5.0, 0, 100), (23.0, 1, 53), (24.0, 0, 10)), after=30.0, end=45.0)
    seen = traffic(profile, script)
    baseline, fault = seen.span(Phase.BASELINE), seen.span(Phase.FAULT)
    assert baseline is not None
    assert fault is not None
    assert amplification(seen, baseline, "a") == pytest.approx(1.5)  # 200 of them were due
    assert amplification(seen, baseline, "b") is None
    assert amplification(seen, baseline, "c") == 1.0
    assert amplification(seen, baseline, "") == pytest.approx(1 + 100 / 600)
    assert amplification(seen, fault, "c") == pytest.approx(2.0)
    stats = {(one.phase, one.name): one.amplification for one in phase_stats(seen)}
    assert stats[Phase.BASELINE, "a"] == pytest.approx(1.5)
    assert stats[Phase.BASELINE, "b"] is None
    said = (
        "requests sent for each that was due, retries included: warmup 1; baseline 1.17 (a 1.5); "
        "fault 1.4 (c 2, a 1.19); recovery 1; after 1"
    )
    assert list(http_remarks(seen)) == [
        said,
        "requests take the full path, slower than the fast one, for retries (a, c)",
    ]
    assert said in trust(seen).notes


def test_amplification_without_requests() -> None:
    """Without any request there is no amplification, and without a policy no word of it."""
    nothing = traffic(load(a=AGAIN), Script(rate=1, dues=()))
    baseline = nothing.span(Phase.BASELINE)
    assert baseline is not None
    assert amplification(nothing, baseline, "a") is None
    assert not any("retries included" in remark for remark in http_remarks(nothing))
    assert list(http_remarks(traffic(load(a=Client()), Script(baseline=None, fault=None, recovery=None)))) == []


def test_phases_that_were_not_entered() -> None:
    """A run without a load that began says nothing of retries."""
    entries = [entry for entry in Script().entries() if type(entry.event).__name__ != "LoadStarted"]
    assert list(http_remarks(Traffic(experiment(load=load(a=AGAIN)), fold(entries)))) == [
        "requests take the full path, slower than the fast one, for retries (a)"
    ]
