"""The laws, run over every network fault in real network namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from contract_rig import fault_of, system_of
from network_rig import HERE, NETEM, WHY_NOT, Cable, cables

from chaosrunner.contract import Bench, InjectorContract, none_created
from chaosrunner.model.fault import Target
from chaosrunner.model.system import Component
from fault_injectors.network import Loss, Partition, Reject
from fault_injectors.network_dns import Dns
from fault_injectors.network_mtu import Mtu
from fault_injectors.network_netem import Duplicate, Latency, Reorder
from fault_injectors.network_reset import Reset
from fault_injectors.network_route import Route
from fault_injectors.network_shape import Bandwidth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.skipif(not HERE, reason=WHY_NOT)
ONE_OF_TWO = Target(component="api", count=1, of=2)
KINDS = [
    pytest.param(Partition, {}, id="partition"),
    pytest.param(Loss, {"share": 0.5, "peer": "10.9.0.2"}, id="loss"),
    pytest.param(Reject, {"port": 53, "way": "out"}, id="reject"),
    pytest.param(Dns, {}, id="dns"),
    pytest.param(Dns, {"answer": "nxdomain", "names": "*.shop.internal", "resolvers": "10.9.0.2"}, id="nxdomain"),
    pytest.param(Mtu, {"mtu": 1300}, id="mtu"),
    pytest.param(Route, {"peer": "10.9.0.2"}, id="route"),
    pytest.param(Bandwidth, {"rate": 20_000.0}, id="bandwidth"),
]
if NETEM:
    KINDS += [
        pytest.param(Latency, {"add": 0.1, "jitter": 0.02}, id="netem-latency"),
        pytest.param(Reorder, {"share": 0.5}, id="netem-reorder"),
        pytest.param(Duplicate, {"share": 0.5}, id="netem-duplicate"),
    ]


def bench_on(injector: Any, made: list[Cable], **params: object) -> Bench:
    """A bench whose target is the first two cables; the third is a stranger's."""
    api, stranger = made[:2], made[2]

    async def observe() -> object:
        return [cable.state(cable.name) for cable in api]

    async def bystanders() -> object:
        return [cable.state(cable.peer) for cable in api], stranger.state(stranger.name)

    async def created() -> list[str]:
        return [tag for cable in api for tag in cable.tags()]

    async def replace() -> None:
        for cable in api:
            cable.unplug()
            cable.plug()

    async def use() -> None:
        for cable in api:
            cable.talk()
            if params.get("answer") == "nxdomain":
                cable.ask("db.shop.internal", patience_s=0.3)

    return Bench(
        injector=injector,
        fault=fault_of(injector, ONE_OF_TWO, **params),
        system=system_of(Component(name="api", namespaces=tuple(cable.name for cable in api))),
        observe=observe,
        bystanders=bystanders,
        created=none_created if not getattr(injector, "tagged", True) else created,
        replace=replace,
        use=use,
    )


@pytest.mark.parametrize(("kind", "params"), KINDS)
class TestNetwork(InjectorContract):
    """Losing, refusing and narrowing packets keeps every law."""

    @pytest.fixture
    async def bench(self, kind: Any, params: dict[str, object]) -> AsyncIterator[Bench]:
        """Two namespaces, one of which is hit."""
        with cables(3) as made:
            yield bench_on(kind(), made, **params)


class TestReset(InjectorContract):
    """Resetting connections keeps every law of what has no undo."""

    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        """Two namespaces with a connection each; those of one are reset."""
        with cables(3) as made:
            api = made[:2]

            async def observe() -> object:
                return [cable.state(cable.name) for cable in api]

            async def connect() -> None:
                for cable in api:
                    cable.connect()

            await connect()
            bench = bench_on(Reset(), made)
            yield Bench(
                injector=bench.injector,
                fault=bench.fault,
                system=bench.system,
                observe=observe,
                bystanders=bench.bystanders,
                created=bench.created,
                replace=connect,
            )
