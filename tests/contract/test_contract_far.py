"""Faults on another host keep the laws, by a real sshd; and what nobody can reach any more ends by itself."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from far_rig import FarHost, becomes, far_host, pids_of, states_of

from chaosrunner.contract import Bench, InjectorContract, none_created
from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Fault, Target
from chaosrunner.model.system import Component, Processes, System
from chaosrunner.world.far import SSH_VARIABLE, Reaching
from chaosrunner.world.hand import GRACE_S
from chaosrunner.world.machine import machine
from fault_injectors.process import Pause
from fault_injectors.resources import Cpu

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root


class FarPause(Reaching):
    """`process.pause`, wherever its target is."""

    def __init__(self) -> None:
        super().__init__(Pause())


class FarCpu(Reaching):
    """`resources.cpu`, on whatever host."""

    def __init__(self) -> None:
        super().__init__(Cpu())


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarHost]:
    """One host for all."""
    with far_host(tmp_path_factory.mktemp("far")) as host:
        yield host


@pytest.fixture
def mark(host: FarHost) -> Iterator[str]:
    """A process there, by the mark on its command line."""
    mark = f"mark-{secrets.token_hex(4)}"
    host.start(mark)
    yield mark
    host.call(f"pkill -KILL -f '{mark[:-1]}[{mark[-1]}]' || true")


@pytest.fixture
def bench(host: FarHost, mark: str, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Of the process there."""
    monkeypatch.setenv(SSH_VARIABLE, f"ssh -F {host.directory}/client")
    injector: Any = FarPause()

    async def observe() -> object:
        return states_of(mark)

    async def bystanders() -> object:
        return len(pids_of(mark))

    async def replace_it() -> None:
        host.call(f"pkill -KILL -f '{mark[:-1]}[{mark[-1]}]' || true")
        host.start(mark)

    component = Component(name="far", host=host.name, processes=Processes(command=mark, at_most=1))
    return Bench(
        injector=injector,
        fault=Fault(
            index=0, injector="process.pause", target=Target(component="far"), params=Pause.Params(), for_s=20.0
        ),
        system=System(name="bench", file="bench.yaml", components={"far": component}),
        observe=observe,
        bystanders=bystanders,
        created=none_created,
        replace=replace_it,
    )


class TestFarPause(InjectorContract):
    """A process on another host, stopped and continued."""


async def test_what_nobody_can_reach_any_more_ends_by_itself(bench: Bench, host: FarHost, mark: str) -> None:
    """With the connection cut for good, the fault is undone over there when its time and a grace are over."""
    short = replace(bench, fault=replace(bench.fault, for_s=1.0))
    recipe = await short.prepared()
    await short.injector.inject(recipe, short.tools)
    await becomes(mark, ["T"], 5.0)
    host.cut(off=True)
    try:
        with pytest.raises(InjectorError, match="cannot be reached by ssh"):
            await short.injector.undo(recipe, short.tools)
        assert states_of(mark) == ["T"]
        await becomes(mark, ["S"], GRACE_S + 10.0)
    finally:
        host.cut(off=False)
    await short.undone(recipe)


async def test_what_acts_on_whole_hosts_acts_there(bench: Bench, host: FarHost) -> None:
    """A burner of `resources.cpu` runs over there, in its process namespace, while the fault lasts."""
    injector: Any = FarCpu()
    fault = Fault(
        index=1, injector="resources.cpu", target=Target(component="far"), params=Cpu.Params(load=0.3, cores=1)
    )
    burning = replace(bench, injector=injector, fault=fault)
    async with burning.in_effect():
        assert "fault_injectors.resources_holder" in host.call("ps ax")
    assert "fault_injectors.resources_holder" not in host.call("ps ax")


async def test_two_names_of_a_host_are_one_machine(
    bench: Bench, host: FarHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process is claimed by the machine it is on, so that an alias of ssh and a full address exclude each other."""
    known = (host.directory / "client").read_text()
    (tmp_path / "client").write_text(f"{known}Host twin\n  HostName {host.address}\n  User root\n  Port 2022\n")
    monkeypatch.setenv(SSH_VARIABLE, f"ssh -F {tmp_path}/client")
    component = replace(bench.system.components["far"], host=f"ssh://twin{host.name.partition(':2022')[2]}")
    twin = replace(bench, system=replace(bench.system, components={"far": component}))
    first, second = await bench.prepared(), await twin.prepared()
    assert first.claims == second.claims
    assert first.claims[0].startswith("machine:")
    assert machine() not in first.claims[0]


async def test_an_inject_that_comes_after_its_undo_is_refused(bench: Bench, mark: str) -> None:
    """An order that was on its way while it was undone does nothing when it arrives."""
    recipe = await bench.prepared()
    await bench.injector.undo(recipe, bench.tools)
    with pytest.raises(InjectorError, match="undone before"):
        await bench.injector.inject(recipe, bench.tools)
    assert states_of(mark) == ["S"]


@pytest.mark.parametrize(
    ("path", "port", "said"),
    [("/nowhere/chaosrunner", "", "there is no chaosrunner on"), ("", ":1", "cannot be reached by ssh")],
    ids=["not installed", "no sshd"],
)
async def test_a_host_that_cannot_obey_is_said(bench: Bench, host: FarHost, path: str, port: str, said: str) -> None:
    """Who has no chaosrunner, or no sshd, is refused before anything is touched."""
    place = f"ssh://root@{host.address}{port or ':2022'}{path}"
    component = replace(bench.system.components["far"], host=place)
    system = replace(bench.system, components={"far": component})
    with pytest.raises(InjectorError, match=said):
        await replace(bench, system=system).prepared()


@pytest.mark.parametrize("ssh", ["/nowhere/ssh -v", "ssh 'unfinished"])
async def test_an_ssh_that_is_not_there_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch, ssh: str) -> None:
    """Without an ssh that can be started, what to do about it is said."""
    monkeypatch.setenv(SSH_VARIABLE, ssh)
    with pytest.raises(InjectorError, match=f"cannot be started .*install ssh, or say which in {SSH_VARIABLE}"):
        await bench.prepared()
