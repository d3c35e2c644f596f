"""What a DNS fault that answers does to real questions between namespaces, by UDP and TCP, and how it ends."""

from __future__ import annotations

import random
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from contract_rig import fault_of, system_of
from network_rig import HERE, PORT, WHY_NOT, Cable, cables, command, question

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Recipe, Target
from chaosrunner.model.system import Component
from chaosrunner.world.injectors import RealTools
from fault_injectors import network, processes
from fault_injectors import resources_lease as lease
from fault_injectors.network_dns import Dns
from fault_injectors.network_dns_responder import asked, no_such_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

needs_namespaces = pytest.mark.skipif(not HERE, reason=WHY_NOT)
TOOLS = RealTools({})
PEER = {"resolvers": "10.9.0.2"}
SHOP = "db.shop.internal"


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    """A target, and a peer that is its resolver."""
    with cables(1) as [made]:
        yield made


@pytest.fixture
async def faults(cable: Cable) -> AsyncIterator[Any]:
    """Injects faults into the target; they are undone at the end."""
    made: list[Recipe] = []

    async def inject(lasts_s: float = 30.0, **params: object) -> Recipe:
        recipe = await Dns().prepare(fault_of(Dns(), Target(component="api"), **params), context_of(cable))
        made.append(replace(recipe, lasts_s=lasts_s))
        await Dns().inject(made[-1], TOOLS)
        return made[-1]

    yield inject
    for recipe in made:
        await Dns().undo(recipe, TOOLS)
        assert (await Dns().absent(recipe, TOOLS)).ok


def context_of(cable: Cable) -> Context:
    """What a run would give."""
    system = system_of(Component(name="api", namespaces=(cable.name,)))
    return Context(run="dns", system=system, tools=TOOLS, rng=random.Random(1), spare=frozenset)


def code(cable: Cable, name: str) -> int | None:
    """The RCODE that a question gets by UDP."""
    said = cable.ask(name)
    return said[0] if said else None


@needs_namespaces
async def test_only_the_named_names_do_not_exist(cable: Cable, faults: Any) -> None:
    """Names that match get NXDOMAIN, whatever their case; others get the resolver's answer and are no evidence."""
    recipe = await faults(answer="nxdomain", names="*.shop.internal, mail.*", **PEER)
    assert code(cable, "www.example.org") == 0
    evidence = await Dns().verify(recipe, TOOLS)
    assert evidence.ok is None, evidence.says
    assert [code(cable, name) for name in (SHOP, "DB.Shop.Internal", "mail.example.org", "shop.internal")] == [
        3,
        3,
        3,
        0,
    ]
    evidence = await Dns().verify(recipe, TOOLS)
    assert evidence.ok, evidence.says
    assert evidence.says.endswith(": 3")


@needs_namespaces
async def test_an_answer_comes_late(cable: Cable, faults: Any) -> None:
    """The resolver's own answer comes after the delay, and is its own again once that is undone."""
    recipe = await faults(delay=0.5, names="*.internal", **PEER)
    said = cable.ask(SHOP)
    assert said is not None
    assert said[0] == 0
    assert said[1] >= 0.5
    await Dns().undo(recipe, TOOLS)
    assert code(cable, SHOP) == 0


@needs_namespaces
async def test_questions_by_tcp_are_turned_too(cable: Cable, faults: Any) -> None:
    """One connection gets NXDOMAIN for one name and the resolver's answer for another."""
    await faults(answer="nxdomain", names=SHOP, **PEER)
    client = cable.inside(cable.name, socket.SOCK_STREAM)
    client.settimeout(5)
    client.connect(("10.9.0.2", PORT))
    client.sendall(framed(question(SHOP)))
    assert client.recv(2000)[2 + 3] & 15 == 3
    other = question("www.example.org")
    client.sendall(framed(other))
    passed_on, _ = cable.listener.accept()
    with passed_on:
        assert passed_on.recv(2000) == framed(other)
        passed_on.sendall(framed(b"its own answer"))
        assert client.recv(2000) == framed(b"its own answer")


def framed(message: bytes) -> bytes:
    """A message as TCP carries it."""
    return len(message).to_bytes(2, "big") + message


@needs_namespaces
async def test_a_socket_that_was_turned_is_not_turned_afterwards(cable: Cable, faults: Any) -> None:
    """A client that keeps its socket reaches its resolver as soon as the fault is undone, time and again."""
    # Somebody else's rule, for whose sake the kernel goes on tracking connections when ours are gone.
    theirs = "table ip theirs { chain out { type nat hook output priority -100; ip daddr 10.77.0.1 redirect; }; }"
    command("ip", "netns", "exec", cable.name, "nft", theirs)
    client = cable.inside(cable.name, socket.SOCK_DGRAM)
    for number in range(2):
        recipe = await faults(answer="nxdomain", **PEER)
        client.settimeout(5)
        client.sendto(question(SHOP), ("10.9.0.2", PORT))
        assert client.recv(2000)[3] & 15 == 3
        await Dns().undo(recipe, TOOLS)
        client.sendto(b"afterwards %d" % number, ("10.9.0.2", PORT))
        assert cable.server.recv(2000) == b"afterwards %d" % number


@needs_namespaces
async def test_the_kernel_ends_it_when_nobody_does(cable: Cable, faults: Any) -> None:
    """At the deadline questions reach the resolver again; a scan finds the table and the responder that are left."""
    recipe = await faults(lasts_s=1.0 - network.GRACE_S, answer="nxdomain", **PEER)
    assert code(cable, SHOP) == 3
    until = time.monotonic() + 10
    while code(cable, SHOP) != 0:
        assert time.monotonic() < until
    found = [left for left in await Dns().scan(context_of(cable).system, TOOLS) if "dns_" in str(left.data["table"])]
    assert [left.claims for left in found] == [recipe.claims, (recipe.data["tag"],)]
    for left in found:
        await Dns().undo(left, TOOLS)
    assert (await Dns().absent(recipe, TOOLS)).ok


@needs_namespaces
async def test_a_dead_responder_is_no_evidence(cable: Cable, faults: Any) -> None:
    """Without whom the questions are turned to, the fault is not what was asked for, and evidence says so."""
    recipe = await faults(answer="nxdomain", **PEER)
    assert code(cable, SHOP) == 3
    for one in lease.holders(recipe):
        processes.send(one, signal.SIGKILL)
    until = time.monotonic() + 10
    while lease.holders(recipe):
        assert time.monotonic() < until
    evidence = await Dns().verify(recipe, TOOLS)
    assert evidence.ok is False
    assert "no responder" in evidence.says


@needs_namespaces
async def test_the_resolvers_are_those_of_the_namespace(cable: Cable) -> None:
    """Left out, they are the nameservers of its own resolv.conf; one that names none is refused by its name."""
    file = Path("/etc/netns") / cable.name / "resolv.conf"
    file.parent.mkdir(parents=True)
    try:
        file.write_text("# none\n")
        fault = fault_of(Dns(), Target(component="api"), delay=2.0)
        with pytest.raises(InjectorError, match=f"{file} names no nameserver"):
            await Dns().prepare(fault, context_of(cable))
        file.write_text("search shop.internal\nnameserver 10.9.0.2\nnameserver fd00::2\n")
        recipe = await Dns().prepare(fault, context_of(cable))
        assert "DNS questions for * to 10.9.0.2, fd00::2" in recipe.says
        assert "the answer comes after 2 s" in recipe.says
    finally:
        file.unlink()
        file.parent.rmdir()


@pytest.mark.parametrize(
    "params",
    [
        {"answer": "none", "delay": 1.0},
        {"answer": "refused", "names": "*.internal"},
        {"resolvers": "10.9.0.2"},
        {"answer": "nxdomain", "names": " , "},
        {"answer": "nxdomain", "resolvers": "the-router"},
        {"delay": 61.0},
    ],
)
def test_what_does_not_go_together_is_refused(params: dict[str, Any]) -> None:
    """Delay, names and resolvers need somebody who answers; names are some, resolvers are addresses."""
    with pytest.raises(ValueError, match=r"'delay'|'names'|address"):
        Dns.Params(**params)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        bytes(12),
        question(SHOP)[:-1],
        question(SHOP)[:20],
        b"id\x81\x80" + question(SHOP)[4:],
        question(SHOP)[:12] + b"\xc0\x0c\0\x01\0\x01",
    ],
    ids=["nothing", "no name", "cut off", "a name cut off", "an answer", "a pointer"],
)
def test_what_is_no_question_cannot_be_read(wire: bytes) -> None:
    """Nothing, no entry, an end that is missing, an answer, a pointer where a name should be: all are ValueErrors."""
    with pytest.raises(ValueError, match=r"cut short|not one question|a label that is none"):
        asked(wire)


def test_no_such_name_repeats_the_question() -> None:
    """The answer has the question's number and entry, says NXDOMAIN, and leaves out what came after the entry."""
    wire = question(SHOP)
    answer = no_such_name(wire + b"an additional record")
    assert answer == wire[:2] + b"\x81\x83" + b"\0\x01\0\0\0\0\0\0" + wire[12:]
    assert asked(wire) == (SHOP, len(wire))
