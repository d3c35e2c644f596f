"""Docker faults on a real engine: which containers are meant, what is refused, what users feel, what is put back."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from contract_rig import fault_of
from docker_rig import IMAGE, Yard, running_engine

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Evidence, Injector, Recipe, Target
from chaosrunner.model.rules import Pattern, Protections, Rules
from chaosrunner.model.system import Component, Processes, System
from chaosrunner.world.injectors import RealTools
from fault_injectors.docker_bandwidth import Bandwidth
from fault_injectors.docker_down import Kill, Stop
from fault_injectors.docker_inside import Fill, KillInside
from fault_injectors.docker_limits import Cpu, Memory
from fault_injectors.docker_network import Disconnect
from fault_injectors.docker_packets import Drop, Loss, Reject
from fault_injectors.docker_state import Crash, Pause, Restart
from fault_injectors.process import Pause as PauseProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

TOOLS = RealTools({})
ONE = Target(component="api")
API = ("api-1", "api-2", "api-3")
LABELS = {"com.docker.compose.project": "shop", "com.docker.compose.service": "api", "tier": "web"}


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Three containers of a Compose service, and one that belongs to nothing."""
    with running_engine(tmp_path_factory.mktemp("engine")) as address:
        yard = Yard(address)
        for name in API:
            yard.run(name, labels=LABELS)
        yard.run("other")
        yield yard
        yard.close()


def context_of(system: System, *, seed: int = 1, spare: frozenset[int] = frozenset()) -> Context:
    """What a run would give."""
    return Context(run="r1", system=system, tools=TOOLS, rng=random.Random(seed), spare=lambda: spare)


async def prepared(injector: Injector, system: System, target: Target = ONE, **params: Any) -> Recipe:
    """What a fault would do to a system."""
    return await injector.prepare(fault_of(injector, target, **params), context_of(system))


async def proven(injector: Injector, recipe: Recipe) -> Evidence:
    """Wait for the evidence."""
    async with asyncio.timeout(15):
        while not (evidence := await injector.verify(recipe, TOOLS)).ok:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.02)
    return evidence


@pytest.mark.parametrize(
    "where",
    [
        {"names": API},
        {"labels": ("tier=web",)},
        {"labels": ("tier", "com.docker.compose.project=shop")},
        {"compose": "shop/api"},
    ],
    ids=["names", "label", "labels", "compose"],
)
async def test_every_way_of_naming_finds_the_same_containers(yard: Yard, where: dict[str, Any]) -> None:
    """Names, labels and a Compose service lead to the three that are meant, and to no other."""
    recipe = await prepared(Pause(), yard.system(**where), Target(component="api", count=3, of=3))
    assert [box["name"] for box in recipe.data["boxes"]] == list(API)  # type: ignore[attr-defined]
    assert recipe.claims == tuple(f"docker:{yard.look(name)['Id']}:state" for name in API)


async def test_an_image_finds_what_was_made_from_it(yard: Yard) -> None:
    """An image means the containers that name it, tag and all."""
    four = Target(component="api", count=1, of=4)
    assert (await prepared(Pause(), yard.system(image=IMAGE), four)).claims
    with pytest.raises(InjectorError, match="no live instance of api"):
        await prepared(Pause(), yard.system(image="chaosrunner/box"), four)
    with pytest.raises(InjectorError, match="means 4 containers, allowed are 3"):
        await prepared(Pause(), yard.system(image=IMAGE, at_most=3), four)


async def test_a_container_that_does_not_run_is_named(yard: Yard) -> None:
    """Too few are running because one is paused: the refusal names it, and what a fault would have claimed to do so."""
    yard.api.pause("api-2")
    try:
        with pytest.raises(InjectorError, match="found 2; api-2 is paused") as refused:
            await prepared(Pause(), yard.system(names=API), Target(component="api", count=1, of=3))
    finally:
        yard.api.unpause("api-2")
    assert refused.value.claims == (f"docker:{yard.look('api-2')['Id']}:state",)


async def test_a_share_and_a_seed_decide_who_is_hit(yard: Yard) -> None:
    """30% of three is one, the same for the same seed, and each of them for some seed."""
    fault = fault_of(Pause(), Target(component="api", share=0.3))
    system = yard.system(names=API)
    drawn = [(await Pause().prepare(fault, context_of(system, seed=seed))).claims for seed in range(12)]
    again = [(await Pause().prepare(fault, context_of(system, seed=seed))).claims for seed in range(12)]
    assert drawn == again
    assert {len(claims) for claims in drawn} == {1}
    assert len(set(drawn)) == 3


async def test_a_protected_container_is_refused(yard: Yard) -> None:
    """A label on one of the containers forbids the selection, whichever would be drawn; `false` does not."""
    yard.run("vault", labels={"chaosrunner.protect": "true"})
    yard.run("open", labels={"chaosrunner.protect": "false"})
    try:
        with pytest.raises(InjectorError, match=r"vault is protected by its label chaosrunner\.protect"):
            await prepared(Pause(), yard.system(names=("api-1", "vault")), Target(component="api", count=1, of=2))
        assert await prepared(Pause(), yard.system(names=("open",)))
    finally:
        yard.remove("vault", "open")


@pytest.mark.parametrize(
    ("protect", "met"),
    [
        (
            Protections(names=(Pattern(text="api-*", file="shop.yaml", line=7),)),
            "api-1 is protected by its name 'api-1'",
        ),
        (
            Protections(labels=(Pattern(text="tier=web", file="shop.yaml", line=7),)),
            "by its label 'tier=web': shop.yaml:7",
        ),
    ],
)
async def test_a_container_is_protected_by_the_owners_rules(yard: Yard, protect: Protections, met: str) -> None:
    """A name or label in the rules refuses every selection with such a container, and names the rule."""
    context = replace(context_of(yard.system(names=API)), rules=(Rules(), Rules(protect=protect)))
    with pytest.raises(InjectorError, match=met):
        await Pause().prepare(fault_of(Pause(), Target(component="api", count=1, of=3)), context)


async def test_who_shares_the_network_of_a_protected_container_is_refused(yard: Yard) -> None:
    """A sidecar is hit with the container whose network it has joined, so its protection holds for both."""
    yard.run("sidecar", labels={"tier": "critical"}, host={"network_mode": "container:other"})
    critical = Protections(labels=(Pattern(text="tier=critical", file="shop.yaml", line=7),))
    try:
        context = replace(context_of(yard.system(names=("other",))), rules=(Rules(protect=critical),))
        with pytest.raises(InjectorError, match=r"other shares its network: sidecar is protected by its label 'tier="):
            await Reject().prepare(fault_of(Reject(), ONE), context)
    finally:
        yard.remove("sidecar")


@pytest.mark.parametrize("what", ["names", "labels"])
async def test_a_process_in_a_container_is_refused_where_containers_are_protected(yard: Yard, what: str) -> None:
    """A process says neither name nor labels of its container, so a rule about them is not got round by its pid."""
    component = Component(name="api", processes=Processes(pids=(yard.pid("api-1"),)))
    context = context_of(System(name="s", file="s.yaml", components={"api": component}))
    assert (await PauseProcess().prepare(fault_of(PauseProcess(), ONE), context)).claims
    protect = Protections(**{what: (Pattern(text="api-*", file="shop.yaml", line=7),)})
    with pytest.raises(InjectorError, match=r"runs in container .* some are protected: shop.yaml:7: 'api-\*'"):
        await PauseProcess().prepare(fault_of(PauseProcess(), ONE), replace(context, rules=(Rules(protect=protect),)))


async def test_the_container_of_the_runner_is_refused(yard: Yard) -> None:
    """A container in which a process lives that is ours is never touched."""
    spare = frozenset({yard.pid("api-1")})
    system = yard.system(names=("api-1",))
    with pytest.raises(InjectorError, match=r"api-1 is where chaosrunner itself runs"):
        await Pause().prepare(fault_of(Pause(), ONE), context_of(system, spare=spare))


async def test_an_engine_that_is_not_there_is_said() -> None:
    """No engine at the address is an error that names it."""
    component = Yard.component("unix:///nonexistent/sock", names=("api-1",))
    system = System(name="s", file="s.yaml", components={"api": component})
    with pytest.raises(InjectorError, match="no Docker engine answers at unix:///nonexistent/sock"):
        await prepared(Pause(), system)
    with pytest.raises(InjectorError, match="api has no 'containers'"):
        await prepared(Pause(), System(name="s", file="s.yaml", components={"api": Component(name="api")}))


async def test_without_the_hosts_pids_a_crash_is_refused(yard: Yard) -> None:
    """Where the engine's pids are not ours to see, plan says so and what to do."""
    from fault_injectors.docker_aim import box_of, host_process

    seen = yard.look("api-1")
    seen["State"]["Pid"] = os.getpid()  # a process of this host, but not of that container
    with pytest.raises(InjectorError, match="is not to be seen here") as caught:
        host_process(box_of(seen))
    assert "pid: host" in caught.value.advice


async def test_a_crash_fires_the_restart_policy_and_a_kill_does_not(yard: Yard) -> None:
    """Killed behind the engine's back a container comes back by itself; killed by the engine it waits for us."""
    system = yard.system(names=("api-1",))
    crash = await prepared(Crash(), system, comes_back="by itself")
    assert "restart policy: always" in crash.says
    before = yard.look("api-1")
    await Crash().inject(crash, TOOLS)
    await proven(Crash(), crash)
    await yard.all_run("api-1")
    assert yard.look("api-1")["RestartCount"] == before["RestartCount"] + 1

    kill = await prepared(Kill(), system, then="start it")
    await Kill().inject(kill, TOOLS)
    assert "exited (137)" in (await proven(Kill(), kill)).says
    await asyncio.sleep(0.3)  # longer than the engine waits before its first restart: what is absent cannot be awaited
    assert yard.look("api-1")["State"]["Status"] == "exited"
    await Kill().undo(kill, TOOLS)
    assert (await Kill().absent(kill, TOOLS)).ok
    await yard.all_run("api-1")


async def test_a_stop_asks_first(yard: Yard) -> None:
    """A container that heeds SIGTERM exits with 0 within its grace."""
    recipe = await prepared(Stop(), yard.system(names=("api-1",)), grace=5.0)
    await Stop().inject(recipe, TOOLS)
    assert "exited (0)" in (await proven(Stop(), recipe)).says
    await Stop().undo(recipe, TOOLS)
    await yard.all_run("api-1")


@pytest.mark.parametrize("kind", [Stop, Restart])
def test_a_grace_that_is_too_long_is_refused(kind: type[Any]) -> None:
    """A heal would not wait for it, so it is no parameter."""
    with pytest.raises(ValueError, match="at most 20 s"):
        kind.Params(grace=60.0)


async def test_what_a_start_would_not_bring_back_is_refused(yard: Yard) -> None:
    """A container with --rm, or one whose published port changes with each start, is not killed."""
    yard.run("brief", host={"auto_remove": True, "restart_policy": None})
    yard.run("moving", ports=[80], host={"port_bindings": {80: ("127.0.0.1", None)}})
    try:
        with pytest.raises(InjectorError, match="started with --rm"):
            await prepared(Kill(), yard.system(names=("brief",)), then="start it")
        for kind, params in ((Stop, {}), (Disconnect, {})):
            with pytest.raises(InjectorError, match="publishes 80/tcp on a port that the engine chooses anew"):
                await prepared(kind(), yard.system(names=("moving",)), **params)
    finally:
        yard.remove("brief", "moving")


async def test_a_disconnected_container_comes_back_with_all_it_had(yard: Yard) -> None:
    """Off its network nobody reaches it; afterwards it has its address, alias and links, though others joined."""
    end = yard.api.create_endpoint_config(aliases=["second", "2nd"], links={"other": "neighbour"})
    yard.run("linked", networking_config={"EndpointsConfig": {"yard": end}})
    before = yard.all_of("linked")
    assert before["networks"]["yard"][1:] == (["2nd", "second"], ["other:neighbour"])
    recipe = await prepared(Disconnect(), yard.system(names=("linked",)))
    yard.remove("api-3")  # the lowest free address is now another one
    try:
        await Disconnect().inject(recipe, TOOLS)
        await proven(Disconnect(), recipe)
        assert not yard.look("linked")["NetworkSettings"]["Networks"]
        await Disconnect().undo(recipe, TOOLS)
        assert (await Disconnect().absent(recipe, TOOLS)).says.endswith("is on yard as before")
        assert yard.all_of("linked") == before
        assert await yard.call("linked")
    finally:
        yard.remove("linked")
        yard.run("api-3", labels=LABELS)


async def test_an_address_that_the_engine_cannot_promise_is_said(yard: Yard) -> None:
    """On a network whose subnet the engine chose, the address may be another one, and the end says so."""
    network = yard.api.create_network("loose", driver="bridge")["Id"]
    for name in ("first", "second"):
        yard.run(name, host={"network_mode": "loose"})
    recipe = await prepared(Disconnect(), yard.system(names=("second",)))
    try:
        await Disconnect().inject(recipe, TOOLS)
        await proven(Disconnect(), recipe)
        yard.remove("first")
        await Disconnect().undo(recipe, TOOLS)
        absent = await Disconnect().absent(recipe, TOOLS)
        assert absent.ok
        assert "on loose now, was" in absent.says
    finally:
        yard.remove("second")
        yard.api.remove_network(network)


async def test_what_shares_a_network_is_refused(yard: Yard) -> None:
    """The host's network, or that of another container, is never entered; nor is there anything to disconnect."""
    yard.run("hosted", host={"network_mode": "host"})
    yard.run("beside", host={"network_mode": f"container:{yard.look('other')['Id']}"})
    try:
        for name in ("hosted", "beside"):
            with pytest.raises(InjectorError, match="shares its network"):
                await prepared(Drop(), yard.system(names=(name,)))
            with pytest.raises(InjectorError, match="has no network of its own"):
                await prepared(Disconnect(), yard.system(names=(name,)))
    finally:
        yard.remove("beside", "hosted")


async def test_users_feel_what_becomes_of_packets(yard: Yard) -> None:
    """Swallowed packets make a caller wait, refused ones fail at once; each is counted, and gone afterwards."""
    system, before = yard.system(names=("api-1",)), yard.tables("api-1")
    for kind, feels in ((Drop, TimeoutError), (Reject, ConnectionRefusedError)):
        recipe = await prepared(kind(), system, port=80)
        await kind().inject(recipe, TOOLS)
        try:
            with pytest.raises(feels):
                await _connect(yard, "api-1")
            evidence = await proven(kind(), recipe)
            assert "counted by the kernel" in evidence.says
        finally:
            await kind().undo(recipe, TOOLS)
        assert yard.tables("api-1") == before
        assert await yard.call("api-1")


async def test_a_share_of_packets_is_lost(yard: Yard) -> None:
    """Of 300 datagrams, about as many get lost as were asked for (30%, five standard deviations)."""
    recipe = await prepared(Loss(), yard.system(names=("api-1",)), share=0.3, direction="in", port=9)
    await Loss().inject(recipe, TOOLS)
    try:
        loop = asyncio.get_running_loop()
        place = (next(iter(yard.look("api-1")["NetworkSettings"]["Networks"].values()))["IPAddress"], 9)
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=place)
        for _ in range(300):
            transport.sendto(b"x")
        await proven(Loss(), recipe)
        [lost] = (await Loss().verify(recipe, TOOLS)).data.values()
        transport.close()
        assert 50 <= int(str(lost)) <= 130
    finally:
        await Loss().undo(recipe, TOOLS)


async def test_the_kernel_ends_it_when_nobody_does(yard: Yard) -> None:
    """A container is reachable again after the time that its table holds, though nobody has undone anything."""
    recipe = await prepared(Drop(), yard.system(names=("api-1",)))
    tables: Any = recipe.data["tables"]
    hurried = {pid: table.replace("timeout 30s", "timeout 2s") for pid, table in tables.items()}
    assert hurried != tables
    recipe = Recipe(injector=recipe.injector, says="", data={**recipe.data, "tables": hurried}, claims=())
    await Drop().inject(recipe, TOOLS)
    try:
        assert not await yard.call("api-1")
        async with asyncio.timeout(10):
            while not await yard.call("api-1"):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.05)
        [left] = await Drop().scan(yard.system(names=API), TOOLS)
        assert left.data["table"] == "chaosrunner/r1/0"
    finally:
        await Drop().undo(left, TOOLS)
    assert await Drop().scan(yard.system(names=API), TOOLS) == []


async def test_a_limited_container_sends_slower(yard: Yard) -> None:
    """What a container sends waits at the limit, and a limit of somebody else's is not replaced."""
    recipe = await prepared(Bandwidth(), yard.system(names=("api-1",)), rate=2000.0)
    await Bandwidth().inject(recipe, TOOLS)
    try:
        for _ in range(40):
            await _connect_quietly(yard, "api-1")
        assert "packets waited" in (await proven(Bandwidth(), recipe)).says
        with pytest.raises(InjectorError, match="has a tbf at eth0 already"):
            await prepared(Bandwidth(), yard.system(names=("api-1",)), rate=5000.0)
        [left] = await Bandwidth().scan(yard.system(names=API), TOOLS)
    finally:
        await Bandwidth().undo(recipe, TOOLS)
    assert (left.claims, left.data["interfaces"]) == (recipe.claims, recipe.data["interfaces"])
    assert await Bandwidth().scan(yard.system(names=API), TOOLS) == []
    assert yard.all_of("api-1")["queues"] == []


async def test_a_limit_that_somebody_changed_is_left_alone(yard: Yard) -> None:
    """After `docker update` the quota is the owner's: undo does not write the old one over it."""
    recipe = await prepared(Cpu(), yard.system(names=("api-2",)), cores=0.3)
    await Cpu().inject(recipe, TOOLS)
    assert (await Cpu().absent(recipe, TOOLS)).ok is False
    yard.api.update_container("api-2", cpu_quota=70_000)
    now = yard.limits("api-2")
    await Cpu().undo(recipe, TOOLS)
    assert (await Cpu().absent(recipe, TOOLS)).ok
    assert yard.limits("api-2") == now
    yard.again(["api-2"], labels=LABELS)


async def test_memory_that_is_in_use_is_not_taken(yard: Yard) -> None:
    """A limit below what a container cannot do without would kill it at once, and is refused."""
    greedy = yard.api.exec_create("other", ["sh", "-c", "/bin/busybox dd if=/dev/zero bs=20M count=1 | sleep 3"])
    yard.api.exec_start(greedy["Id"], detach=True)
    assert "it would be killed at once" in await _refusal(yard.system(names=("other",)))


async def test_a_full_directory_takes_no_more(yard: Yard) -> None:
    """A /tmp of 2 MiB is filled to its floor: an ordinary write fails; afterwards there is as much room as before."""
    yard.run("small", host={"tmpfs": {"/tmp": "size=2m"}})
    try:
        recipe = await prepared(Fill(), yard.system(names=("small",)), at_most=10**9, leave=8192)
        await Fill().inject(recipe, TOOLS)
        assert "and is full" in (await proven(Fill(), recipe)).says
        assert _write_32k(yard, "small") != 0
        with pytest.raises(InjectorError, match="less than 64,000,000 bytes left"):
            await prepared(Fill(), yard.system(names=("small",)), at_most=10**9)
        [left] = await Fill().scan(yard.system(names=("small", "api-1")), TOOLS)
        await Fill().undo(left, TOOLS)
        assert yard.files("small") == []
        assert await Fill().scan(yard.system(names=("small",)), TOOLS) == []
        assert _write_32k(yard, "small") == 0
    finally:
        yard.remove("small")


async def test_a_link_out_of_the_container_is_not_followed(yard: Yard) -> None:
    """A directory that is a link is refused: an absolute one would lead to the host."""
    made = yard.api.exec_create("api-1", ["/bin/busybox", "ln", "-sf", "/etc", "/tmp/out"])
    yard.api.exec_start(made["Id"])
    try:
        with pytest.raises(InjectorError, match="'out' is a link or no directory"):
            await prepared(Fill(), yard.system(names=("api-1",)), at_most=1000, path="/tmp/out")
        with pytest.raises(InjectorError, match="has no directory /nowhere"):
            await prepared(Fill(), yard.system(names=("api-1",)), at_most=1000, path="/nowhere")
    finally:
        gone = yard.api.exec_create("api-1", ["/bin/busybox", "rm", "/tmp/out"])
        yard.api.exec_start(gone["Id"])


async def test_a_volume_is_not_filled(yard: Yard) -> None:
    """A volume outlives its container, and so would our file."""
    yard.run("kept", volumes=["/data"])
    try:
        with pytest.raises(InjectorError, match=r"/data of kept .* is a volume"):
            await prepared(Fill(), yard.system(names=("kept",)), at_most=1000, path="/data")
    finally:
        yard.remove("kept")


async def test_a_file_is_found_again_after_a_restart(yard: Yard) -> None:
    """A container that was started anew has kept our file in its layer, and undo removes it there."""
    recipe = await prepared(Fill(), yard.system(names=("api-1",)), at_most=100_000)
    await Fill().inject(recipe, TOOLS)
    yard.api.kill("api-1")
    with pytest.raises(InjectorError, match="does not run"):
        await Fill().undo(recipe, TOOLS)
    yard.api.start("api-1")
    assert yard.files("api-1") == ["chaosrunner-r1-0"]
    await Fill().undo(recipe, TOOLS)
    assert yard.files("api-1") == []
    await yard.all_run("api-1")


async def test_only_what_matches_is_killed_inside(yard: Yard) -> None:
    """A worker dies and the container lives; a pattern that matches nothing, or too much, is refused."""
    system = yard.system(names=("api-1",))
    said = {"comes_back": "by itself"}
    with pytest.raises(InjectorError, match=r"no process in api-1 .* matches 'nosuch'"):
        await prepared(KillInside(), system, command="nosuch", **said)
    with pytest.raises(InjectorError, match="allowed are 1"):
        await prepared(KillInside(), system, command=".", **said)
    pid = yard.pid("api-1")
    recipe = await prepared(KillInside(), system, command="sleep 98765", **said)
    await KillInside().inject(recipe, TOOLS)
    await proven(KillInside(), recipe)
    assert not yard.has_worker("api-1")
    assert yard.pid("api-1") == pid
    yard.again(["api-1"], labels=LABELS)


async def test_a_paused_container_is_found_without_a_journal(yard: Yard) -> None:
    """The scan of a system finds what is frozen, and its recipe thaws it; a frozen one is no target."""
    recipe = await prepared(Pause(), yard.system(names=("api-3",)))
    await Pause().inject(recipe, TOOLS)
    with pytest.raises(InjectorError, match="no live instance"):
        await prepared(Pause(), yard.system(names=("api-3",)))
    [found] = await Pause().scan(yard.system(names=API), TOOLS)
    await Pause().undo(found, TOOLS)
    assert (await Pause().absent(recipe, TOOLS)).ok
    assert yard.look("api-3")["State"]["Status"] == "running"


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        (Loss, {"share": 1.0}),
        (Drop, {"port": 70_000}),
        (Bandwidth, {"rate": 10.0}),
        (Cpu, {"cores": 0.0}),
        (Memory, {"limit": 1000}),
        (Fill, {"at_most": 0}),
        (Fill, {"at_most": 1, "path": "../etc"}),
        (KillInside, {"command": "(", "comes_back": "by itself"}),
        (KillInside, {"command": "", "comes_back": "by itself"}),
    ],
)
def test_senseless_parameters_are_refused(kind: type[Any], params: dict[str, Any]) -> None:
    """What would do nothing, or nonsense, is a mistake in the file."""
    with pytest.raises(ValueError, match="'"):
        kind.Params(**params)


async def _connect(yard: Yard, name: str) -> None:
    address = next(iter(yard.look(name)["NetworkSettings"]["Networks"].values()))["IPAddress"]
    async with asyncio.timeout(0.5):
        _, writer = await asyncio.open_connection(address, 80)
        writer.transport.abort()


async def _connect_quietly(yard: Yard, name: str) -> None:
    try:
        await _connect(yard, name)
    except (OSError, TimeoutError):
        return


def _write_32k(yard: Yard, name: str) -> int:
    """The exit code of an ordinary program in the container that writes 32 KiB to /tmp."""
    made = yard.api.exec_create(name, ["/bin/busybox", "dd", "if=/dev/zero", "of=/tmp/w", "bs=32k", "count=1"])
    yard.api.exec_start(made["Id"])
    removed = yard.api.exec_create(name, ["/bin/busybox", "rm", "-f", "/tmp/w"])
    yard.api.exec_start(removed["Id"])
    return int(yard.api.exec_inspect(made["Id"])["ExitCode"])


async def _refusal(system: System) -> str:
    """What a memory limit of 8 MiB is refused with, once the container uses more."""
    async with asyncio.timeout(10):
        while True:
            try:
                await prepared(Memory(), system, limit=8_388_608)
            except InjectorError as error:
                return str(error)
            await asyncio.sleep(0.02)
