"""The hand of a runner on another host: it obeys one order, and what it injects ends by itself when its time is over.

Each fault has a folder in this host's state directory. `lock` is held while something is done about it, `undone` says
that whoever comes later must not inject any more, `gone` that it was seen to be absent; then its guard ends. A guard
that finds the deadline past undoes, whoever is still connected.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaosrunner import __version__
from chaosrunner.errors import ChaosrunnerError, InjectorError
from chaosrunner.model.fault import Context, recipe_from_json, recipe_to_json
from chaosrunner.world.far import ANSWERS_S, reached
from chaosrunner.world.injectors import RealTools, load
from chaosrunner.world.machine import machine
from chaosrunner.world.spare import family, kin
from chaosrunner.world.state_home import StateHome

if TYPE_CHECKING:
    from chaosrunner.model.fault import Fault, Injector
    from chaosrunner.model.system import System

GRACE_S = 10.0
"""A fault ends by itself this long after it should have ended."""
BUDGET_S = 120.0
FORGOTTEN_S = 86_400.0
LOOK_EVERY_S = 0.25
READY_S = 20.0
HANDS = "hands"
UNDONE, GONE, LOCK, ORDER = "undone", "gone", "lock", "order.json"


def obey(received: bytes) -> dict[str, Any]:
    """Obey an order; the answer, or `{"error": …}` when an injector refused or this is another version.

    Args:
        received: a line with the version of the runner, then its order, pickled: who can send one by ssh may run any
            command here as this user anyway.
    """
    version, _, pickled = received.partition(b"\n")
    if version != __version__.encode():
        theirs = version.decode(errors="replace") or "none"
        return {"error": f"chaosrunner {__version__} is installed there, and {theirs} here; install the same"}
    signal.alarm(int(ANSWERS_S))  # whatever hangs ends, and its lock is free
    order = pickle.loads(pickled)  # noqa: S301
    try:
        return {"machine": machine(), **asyncio.run(_obey(order))}
    except ChaosrunnerError as error:
        return {"machine": machine(), "error": str(error), "claims": getattr(error, "claims", ())}


async def _obey(order: dict[str, Any]) -> dict[str, Any]:
    match order["do"]:
        case "prepare":
            return await _prepare(order)
        case "recorded":
            return _recorded()
        case "scan":
            return await _scan(order["system"], order["names"])
        case do:
            return await _do(do, order)


async def _do(do: str, order: dict[str, Any]) -> dict[str, Any]:
    tools = RealTools()
    recipe = recipe_from_json(order["recipe"])
    injector, folder = reached(load(recipe.injector)), _folder(order["tag"])
    match do:
        case "inject":
            _sweep(folder.parent)
            with _locked(folder):
                if (folder / UNDONE).exists():
                    raise InjectorError("it was undone before its inject came")
                if recipe.reversible:
                    _guard(folder, order)
                await injector.inject(recipe, tools)
            return {}
        case "verify":
            return {"evidence": asdict(await injector.verify(recipe, tools))}
        case "undo":
            with _locked(folder):
                _mark(folder, UNDONE)
                await injector.undo(recipe, tools)
            return {}
        case "absent":
            evidence = await injector.absent(recipe, tools)
            if evidence.ok and (folder / UNDONE).exists():
                _mark(folder, GONE)
            return {"evidence": asdict(evidence)}
        case unknown:
            raise InjectorError(f"a hand does not know how to {unknown!r}")


async def _prepare(order: dict[str, Any]) -> dict[str, Any]:
    fault: Fault = order["fault"]
    injector = reached(load(fault.injector))
    here = injector.available()
    if not here.ok:
        raise InjectorError(f"{fault.injector} cannot run there: {here.why}")
    drawn: list[Any] = []
    rng = random.Random()
    rng.setstate(order["rng"])
    spared, keep = family() | frozenset(kin()), (str(StateHome.find().path), str(Path.cwd()))
    if order["ours"]["machine"] == machine():  # the runner lives here, and is not to be broken by way of ssh either
        spared, keep = spared | order["ours"]["spare"], (*keep, *order["ours"]["keep"])
    context = Context(
        **order["context"],
        tools=RealTools(),
        rng=rng,
        spare=lambda: spared,
        keep=keep,
        drawn=lambda *seen: drawn.append(seen),
    )
    recipe = await injector.prepare(fault, context)
    return {"recipe": recipe_to_json(recipe), **({"drawn": drawn[-1]} if drawn else {})}


def _recorded() -> dict[str, Any]:
    """What was to be injected here and was not seen gone, and which notes about that cannot be read.

    With the tag that is the name of its folder, and the seconds until its guard undoes it: none are left when that
    time is past, or when its guard was of another boot.
    """
    found: list[dict[str, Any]] = []
    problems: list[str] = []
    for file in sorted((StateHome.find().path / HANDS).glob(f"*/{ORDER}")):
        if (file.parent / GONE).exists():
            continue
        try:
            order = json.loads(file.read_text())
            recipe = recipe_to_json(recipe_from_json(order["recipe"]))
            guarded = order.get("machine") == machine()
            left_s = max(0.0, (order["ends_ns"] - _now_ns()) / 1e9) if guarded else 0.0
            found.append({"tag": file.parent.name, "recipe": recipe, "left_s": left_s})
        except FileNotFoundError:
            continue  # forgotten this very moment
        except Exception as error:  # whatever a torn file makes of itself, the other ones can be read
            problems.append(f"{file} cannot be read ({error}): look for {file.parent.name}, then remove its folder")
    return {"found": found, "problems": problems}


async def _scan(system: System, names: list[str]) -> dict[str, Any]:
    """What injectors find here of ours, whoever has left it, and why one of them could not look."""
    found: list[dict[str, Any]] = []
    problems: list[str] = []
    for name in names:
        try:
            if (finder := getattr(reached(load(name)), "scan", None)) is not None:
                found += [recipe_to_json(recipe) for recipe in await finder(system, RealTools())]
        except Exception as error:  # one injector that cannot look must not stop the others
            problems.append(f"{name}: {error}")
    return {"found": found, "problems": problems}


def _folder(tag: str) -> Path:
    """Where a fault's marks are; there is none until something is done about it: to look leaves nothing behind."""
    return StateHome.find().folder(HANDS) / re.sub(r"[^0-9A-Za-z_.-]", "_", tag)


def _sweep(hands: Path) -> None:
    """Forget what was gone long ago: no order about it can still be on its way."""
    for mark in hands.glob(f"*/{GONE}"):
        if time.time() - mark.stat().st_mtime > FORGOTTEN_S:
            shutil.rmtree(mark.parent, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody else does anything about this fault meanwhile. Waits; whoever holds it is ended in time."""
    folder.mkdir(parents=True, exist_ok=True)  # somebody may have tidied up
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _mark(folder: Path, name: str) -> None:
    with (folder / name).open("w") as file:
        os.fsync(file.fileno())


def _guard(folder: Path, order: dict[str, Any]) -> None:
    """Leave somebody behind who undoes when the time is over. Raises InjectorError when nobody gets ready."""
    ends_ns = _now_ns() + int((order["lasts_s"] + GRACE_S) * 1e9)
    fresh = folder / f"{ORDER}.new"
    with fresh.open("w") as file:
        json.dump({"recipe": order["recipe"], "ends_ns": ends_ns, "machine": machine()}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(folder / ORDER)  # whoever looks sees a whole order or none
    guard = subprocess.Popen(
        [sys.executable, "-m", "chaosrunner.world.hand", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    assert guard.stdout is not None
    if guard.stdout.readline() != b"ready\n":
        raise InjectorError("nobody would undo it there if the connection was lost: its guard did not get ready")
    guard.stdout.close()


def guard(place: str) -> None:
    """Wait until a fault is gone, or its time is over; then undo it, again and again, until it is absent."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    folder = Path(place)
    order = json.loads((folder / ORDER).read_text())
    recipe, tools = recipe_from_json(order["recipe"]), RealTools()
    injector = reached(load(recipe.injector))
    print("ready", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while _now_ns() < order["ends_ns"] and not (folder / GONE).exists():
        time.sleep(LOOK_EVERY_S)
    until = _now_ns() + int(BUDGET_S * 1e9)
    while _now_ns() < until and not (folder / GONE).exists():
        with _locked(folder):
            _mark(folder, UNDONE)
            if asyncio.run(_put_back(injector, recipe, tools)):
                _mark(folder, GONE)
        time.sleep(LOOK_EVERY_S)


async def _put_back(injector: Injector, recipe: Any, tools: RealTools) -> bool:
    """Undo once, and look. What hangs or fails, however it does, has not put it back, and is tried again."""
    try:
        async with asyncio.timeout(ANSWERS_S):  # whoever comes by ssh waits for our lock
            await injector.undo(recipe, tools)
            return (await injector.absent(recipe, tools)).ok is True
    except Exception:  # a stranger's injector may raise anything
        return False


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


if __name__ == "__main__":
    guard(sys.argv[1])
