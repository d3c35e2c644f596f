"""The laws, run over every docker fault on a real engine with real containers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from contract_rig import fault_of
from docker_rig import Yard, running_engine

from chaosrunner.contract import Bench, InjectorContract, nothing
from chaosrunner.model.fault import Injector, Target
from fault_injectors.docker_bandwidth import Bandwidth
from fault_injectors.docker_down import Kill, Stop
from fault_injectors.docker_inside import Fill, KillInside
from fault_injectors.docker_limits import Cpu, Memory
from fault_injectors.docker_network import Disconnect
from fault_injectors.docker_packets import Drop, Loss, Reject
from fault_injectors.docker_state import Crash, Pause, Restart

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

API = ("api-1", "api-2")
STRANGER = "other"
MEGA = 1_000_000


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """One engine, and the same containers for all: each test leaves them as it found them, or new."""
    with running_engine(tmp_path_factory.mktemp("engine")) as address:
        yard = Yard(address)
        for name in (*API, STRANGER):
            yard.run(name)
        yield yard
        yard.close()


async def _bench(yard: Yard, injector: Injector, params: dict[str, Any]) -> Bench:
    await yard.all_run(*API, STRANGER)

    async def observe() -> list[Any]:
        return [yard.all_of(name) for name in API]

    async def bystanders() -> Any:
        return yard.pid(STRANGER), yard.all_of(STRANGER)

    async def created() -> list[str]:
        live = [name for name in API if yard.look(name)["State"]["Pid"]]
        return [made for name in live for made in (*yard.tables(name), *yard.files(name))]

    async def replace() -> None:
        yard.again(API)

    async def use() -> None:
        for name in API:
            if isinstance(injector, Cpu):
                yard.burn(name)
            else:
                await yard.call(name)

    traffic = isinstance(injector, Loss | Drop | Reject | Bandwidth | Cpu)
    return Bench(
        injector=injector,
        fault=fault_of(injector, Target(component="api", count=1, of=2), **params),
        system=yard.system(names=API),
        observe=observe,
        bystanders=bystanders,
        created=created,
        replace=replace,
        use=use if traffic else nothing,
    )


CASES: list[tuple[type[Injector], dict[str, Any]]] = [
    (Crash, {"comes_back": "by itself"}),
    (Restart, {"grace": 0.0}),
    (Kill, {"then": "start it"}),
    (Stop, {"grace": 0.0}),
    (Pause, {}),
    (Disconnect, {}),
    (Loss, {"share": 0.5}),
    (Drop, {}),
    (Reject, {"port": 80}),
    (Bandwidth, {"rate": 10_000.0}),
    (Cpu, {"cores": 0.2}),
    (Memory, {"limit": 64 * MEGA}),
    (Fill, {"at_most": 2 * MEGA}),
    (KillInside, {"command": "sleep 98765", "comes_back": "by itself"}),
]


class TestDocker(InjectorContract):
    """Every fault of the family keeps every law."""

    @pytest.fixture(params=CASES, ids=[case[0].name for case in CASES])
    async def bench(self, request: pytest.FixtureRequest, yard: Yard) -> Bench:
        """Two containers, one of which is hit, and one that nobody may touch."""
        kind, params = request.param
        if kind is KillInside:
            yard.again([name for name in API if not yard.has_worker(name)])  # nobody else brings it back
        return await _bench(yard, kind(), params)
