"""What the parser's tests stand on: files in memory, faults with every kind of parameter, and one good experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from chaosrunner.errors import InjectorError, Mistakes
from chaosrunner.logic.parse import Around, load_experiment, load_system
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Injector, Recipe, Tools
from chaosrunner.model.http_client import Tls
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import System
from chaosrunner.model.units import Bytes, BytesPerSecond, Seconds, Share

SYSTEM = """\
environment: test
entry: http://127.0.0.1:8080
fault_proxy: http://127.0.0.1:8474
api:
  processes: {ports: [8081, 8082, 8083]}
  proxies: [api-1, api-2, api-3]
workers:
  processes: {command: worker, at_most: 4}
database:
  dsn: postgresql://app@127.0.0.1:5432/shop
  admin: postgresql://postgres:${file:/run/secrets/admin}@127.0.0.1:5432/shop
  proxies: [database]
cache: {at: "127.0.0.1:6379"}
vault:
  proxies: [vault]
protect: [vault]
"""

EXPERIMENT = """\
question: Do users keep working?
system: shop
load:
  each_user:
    - log in: {POST: /login, body: {user: <user>}, keep: {token: $.token}}
    - read: {GET: /agents/<token>}
  auth: bearer <token>
  data: users.csv
  arrivals: 5 to 25 users/s over 6s, then hold
baseline: 15s
faults:
  - proxy.latency: {target: database, add: 200ms}
    for: 12s
hypothesis:
  before: [p95 <= 250ms]
  during: [p95 <= 2x baseline, errors of log in < 5% in any 5s]
  after: [errors < 1%]
recover: within 20s, hold 10s
abort: errors > 60% for 10s
"""

USERS = "user,password\nann,secret\nbob,hunter2\n"


class Fake:
    """The whole protocol, doing nothing; subclasses say what they are called and need."""

    name: ClassVar[str] = "noop"
    about: ClassVar[str] = "Does nothing."
    needs: ClassVar[tuple[str, ...]] = ()
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "target"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Nothing to say."""

    def available(self) -> Availability:
        return Availability(ok=True)

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        return Recipe(injector=self.name, says="nothing", data={}, claims=())

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        pass

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        return Evidence(ok=True, says="nothing")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        pass

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        return Evidence(ok=True, says="nothing")


class Latency(Fake):
    name: ClassVar[str] = "proxy.latency"
    needs: ClassVar[tuple[str, ...]] = ("proxies",)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Two units."""

        add: Seconds = field(metadata={"help": "How much."})
        jitter: Seconds = field(default=Seconds(0.0))
        share: Share = field(default=Share(1.0))


class Kill(Fake):
    name: ClassVar[str] = "process.kill"
    needs: ClassVar[tuple[str, ...]] = ("processes",)
    reversible: ClassVar[bool] = False

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """What a fault without undo must say."""

        comes_back: Literal["by itself"]


class Pool(Fake):
    name: ClassVar[str] = "postgres.pool"
    needs: ClassVar[tuple[str, ...]] = ("dsn", "admin")


class Everything(Fake):
    """One parameter of each type that a file can write, and one that it cannot."""

    name: ClassVar[str] = "test.everything"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """A field of each type."""

        rate: BytesPerSecond = field(default=BytesPerSecond(1000.0))
        size: Bytes = field(default=Bytes(64))
        count: int = 3
        factor: float = 1.5
        word: str = ""
        on: bool = False
        level: Literal[1, 2] = 1
        maybe: Seconds | None = None
        key: Secret | None = None
        strange: list[str] | None = None

        def __post_init__(self) -> None:
            if self.count == 13:
                raise ValueError("13 brings bad luck")


class Signal(Fake):
    """A choice with a default."""

    name: ClassVar[str] = "test.signal"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """The choice."""

        signal: Literal["KILL", "TERM"] = "KILL"


INJECTORS: dict[str, Injector] = {made.name: made for made in (Fake(), Latency(), Kill(), Pool(), Everything())}


def find(name: str) -> Injector | None:
    """As the registry does it: broken ones raise."""
    if name == "test.broken":
        raise InjectorError("'test.broken' is installed, which fails")
    return INJECTORS.get(name)


@dataclass(slots=True)
class Memory:
    """Files in memory; the value None stands for a file that is no text."""

    files: dict[str, str | None]
    asked: list[str] = field(default_factory=list)

    def text(self, path: Path) -> str:
        self.asked.append(str(path))
        if str(path) not in self.files:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        found = self.files[str(path)]
        if found is None:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return found

    def names(self, folder: Path) -> list[str]:
        return [Path(name).name for name in self.files if Path(name).parent == folder]

    def refused(self, tls: Tls) -> tuple[str, str]:
        locked = "LOCKED" in (self.files.get(tls.certificate) or "") and tls.password != "geheim"
        return ("certificate", "its key is locked") if locked else ("", "")


def around(
    files: dict[str, str | None] | None = None, *, environ: dict[str, str] | None = None, lenient: bool = False
) -> Around:
    """What a file is read against: the good files with `files` put over them."""
    good: dict[str, str | None] = {"x/e.yaml": EXPERIMENT, "x/systems/shop.yaml": SYSTEM, "x/users.csv": USERS}
    return Around(
        environ=environ or {},
        injectors=find,
        injector_names=[*INJECTORS, "test.broken"],
        reader=Memory({**good, **(files or {})}),
        lenient=lenient,
    )


def changed(text: str, *changes: tuple[str, str]) -> str:
    """A text with pieces replaced; each must be there."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def read(text: str, environ: dict[str, str] | None = None, **files: str | None) -> Experiment:
    """The experiment of a text beside the good system; `system` and `users` replace the other files."""
    return load_experiment(Path("x/e.yaml"), _with(text, environ, files))


def wrong(text: str, environ: dict[str, str] | None = None, **files: str | None) -> list[str]:
    """The mistakes of an experiment, without the file's name."""
    with pytest.raises(Mistakes) as caught:
        read(text, environ, **files)
    return [str(mistake).removeprefix("x/e.yaml:") for mistake in caught.value.mistakes]


def read_changed(*changes: tuple[str, str]) -> Experiment:
    """The good experiment with pieces replaced."""
    return read(changed(EXPERIMENT, *changes))


def wrong_changed(*changes: tuple[str, str]) -> list[str]:
    """The mistakes of the good experiment with pieces replaced."""
    return wrong(changed(EXPERIMENT, *changes))


def read_system(text: str, environ: dict[str, str] | None = None) -> System:
    """The system of a text."""
    return load_system(Path("x/systems/shop.yaml"), around({"x/systems/shop.yaml": text}, environ=environ))


def wrong_system(text: str, environ: dict[str, str] | None = None) -> list[str]:
    """The mistakes of a system, without the file's name."""
    with pytest.raises(Mistakes) as caught:
        read_system(text, environ)
    return [str(mistake).removeprefix("x/systems/shop.yaml:") for mistake in caught.value.mistakes]


def _with(text: str, environ: dict[str, str] | None, files: dict[str, str | None]) -> Around:
    places = {"system": "x/systems/shop.yaml", "users": "x/users.csv"}
    return around({"x/e.yaml": text, **{places[name]: content for name, content in files.items()}}, environ=environ)
