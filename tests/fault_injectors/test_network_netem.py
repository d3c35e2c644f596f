"""Late, reordered and duplicated packets: what netem does where the kernel has it, and what is said where it does not.

`make kernel` runs the former in a kernel that has netem; here only what this kernel can do is collected.
"""

from __future__ import annotations

import json
import random
import re
import select
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from contract_rig import fault_of, system_of
from network_rig import HERE, NETEM, WHY_NOT, Cable, cables, command

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Target
from chaosrunner.model.system import Component
from chaosrunner.world.injectors import RealTools
from fault_injectors.network_netem import Duplicate, Latency, Reorder, asked, enough, options_of, same, why_not
from fault_injectors.network_shape import Bandwidth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOOLS = RealTools({})
API = Target(component="api")
SO_RCVBUFFORCE = 33
"""Of <asm-generic/socket.h>, which Python 3.11 does not name."""
ALL = [
    pytest.param(Latency(), {"add": 0.1, "jitter": 0.01, "correlation": 0.25}, id="latency"),
    pytest.param(Reorder(), {"share": 0.3}, id="reorder"),
    pytest.param(Duplicate(), {"share": 0.2}, id="duplicate"),
]
PRINTED = {
    "latency": '{"limit":100000,"delay":{"delay":0.1,"jitter":0.01,"correlation":0.25},"ecn":false,"gap":0}',
    "reorder": '{"limit":100000,"delay":{"delay":0.01,"jitter":0,"correlation":0},'
    '"reorder":{"reorder":0.3,"correlation":0},"ecn":false,"gap":1}',
    "duplicate": '{"limit":100000,"duplicate":{"duplicate":0.2,"correlation":0},"ecn":false,"gap":0}',
}
"""Options as `tc -j qdisc show` of iproute2 6.1 prints them for `ALL`."""
COUNTS: dict[str, Any] = {"packets": 0, "qlen": 0, "requeues": 0, "drops": 0}


def queue(name: str, **counts: int) -> dict[str, Any]:
    """A queue as tc prints it."""
    return {"kind": "netem", "options": json.loads(PRINTED[name])} | COUNTS | counts


@pytest.mark.parametrize(("injector", "params"), ALL)
def test_a_queue_is_known_to_be_as_it_was_asked_for(injector: Any, params: dict[str, float]) -> None:
    """What tc prints is what was asked for, to the kernel's rounding; another delay, jitter or share is not."""
    shape = injector.shape(injector.Params(**params))
    printed = queue(injector.name.removeprefix("network."))
    assert same(options_of(printed), asked(shape))
    assert not injector.differs(printed, shape)
    for name, value in params.items():
        assert injector.differs(printed, injector.shape(injector.Params(**params | {name: value * 0.9})))
    assert injector.differs({"kind": "netem"}, shape)


def test_the_kernel_keeps_delays_in_steps_of_its_own() -> None:
    """Of 1,500 µs tc prints 1,499, and of 100 µs 99: that is no other queue."""
    for add, seen in ((0.0015, 0.001499), (0.0001, 0.000099)):
        options = {"options": {"delay": {"delay": seen, "jitter": 0, "correlation": 0}}}
        assert not Latency().differs(options, Latency().shape(Latency.Params(add=add)))


def test_evidence_is_what_the_kernel_has_counted() -> None:
    """A queue that is there is no evidence: packets must have been held, sent ahead, or been enough for a copy."""
    for injector, params, name, idle, busy in (
        (Latency(), {"add": 0.1}, "latency", {}, {"qlen": 1}),
        (Reorder(), {"share": 0.3}, "reorder", {"packets": 9}, {"packets": 9, "requeues": 1}),
        (Duplicate(), {"share": 0.2}, "duplicate", {"packets": 37}, {"packets": 38}),
    ):
        shape = injector.shape(injector.Params(**params))
        assert injector.works(queue(name, **idle), shape)[0] is False
        acts, count, says = injector.works(queue(name, **busy), shape)
        assert acts
        assert str(count) in says
        assert "lost" not in says
        assert "(3 lost: more than 100,000 would have waited)" in injector.works(queue(name, drops=3), shape)[2]


@pytest.mark.parametrize("share", [0.0001, 0.05, 0.2, 0.5, 0.999, 1.0])
def test_so_many_packets_are_enough_for_a_copy(share: float) -> None:
    """That none of so many was copied has a chance of at most one in a thousand, and one packet less has more."""
    originals = round(enough(share) / (1 + share))
    assert (1 - share) ** originals <= 0.001
    assert share > 0.99 or (1 - share) ** (originals - 1) > 0.00099


@pytest.mark.parametrize(
    ("kind", "params", "why"),
    [
        (Latency, {"add": 0.0}, "'add' is 100us to 60s"),
        (Latency, {"add": 61.0}, "'add' is 100us to 60s"),
        (Latency, {"add": 0.1, "jitter": 0.2}, "'jitter' is at most 'add'"),
        (Latency, {"add": 0.1, "jitter": 0.1, "correlation": 1.1}, "'correlation' is 0 % to 100 %"),
        (Latency, {"add": 0.1, "correlation": 0.5}, "'correlation' is of the 'jitter'"),
        (Reorder, {"share": 1.0}, "'share' is 0.01 % to 99 %"),
        (Reorder, {"share": 0.1, "add": 0.0}, "'add' is 100us to 60s"),
        (Duplicate, {"share": 0.0}, "'share' is 0.01 % to 100 %"),
    ],
)
def test_what_netem_cannot_do_is_a_mistake(kind: Any, params: dict[str, float], why: str) -> None:
    """A delay that makes packets early, or a share that leaves nothing to do, is told with what would do."""
    with pytest.raises(ValueError, match=re.escape(why)):
        kind.Params(**params)


def test_why_it_cannot_be_used_is_one_line() -> None:
    """Without netem the line says what there is instead; where it could not be tried, it does not claim to know."""
    for complaint in ("Error: Specified qdisc kind is unknown.", "RTNETLINK answers: No such file or directory"):
        assert why_not(complaint, "x does it") == "this kernel has no netem; x does it"
    unknown = why_not("unshare: unshare failed: Operation not permitted", "x does it")
    assert unknown == (
        "whether this kernel has netem could not be tried: unshare: unshare failed: Operation not permitted"
    )


def context_of(cable: Cable) -> Context:
    """What a run would give."""
    system = system_of(Component(name="api", namespaces=(cable.name,)))
    return Context(run="r1", system=system, tools=TOOLS, rng=random.Random(1), spare=frozenset)


@pytest.fixture
def cable() -> Iterator[Cable]:
    """A target and its peer."""
    with cables(1) as [made]:
        yield made


EXPERIMENT = """\
question: What if?
system: there
load:
  each_user: [{visit: {GET: /}}]
  arrivals: 1 users/s
baseline: 1s
faults:
  - {network.latency: {target: api, add: 100ms}, for: 1s, accept: unguarded}
  - {network.reorder: {target: api, share: 10%}, for: 1s, accept: unguarded, at: 2s}
  - {network.duplicate: {target: api, share: 10%}, for: 1s, accept: unguarded, at: 4s}
hypothesis:
  before: [errors < 5%]
recover: within 5s, hold 1s
"""
INSTEAD = {
    "network.latency": "proxy.latency and proxy.jitter do it for TCP",
    "network.reorder": "reordering is unavailable here, it is never imitated",
    "network.duplicate": "duplicates are unavailable here, they are never imitated",
}


@pytest.mark.skipif(not HERE, reason=WHY_NOT)
class TestWithoutNetem:
    """On a kernel that has none."""

    __test__ = not NETEM

    @pytest.mark.parametrize("verb", ["plan", "run"])
    def test_netem_faults_are_refused(self, tmp_path: Path, cable: Cable, verb: str) -> None:
        """Plan and run end with 2 and a line a fault that says why and what there is instead; nothing was touched."""
        (tmp_path / "systems").mkdir()
        told = f"entry: http://127.0.0.1:9\napi: {{namespaces: [{cable.name}]}}\n"
        (tmp_path / "systems/there.yaml").write_text(told)
        (tmp_path / "own.yaml").write_text(EXPERIMENT)
        before = cable.state(cable.name)
        words = [sys.executable, "-m", "chaosrunner", verb, "own.yaml"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 2, done.stdout + done.stderr
        for line, (fault, instead) in enumerate(INSTEAD.items(), start=8):
            assert f"own.yaml:{line}:1: '{fault}' cannot run here: this kernel has no netem; {instead}" in done.stderr
        assert cable.state(cable.name) == before


def numbers_sent(cable: Cable, count: int, patience_s: float = 20.0) -> list[int]:
    """Send so many numbered datagrams as fast as it goes; the numbers as they arrive, until nothing more does."""
    cable.client.setblocking(True)
    # All that was delayed comes at once: without room for it the receiver would lose some, not the queue.
    cable.server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 * count * 1024)
    arrived: list[int] = []
    end = time.monotonic() + patience_s
    for number in range(count):
        cable.client.sendto(number.to_bytes(4, "big"), ("10.9.0.2", 53))
        while select.select([cable.server], [], [], 0)[0]:
            arrived.append(int.from_bytes(cable.server.recv(100), "big"))
    while (
        time.monotonic() < end and select.select([cable.server], [], [], 1.0 if len(set(arrived)) == count else 5.0)[0]
    ):
        arrived.append(int.from_bytes(cable.server.recv(100), "big"))
    return arrived


def connecting_s(cable: Cable) -> float:
    """How long a TCP connection from the target to its peer takes to be there."""
    client = cable.inside(cable.name, socket.SOCK_STREAM)
    client.settimeout(20)
    begun = time.monotonic()
    client.connect(("10.9.0.2", 53))
    took = time.monotonic() - begun
    cable.listener.settimeout(20)
    cable.sockets.append(cable.listener.accept()[0])
    return took


async def proven(injector: Any, recipe: Any) -> int:
    """Its evidence, which is there, is a count."""
    evidence = await injector.verify(recipe, TOOLS)
    assert evidence.ok, evidence.says
    return int(sum(evidence.data.values()))


@pytest.mark.skipif(not HERE, reason=WHY_NOT)
class TestNetemTraffic:
    """On a kernel that has it."""

    __test__ = NETEM

    async def inject(self, cable: Cable, injector: Any, **params: object) -> Any:
        """The recipe of a fault that was injected, of which there is no evidence yet."""
        recipe = await injector.prepare(fault_of(injector, API, **params), context_of(cable))
        await injector.inject(recipe, TOOLS)
        return recipe

    async def removed(self, cable: Cable, injector: Any) -> None:
        """A scan finds it, and once its recipe is undone finds nothing."""
        [left] = await injector.scan(context_of(cable).system, TOOLS)
        await injector.undo(left, TOOLS)
        assert (await injector.absent(left, TOOLS)).ok
        assert await injector.scan(context_of(cable).system, TOOLS) == []

    async def test_latency_is_added_to_a_connect(self, cable: Cable) -> None:
        """With 100 ms each connect takes 100 ms or more, and some without took less; a scan's recipe undoes it."""
        without = [connecting_s(cable) for _ in range(10)]
        await self.inject(cable, Latency(), add=0.1)
        under = [connecting_s(cable) for _ in range(10)]
        print(f"connect: fastest of 10 {min(without) * 1e3:.1f} ms, under 100 ms latency {min(under) * 1e3:.1f} ms")
        assert min(without) < 0.1 <= min(under)
        await self.removed(cable, Latency())
        assert min(connecting_s(cable) for _ in range(10)) < 0.1

    async def test_reordering_loses_and_doubles_nothing(self, cable: Cable) -> None:
        """All datagrams arrive once; about the share of them before one that was sent earlier."""
        assert numbers_sent(cable, 100) == list(range(100))
        recipe = await self.inject(cable, Reorder(), share=0.3, add=1.0)
        arrived = numbers_sent(cable, 500)
        early = sum(any(later < number for later in arrived[place:]) for place, number in enumerate(arrived))
        print(f"reorder 30 %: {early} of 500 datagrams arrived before one sent earlier")
        assert sorted(arrived) == list(range(500))
        # Six standard deviations of a binomial of 500 with 0.3: ±62; who has nobody before it overtakes nobody.
        assert 150 - 62 < early < 150 + 62
        assert await proven(Reorder(), recipe) >= early
        await self.removed(cable, Reorder())
        assert numbers_sent(cable, 100) == list(range(100))

    async def test_duplicates_are_of_about_the_share(self, cable: Cable) -> None:
        """All datagrams arrive, about the share of them twice, in order; the kernel has counted at least those."""
        recipe = await self.inject(cable, Duplicate(), share=0.3)
        arrived = numbers_sent(cable, 1000)
        print(f"duplicate 30 %: {len(arrived)} datagrams arrived of 1,000 sent")
        assert sorted(set(arrived)) == list(range(1000))
        assert max(arrived.count(number) for number in range(1000)) == 2
        # Six standard deviations of a binomial of 1,000 with 0.3: ±87.
        assert 1300 - 87 < len(arrived) < 1300 + 87
        assert await proven(Duplicate(), recipe) >= len(arrived)
        await self.removed(cable, Duplicate())
        assert numbers_sent(cable, 100) == list(range(100))

    async def test_netem_of_somebody_else_is_left_alone(self, cable: Cable) -> None:
        """An interface with a queue that somebody has set is refused, also one of ours; undoing leaves theirs there."""
        recipe = await Latency().prepare(fault_of(Latency(), API, add=0.1), context_of(cable))
        command("tc", "-n", cable.name, "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "1ms")
        theirs = cable.state(cable.name)
        for injector, params in (
            (Latency(), {"add": 0.1}),
            (Duplicate(), {"share": 0.1}),
            (Bandwidth(), {"rate": 1e4}),
        ):
            with pytest.raises(InjectorError, match="has a queue already: netem"):
                await injector.prepare(fault_of(injector, API, **params), context_of(cable))
        with pytest.raises(InjectorError, match="needed to override"):
            await Latency().inject(recipe, TOOLS)
        await Latency().undo(recipe, TOOLS)
        assert cable.state(cable.name) == theirs

    async def test_a_queue_that_was_changed_is_no_evidence(self, cable: Cable) -> None:
        """Somebody made the delay another: then the fault is not as the recipe says, and undoing still removes it."""
        recipe = await self.inject(cable, Latency(), add=0.1)
        assert (await Latency().verify(recipe, TOOLS)).ok is not False
        change = ("tc", "-n", cable.name, "qdisc", "change", "dev", "eth0", "root", "handle", Latency.handle)
        command(*change, "netem", "delay", "1ms")
        evidence = await Latency().verify(recipe, TOOLS)
        assert evidence.ok is False
        assert "is not as we set it" in evidence.says
        await self.removed(cable, Latency())
