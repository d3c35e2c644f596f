"""The contract itself: it lets a lawful fault pass, and notices each law that is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lawless
import pytest

from chaosrunner.contract import Bench, InjectorContract
from chaosrunner.model.fault import Fault
from chaosrunner.model.system import Component, System

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "tell-nobody"
LAWS = {
    1: InjectorContract.test_1_prepare_changes_nothing,
    2: InjectorContract.test_2_a_recipe_survives_json_and_holds_no_secret,
    3: InjectorContract.test_3_undo_restores_what_was_observed,
    4: InjectorContract.test_4_undo_twice_is_undo_once,
    5: InjectorContract.test_5_undo_without_inject_is_harmless,
    6: InjectorContract.test_6_undo_works_from_a_fresh_process,
    7: InjectorContract.test_7_a_late_inject_does_not_outlive_the_settle_time,
    8: InjectorContract.test_8_it_touches_nothing_else,
    9: InjectorContract.test_9_a_replaced_target_is_nothing_to_undo,
    10: InjectorContract.test_10_what_has_no_undo_leaves_no_debt,
    11: InjectorContract.test_11_a_runner_that_dies_leaves_nothing,
}


def bench_of(injector: lawless.Lawful, path: Path) -> Bench:
    """A file as the target."""
    at = str(path)
    lawless.write(at, {"generation": 1, "faults": {"a stranger's": True}, "bystander": 0})

    async def observe() -> object:
        state = lawless.read(at)
        return state["generation"], state["faults"]

    async def bystanders() -> object:
        return lawless.read(at)["bystander"]

    async def created() -> list[str]:
        return list(lawless.read(at)["faults"])

    async def replace() -> None:
        state = lawless.read(at)
        lawless.write(at, {**state, "generation": state["generation"] + 1, "faults": {"a stranger's": True}})

    return Bench(
        injector=injector,
        fault=Fault(index=0, injector=injector.name, target=None, params=injector.Params()),
        system=System(name="bench", file="", components={"file": Component(name="file", at=(at,))}),
        observe=observe,
        bystanders=bystanders,
        created=created,
        replace=replace,
        secrets=(SECRET,),
        patience_s=3.0,
    )


class TestLawful(InjectorContract):
    """What keeps every law passes."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """A lawful fault."""
        return bench_of(lawless.Lawful(), tmp_path / "target.json")


async def test_a_fault_that_lands_late_and_says_so_keeps_the_law(tmp_path: Path) -> None:
    """A request that a remote applies after its caller died is undone, because the settle time covers it."""
    await LAWS[7](InjectorContract(), bench_of(lawless.Late(), tmp_path / "target.json"))


@pytest.mark.parametrize(
    ("law", "kind"),
    [
        (1, lawless.Hasty),
        (2, lawless.Blabber),
        (3, lawless.Liar),
        (4, lawless.Toggle),
        (4, lawless.Stale),
        (5, lawless.Toggle),
        (6, lawless.Forgetful),
        (7, lawless.LateUnsaid),
        (8, lawless.Careless),
        (8, lawless.Anonymous),
        (9, lawless.Stubborn),
        (10, lawless.Debtor),
        (10, lawless.Liar),
        (11, lawless.Forgetful),
        (11, lawless.Liar),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_a_broken_law_is_noticed(
    law: int, kind: type[lawless.Lawful], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An injector that breaks a law fails the test of that law."""
    monkeypatch.setenv("LAWLESS_SECRET", SECRET)
    with pytest.raises((AssertionError, lawless.InjectorError)):
        await LAWS[law](InjectorContract(), bench_of(kind(), tmp_path / "target.json"))
