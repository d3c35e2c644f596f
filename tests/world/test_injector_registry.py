"""Injectors by name: what is installed, what is broken, and secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import pytest

from chaosrunner.errors import Exit, InjectorError, Unavailable
from chaosrunner.model.secret import Secret
from chaosrunner.model.units import Seconds
from chaosrunner.world import injectors
from fault_injectors.noop import Noop

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STRANGER = """
from fault_injectors.noop import Noop

class Fine(Noop):
    name = "stranger.fine"

class Misnamed(Noop):
    name = "somebody.else"

class Empty:
    pass

class Raising(Noop):
    def __init__(self):
        raise RuntimeError("no luck today")
"""


def install(folder: Path, package: str, points: Mapping[str, str]) -> None:
    """Put a distribution with entry points where Python finds it, as pip would."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[{injectors.GROUP}]\n{lines}\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's package with good and bad injectors."""
    (tmp_path / "stranger_faults.py").write_text(STRANGER)
    points = {
        f"stranger.{name.lower()}": f"stranger_faults:{name}" for name in ("Fine", "Misnamed", "Empty", "Raising")
    }
    install(tmp_path, "stranger", {**points, "stranger.gone": "stranger_module_that_is_gone:Fault"})
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_strangers_injector_is_found_beside_ours(installed: Path) -> None:
    """What another package offers is loaded by name like ours, and checked."""
    assert {"noop", "process.kill", "stranger.fine"} <= set(injectors.names())
    assert injectors.load("stranger.fine").name == "stranger.fine"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("stranger.misnamed", "it calls itself 'somebody.else'"),
        ("stranger.empty", "about must be a str.*async prepare.*Params must be a dataclass"),
        ("stranger.raising", "RuntimeError: no luck today"),
        ("stranger.gone", "ModuleNotFoundError"),
    ],
)
def test_a_strangers_broken_injector_says_everything_that_is_wrong(name: str, says: str, installed: Path) -> None:
    """A broken one is refused with exit code 2, and its author reads why."""
    with pytest.raises(Unavailable, match=says) as caught:
        injectors.load(name)
    assert caught.value.exit_code is Exit.MISTAKE
    with pytest.raises(Unavailable):
        injectors.find(name)


def test_two_packages_that_offer_the_same_name_are_refused(installed: Path) -> None:
    """Whose fault it would be is not left to chance."""
    install(installed, "rival", {"stranger.fine": "rival_faults:Fine"})
    with pytest.raises(Unavailable, match=r"2 packages offer 'stranger.fine'"):
        injectors.load("stranger.fine")


@pytest.mark.parametrize("name", ["resources.cpu", "network.mtu", "postgres.read_only"])
def test_whoever_was_used_is_scanned_for(name: str) -> None:
    """Also of injectors that reach other hosts: the scanners of what was loaded are of its own module."""
    assert name in [one.name for one in injectors.scanners([injectors.load(name)])]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """A misspelt fault is answered with the one that was probably meant, or with all there are."""
    with pytest.raises(Unavailable, match=r"'proxy.latancy' is no fault; did you mean 'proxy.latency'"):
        injectors.load("proxy.latancy")
    with pytest.raises(Unavailable, match=r"there are .*noop"):
        injectors.load("zzz")
    assert injectors.find("zzz") is None


class Strange:
    """Wrong in many ways at once."""

    name: ClassVar[str] = "strange"
    about: ClassVar[str] = "Is strange."
    needs: ClassVar[tuple[str, ...]] = ("luck",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "nobody"

    @dataclass
    class Params:
        """Not frozen, not keyword-only, of types no file can write."""

        shape: dict[str, int] = field(default_factory=dict)

    async def prepare(self, fault: object) -> None:
        """Takes too little."""

    def inject(self, recipe: object, tools: object) -> None:
        """Is not a coroutine."""


def test_every_problem_is_named_at_once() -> None:
    """Whoever writes an injector reads all that is wrong with it in one go."""
    found = injectors.problems(Strange(), name="strange")
    expected = [
        "guard is 'nobody'", "needs 'luck'", "available() is missing", "prepare must take (fault, context)",
        "async inject(recipe, tools) is missing", "async verify(recipe, tools) is missing",
        "async undo(recipe, tools) is missing", "async absent(recipe, tools) is missing", "Params must be frozen",
        "Params.shape must be keyword-only", "Params.shape has type dict", "Params.shape has no metadata 'help'",
    ]  # fmt: skip
    assert [any(problem.startswith(start) for problem in found) for start in expected] == [True] * len(expected)
    assert len(found) == len(expected)


def test_parameters_whose_types_do_not_exist_are_a_problem() -> None:
    """An annotation that cannot be resolved is said, not raised."""

    class Unresolved(Noop):
        @dataclass(frozen=True, slots=True, kw_only=True)
        class Params:
            amount: Nonexistent = 1  # type: ignore[name-defined] # noqa: F821

    [problem] = injectors.problems(Unresolved())
    assert problem.startswith("the types of Params cannot be resolved")


@pytest.mark.parametrize(
    ("kind", "word"),
    [(Seconds, "duration"), (Seconds | None, "duration"), (Literal["a", "b"], "a | b"), (str, "text"), (list, None)],
)
def test_types_have_words(kind: object, word: str | None) -> None:
    """Every type that a file can write has a word; others have none."""
    assert injectors.word(kind) == word


def test_every_installed_injector_of_ours_keeps_the_protocol() -> None:
    """All of ours load, and say a sentence about themselves."""
    for name in injectors.names():
        assert injectors.load(name).about.endswith(".")


def test_secrets_are_resolved_from_environment_and_files(tmp_path: Path) -> None:
    """A template may hold any number of references; what holds none is itself."""
    file = tmp_path / "dsn"
    file.write_text("from-file\n")
    tools = injectors.RealTools({"NAME": "from-env", "EMPTY": ""})
    template = f"a ${{NAME}} ${{MISSING:-by default}} ${{EMPTY:-}} ${{EMPTY:-else}} ${{file:{file}}} $5"
    assert tools.reveal(Secret(template)) == "a from-env by default  else from-file $5"
    assert tools.reveal(Secret("plain")) == "plain"


def test_a_secret_once_resolved_stays_known(tmp_path: Path) -> None:
    """A file that disappears during the run cannot stop an undo."""
    file = tmp_path / "dsn"
    file.write_text("value")
    tools = injectors.RealTools({})
    assert tools.reveal(Secret(f"${{file:{file}}}")) == "value"
    file.unlink()
    assert tools.reveal(Secret(f"${{file:{file}}}")) == "value"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("${MISSING}", "the variable MISSING is not set"),
        ("${file:/nonexistent/dsn}", "/nonexistent/dsn.* cannot be read: No such file"),
        ("${file:binary}", "cannot be read: not text"),
        ("${1x}", "cannot be understood"),
    ],
)
def test_a_secret_that_cannot_be_resolved_names_the_reference(
    template: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which reference, and never a value."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InjectorError, match=says):
        injectors.RealTools({"OTHER": "hush"}).reveal(Secret(template))
