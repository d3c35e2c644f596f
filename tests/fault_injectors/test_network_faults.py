"""What network faults do to real traffic between namespaces, and what they refuse."""

from __future__ import annotations

import errno
import os
import random
import socket
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from contract_rig import fault_of, system_of
from network_rig import HERE, WHY_NOT, Cable, cables, command

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Target
from chaosrunner.model.rules import Pattern, Protections, Rules
from chaosrunner.model.system import Component
from chaosrunner.world.injectors import RealTools
from fault_injectors import network
from fault_injectors.network import Loss, Partition, Reject
from fault_injectors.network_dns import Dns
from fault_injectors.network_mtu import Mtu
from fault_injectors.network_reset import Reset
from fault_injectors.network_route import Route
from fault_injectors.network_shape import Bandwidth

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not HERE, reason=WHY_NOT)
TOOLS = RealTools({})
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
"""Of <linux/in.h>, which Python 3.11 does not name."""
API = Target(component="api")


@pytest.fixture
def cable() -> Iterator[Cable]:
    """A target and its peer."""
    with cables(1) as [made]:
        yield made


def context_of(*names: str) -> Context:
    """What a run would give."""
    system = system_of(Component(name="api", namespaces=names))
    return Context(run="r1", system=system, tools=TOOLS, rng=random.Random(1), spare=frozenset)


async def inject(cable: Cable, injector: Any, **params: object) -> Any:
    """The recipe of a fault that was injected."""
    recipe = await injector.prepare(fault_of(injector, API, **params), context_of(cable.name))
    await injector.inject(recipe, TOOLS)
    return recipe


@contextmanager
def refused(number: int) -> Iterator[None]:
    """The kernel answers with exactly this error."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
        yield
    assert caught.value.errno == number


async def test_a_partition_silences_both_ways_and_one_way_only_one(cable: Cable) -> None:
    """Both ways nothing arrives; inwards questions arrive and answers do not; another peer is not meant."""
    for params, arrived, answers in (
        ({}, 0, 0),
        ({"way": "in"}, 10, 0),
        ({"way": "out"}, 0, 0),
        ({"peer": "10.9.0.0/24"}, 0, 0),
        ({"peer": "10.8.0.0/24"}, 10, 10),
        ({"port": 54}, 10, 10),
    ):
        recipe = await inject(cable, Partition(), **params)
        assert cable.talk(10) == (arrived, answers), params
        evidence = await Partition().verify(recipe, TOOLS)
        assert evidence.ok is (True if answers == 0 else None), evidence.says
        await Partition().undo(recipe, TOOLS)
        assert cable.talk(10) == (10, 10)


async def test_loss_takes_about_its_share(cable: Cable) -> None:
    """Of 2,000 datagrams a third is lost, give or take what chance may do."""
    await inject(cable, Loss(), share=0.3, way="out")
    arrived, _ = cable.talk(2000, size=100)
    # Six standard deviations of a binomial of 2,000 with 0.7: ±123.
    assert 1400 - 123 < arrived < 1400 + 123


async def test_a_rejected_connection_is_refused_at_once(cable: Cable) -> None:
    """Connecting gives ECONNREFUSED; before and afterwards it works."""
    cable.connect()
    recipe = await inject(cable, Reject(), port=53, way="out")
    with refused(errno.ECONNREFUSED):
        cable.connect()
    await Reject().undo(recipe, TOOLS)
    cable.connect()


async def test_dns_is_silent_or_refused(cable: Cable) -> None:
    """Silence loses the answers only; refusal tells the one who asks."""
    recipe = await inject(cable, Dns(), answer="none")
    assert cable.talk(10) == (10, 0)
    await Dns().undo(recipe, TOOLS)
    recipe = await inject(cable, Dns(), answer="refused")
    assert cable.talk(10) == (0, 0)
    await Dns().undo(recipe, TOOLS)


async def test_reset_ends_what_is_established_and_nothing_else(cable: Cable) -> None:
    """A connection is aborted, another can be opened at once; where there is none, that is said."""
    context = context_of(cable.name)
    recipe = await Reset().prepare(fault_of(Reset(), API, port=53), context)
    with pytest.raises(InjectorError, match="no such connection"):
        await Reset().inject(recipe, TOOLS)
    client = cable.connect()
    recipe = await Reset().prepare(fault_of(Reset(), API, port=53), context)
    await Reset().inject(recipe, TOOLS)
    with refused(errno.ECONNABORTED):
        client.recv(1)
    evidence = await Reset().verify(recipe, TOOLS)
    assert evidence.ok, evidence.says
    cable.connect()


async def test_bandwidth_bounds_what_gets_through(cable: Cable) -> None:
    """Of a megabyte offered, no more gets through than bucket, queue and rate allow for the time it took."""
    recipe = await inject(cable, Bandwidth(), rate=50_000.0)
    begun = time.monotonic()
    arrived, _ = cable.talk(1000, size=1000)
    assert arrived * 1000 < 50_000 * (time.monotonic() - begun) + 3 * 16 * 1024
    evidence = await Bandwidth().verify(recipe, TOOLS)
    assert evidence.ok, evidence.says
    with pytest.raises(InjectorError, match="has a queue already"):
        await Bandwidth().prepare(fault_of(Bandwidth(), API, rate=1000.0), context_of(cable.name))
    [left] = await Bandwidth().scan(context_of(cable.name).system, TOOLS)
    await Bandwidth().undo(left, TOOLS)
    assert (await Bandwidth().absent(recipe, TOOLS)).ok
    assert await Bandwidth().scan(context_of(cable.name).system, TOOLS) == []


async def test_a_low_mtu_refuses_what_is_longer(cable: Cable) -> None:
    """A long datagram that may not be cut is refused and a short one passes, until the MTU before is back."""
    command("ip", "-n", cable.name, "-6", "address", "flush", "dev", "eth0")
    cable.client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    recipe = await inject(cable, Mtu(), mtu=600)
    with refused(errno.EMSGSIZE):
        cable.client.sendto(bytes(1000), ("10.9.0.2", 53))
    assert cable.talk(10, size=1000) == (0, 0)
    assert cable.talk(10, size=500) == (10, 10)
    evidence = await Mtu().verify(recipe, TOOLS)
    assert evidence.ok, evidence.says
    [left] = await Mtu().scan(context_of(cable.name).system, TOOLS)
    await Mtu().undo(left, TOOLS)
    assert (await Mtu().absent(recipe, TOOLS)).ok
    assert cable.talk(10, size=1000) == (10, 10)


async def test_an_mtu_that_could_not_be_put_back_exactly_is_refused(cable: Cable) -> None:
    """Below what IPv6 needs while there is IPv6, with an alias of somebody else's, or not lower: each says why."""
    command("ip", "-n", cable.name, "address", "add", "fd09::1/64", "dev", "eth0", "nodad")
    for mtu, why in ((600, "has IPv6, which the kernel ends below 1280"), (1500, "carries at most 1500 bytes already")):
        with pytest.raises(InjectorError, match=why):
            await Mtu().prepare(fault_of(Mtu(), API, mtu=mtu), context_of(cable.name))
    command("ip", "-n", cable.name, "link", "set", "dev", "eth0", "alias", "uplink")
    with pytest.raises(InjectorError, match="has an alias, where our mark would be: uplink"):
        await Mtu().prepare(fault_of(Mtu(), API, mtu=1300), context_of(cable.name))


async def test_a_route_that_leads_nowhere_is_told_at_once(cable: Cable) -> None:
    """Each type has its error, by IPv4 and IPv6; another address of the network keeps its way; a scan finds ours."""
    command("ip", "-n", cable.name, "address", "add", "fd09::1/64", "dev", "eth0", "nodad")
    for peer, kind, number in (
        ("10.9.0.2", "unreachable", errno.EHOSTUNREACH),
        ("10.9.0.0/25", "blackhole", errno.EINVAL),
        ("10.0.0.0/8", "prohibit", None),
        ("fd09::/64", "unreachable", None),
    ):
        recipe = await inject(cable, Route(), peer=peer, type=kind)
        if number:
            with refused(number):
                cable.client.sendto(b"question", ("10.9.0.2", 53))
        else:
            assert cable.talk(10) == (10, 10)
        evidence = await Route().verify(recipe, TOOLS)
        assert evidence.ok, evidence.says
        [left] = await Route().scan(context_of(cable.name).system, TOOLS)
        assert left.claims == recipe.claims
        await Route().undo(left, TOOLS)
        assert (await Route().absent(recipe, TOOLS)).ok
        assert (await Route().verify(recipe, TOOLS)).ok is False
        assert cable.talk(10) == (10, 10)


async def test_where_another_way_is_left_there_is_no_evidence(cable: Cable) -> None:
    """More specific routes win over ours: then nothing was taken, and evidence does not claim it."""
    for part in ("10.8.0.0/31", "10.8.0.2/31", "10.8.0.4/31", "10.8.0.6/31"):
        command("ip", "-n", cable.name, "route", "add", part, "via", "10.9.0.2")
    recipe = await inject(cable, Route(), peer="10.8.0.0/29")
    evidence = await Route().verify(recipe, TOOLS)
    assert evidence.ok is None
    assert "has another way" in evidence.says


async def test_a_route_of_just_that_network_is_not_overridden(cable: Cable) -> None:
    """The network of the cable itself has a route that ours could not stand beside: refused, with a part that could."""
    for peer, hint in (("10.9.0.0/24", "such as 10.9.0.0/25"), ("10.8.0.1", "to just 10.8.0.1/32")):
        command("ip", "-n", cable.name, "route", "replace", "10.8.0.1", "via", "10.9.0.2")
        with pytest.raises(InjectorError, match=hint):
            await Route().prepare(fault_of(Route(), API, peer=peer), context_of(cable.name))
    for wrong in ("10.9.0.1/24", "the-router", ""):
        with pytest.raises(ValueError, match=r"10\.9\.0\.1/24|the-router|''"):
            Route.Params(peer=wrong)


async def test_a_protected_namespace_is_refused(cable: Cable) -> None:
    """The owner's rules protect namespaces by name, whatever component they are reached by."""
    rule = Pattern(text=f"{cable.name[:-1]}*", file="shop.yaml", line=7)
    context = replace(context_of(cable.name), rules=(Rules(protect=Protections(namespaces=(rule,))),))
    with pytest.raises(InjectorError, match=f"protected by its namespace '{cable.name}': shop.yaml:7"):
        await Partition().prepare(fault_of(Partition(), API), context)


async def test_the_kernel_ends_it_when_nobody_does(cable: Cable) -> None:
    """At its deadline traffic flows again, though the table is still there; a scan finds that by its name."""
    recipe = await Partition().prepare(fault_of(Partition(), API), context_of(cable.name))
    await Partition().inject(replace(recipe, lasts_s=1.0 - network.GRACE_S), TOOLS)
    assert cable.talk(1) == (0, 0)
    until = time.monotonic() + 10
    while cable.talk(1) == (0, 0):
        assert time.monotonic() < until
    [left] = await Partition().scan(context_of(cable.name).system, TOOLS)
    await Partition().undo(left, TOOLS)
    assert (await Partition().absent(recipe, TOOLS)).ok


async def test_the_hosts_own_network_is_never_touched(cable: Cable) -> None:
    """A name that leads to the network of this host is refused, and so is one that leads out of the directory."""
    alias = Path("/run/netns") / f"{cable.name}-host"
    command("ip", "netns", "attach", alias.name, str(os.getpid()))
    try:
        with pytest.raises(InjectorError, match="never touched"):
            await Partition().prepare(fault_of(Partition(), API), context_of(alias.name))
    finally:
        command("ip", "netns", "del", alias.name)
    with pytest.raises(InjectorError, match="no name of a network namespace"):
        await Partition().prepare(fault_of(Partition(), API), context_of("../../proc/1/ns/net"))


@pytest.mark.parametrize(
    ("injector", "params"),
    [
        pytest.param(Partition(), {}, id="rules"),
        pytest.param(Dns(), {"answer": "nxdomain", "resolvers": "10.9.0.2"}, id="nxdomain"),
        pytest.param(Mtu(), {"mtu": 1300}, id="mtu"),
        pytest.param(Route(), {"peer": "10.9.0.2"}, id="route"),
        pytest.param(Bandwidth(), {"rate": 20_000.0}, id="queue"),
    ],
)
async def test_what_went_with_its_namespace_has_ended_by_itself(cable: Cable, injector: Any, params: Any) -> None:
    """A namespace that is gone or was made anew took the fault with it; one that is as it was had it taken away."""
    recipe = await inject(cable, injector, **params)
    try:
        await injector.undo(recipe, TOOLS)
        assert await lost(injector, recipe) is False
        await injector.inject(recipe, TOOLS)
        cable.unplug()
        assert await lost(injector, recipe) is True
        cable.plug()
        assert await lost(injector, recipe) is True
    finally:
        await injector.undo(recipe, TOOLS)


async def test_a_namespace_made_anew_with_the_number_of_the_old_one_is_known_by_its_age(cable: Cable) -> None:
    """The kernel gives an inode again that is free; a recipe of before, which knows no age, has only the inode."""
    recipe = await Partition().prepare(fault_of(Partition(), API), context_of(cable.name))
    assert await lost(Partition(), recipe) is False
    cable.unplug()
    cable.plug()
    same = {**recipe.data["namespaces"][0], "inode": (Path("/run/netns") / cable.name).stat().st_ino}
    assert await lost(Partition(), replace(recipe, data={**recipe.data, "namespaces": [same]})) is True
    del same["born_ns"]
    assert await lost(Partition(), replace(recipe, data={**recipe.data, "namespaces": [same]})) is False


async def lost(injector: Any, recipe: Any) -> bool:
    """The fault is seen not to be in effect; whether that is because what it hit has ended."""
    evidence = await injector.verify(recipe, TOOLS)
    assert evidence.ok is False
    assert evidence.ended is ("gone or was made anew" in evidence.says)
    return bool(evidence.ended)
