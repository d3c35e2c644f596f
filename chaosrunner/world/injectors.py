"""Injectors by name, ours and a stranger's alike, through the entry point group `chaosrunner.injectors`.

Only what is asked for is imported. What an entry point names is checked before it is used, and every problem found is
said at once, because the author is somebody else.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
import types
import typing
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from chaosrunner.errors import InjectorError, Unavailable
from chaosrunner.model import units
from chaosrunner.model.fault import Injector
from chaosrunner.model.secret import Secret
from chaosrunner.world.far import reached, reaching

if typing.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chaosrunner.logic.parse.substitute import Reference

GROUP = "chaosrunner.injectors"
WORDS = {
    units.Seconds: "duration",
    units.Share: "share",
    units.BytesPerSecond: "rate",
    units.Bytes: "size",
    float: "number",
    int: "whole number",
    str: "text",
    bool: "true or false",
    Secret: "secret",
}
"""Types a parameter may have, and what people call them; `Literal[…]` and `… | None` come on top."""
KINDS_OF_NEED = frozenset({"processes", "containers", "proxies", "namespaces", "dsn", "admin", "redis"})
_STALE = "install it again (`pip install -e .` in a checkout) so that its metadata is current"


class RealTools:
    """What injectors may use: secrets, resolved from this process's environment and files.

    A secret is resolved once and then remembered, so that a file or variable that disappears during the run cannot stop
    an undo: whoever may have to undo calls `reveal` for every secret before anything is harmed.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._known: dict[str, str] = {}

    def reveal(self, secret: Secret) -> str:
        """The value of a secret such as `postgresql://app:${DB_PASSWORD:-x}@db/shop` or `${file:/run/secrets/dsn}`.

        Raises:
            InjectorError: a variable is not set and has no default, or a file cannot be read; names it, never a value.
        """
        if secret.template not in self._known:
            self._known[secret.template] = self._resolved(secret.template)
        return self._known[secret.template]

    def _resolved(self, template: str) -> str:
        if "${" not in template:
            return template
        from chaosrunner.logic.parse.spelling import ReadingError
        from chaosrunner.logic.parse.substitute import Reference, parts

        try:
            return "".join(self._value(part) if isinstance(part, Reference) else part for part in parts(template))
        except ReadingError as error:
            raise InjectorError(f"a secret cannot be understood: {error}") from None

    def _value(self, reference: Reference) -> str:
        from chaosrunner.logic.parse.substitute import value_of

        if reference.path:
            try:
                return Path(reference.path).read_text().rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not text"
                raise InjectorError(f"secret {reference.text} cannot be read: {reason}") from None
        value = value_of(reference, self._environ)
        if value is None:
            raise InjectorError(f"secret {reference.text}: the variable {reference.name} is not set")
        return value


def names() -> list[str]:
    """The names of all installed injectors, sorted. Imports none of them."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load(name: str) -> Injector:
    """The injector of that name, imported now and checked.

    Raises:
        Unavailable: there is none (names the nearest), its module cannot be imported, the metadata is stale, or it
            breaks the protocol (names every problem).
    """
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        raise _unknown(name)
    if len({point.value for point in found}) > 1:
        raise Unavailable(f"{len(found)} packages offer '{name}': {', '.join(sorted(p.value for p in found))}")
    made = _made(found[0])
    flaws = problems(made, name=name)
    if flaws:
        raise Unavailable(f"'{name}' ({found[0].value}) is no injector: {'; '.join(flaws)}")
    assert isinstance(made, Injector)
    return reaching(made)


def find(name: str) -> Injector | None:
    """The injector of that name; None if no installed package offers it.

    Raises:
        Unavailable: it is installed, but broken.
    """
    return load(name) if name in names() else None


def scanners(used: Iterable[Injector]) -> list[Injector]:
    """The injectors that find what these have left behind: those of the same modules with a `scan`.

    What acts through a fault proxy is found by whoever scans proxies. One that cannot be loaded was not used either.
    """
    from contextlib import suppress

    used = list(used)
    modules = {type(reached(one)).__module__ for one in used}
    proxied = any("proxies" in one.needs for one in used)
    found: list[Injector] = []
    for point in entry_points(group=GROUP):
        if point.module in modules or (proxied and point.name.startswith("proxy.")):
            with suppress(Unavailable):
                found.append(load(point.name))
    return [one for one in found if hasattr(one, "scan")]


def problems(injector: object, *, name: str | None = None) -> list[str]:
    """Everything in which an object differs from the protocol `Injector`; empty when nothing does.

    Args:
        injector: an instance.
        name: what the entry point calls it.
    """
    return [*_attribute_problems(injector, name), *_method_problems(injector), *params_problems(injector)]


def params_problems(injector: object) -> list[str]:
    """What is wrong with its `Params`."""
    params = getattr(injector, "Params", None)
    if not isinstance(params, type) or not dataclasses.is_dataclass(params):
        return ["Params must be a dataclass"]
    flaws = []
    settings = getattr(params, "__dataclass_params__", None)
    if not (settings and settings.frozen):
        flaws.append("Params must be frozen")
    try:
        hints = typing.get_type_hints(params)
    except Exception as error:  # a stranger's annotations may raise anything
        return [*flaws, f"the types of Params cannot be resolved: {error}"]
    for item in dataclasses.fields(params):
        if not item.kw_only:
            flaws.append(f"Params.{item.name} must be keyword-only")
        if word(hints[item.name]) is None:
            flaws.append(f"Params.{item.name} has type {hints[item.name]}; files can write {', '.join(WORDS.values())}")
        if not item.metadata.get("help"):
            flaws.append(f"Params.{item.name} has no metadata 'help'")
    return flaws


def word(kind: object) -> str | None:
    """What people call a parameter's type: `duration`, or the values of a Literal; None if files cannot write it."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(arg for arg in typing.get_args(kind) if arg is not types.NoneType)
    if typing.get_origin(kind) is typing.Literal:
        return " | ".join(str(value) for value in typing.get_args(kind))
    return WORDS.get(kind)  # type: ignore[call-overload, no-any-return] # NewTypes and types are both keys


def _attribute_problems(injector: object, name: str | None) -> list[str]:
    kinds: dict[str, type] = {"name": str, "about": str, "needs": tuple, "reversible": bool, "guard": str}
    found: dict[str, typing.Any] = {attribute: getattr(injector, attribute, None) for attribute in kinds}
    flaws = [f"{key} must be a {kind.__name__}" for key, kind in kinds.items() if not isinstance(found[key], kind)]
    if flaws:
        return flaws
    if name is not None and found["name"] != name:
        flaws.append(f"it calls itself '{found['name']}'")
    if found["guard"] not in ("target", "runner"):
        flaws.append(f"guard is '{found['guard']}'; it must be 'target' or 'runner'")
    return flaws + [f"needs '{need}', which no system file has" for need in found["needs"] if need not in KINDS_OF_NEED]


def _method_problems(injector: object) -> list[str]:
    signatures = {
        "prepare": ("fault", "context"),
        **dict.fromkeys(("inject", "verify", "undo", "absent"), ("recipe", "tools")),
    }
    flaws = []
    if not callable(getattr(injector, "available", None)):
        flaws.append("available() is missing")
    for method, parameters in signatures.items():
        called = getattr(injector, method, None)
        if not inspect.iscoroutinefunction(called):
            flaws.append(f"async {method}({', '.join(parameters)}) is missing")
        elif len(inspect.signature(called).parameters) != len(parameters):
            flaws.append(f"{method} must take ({', '.join(parameters)})")
    return flaws


def _made(point: EntryPoint) -> object:
    try:
        return point.load()()
    except Exception as error:  # a stranger's module may raise anything
        raise Unavailable(
            f"'{point.name}' is installed as {point.value}, which fails: {type(error).__name__}: {error}", advice=_STALE
        ) from error


def _unknown(name: str) -> Unavailable:
    installed = names()
    if name in _declared():
        return Unavailable(f"'{name}' is in this checkout, but not in the installed metadata", advice=_STALE)
    if not installed:
        return Unavailable("no injector is installed, not even ours", advice=_STALE)
    near = difflib.get_close_matches(name, installed, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(installed)}"
    return Unavailable(f"'{name}' is no fault{hint}")


def _declared() -> set[str]:
    """Names in the pyproject.toml of the checkout we run from; none when we are properly installed."""
    import tomllib

    file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    try:
        project = tomllib.loads(file.read_text()).get("project", {})
    except (OSError, tomllib.TOMLDecodeError):
        return set()
    return set(project.get("entry-points", {}).get(GROUP, {})) if project.get("name") == "chaosrunner" else set()
