"""Run the tests of the Redis faults on servers of other Debian releases: `redis_versions.py PLACE [SUITE/PACKAGE…]`.

Each server is downloaded into PLACE with all that it needs, from the mirror that apt uses here, checked by Debian's
keys, and never installed: it is started by the dynamic loader of its own release. Its first line of each part says
which version was run. The exit code is that of the first part that failed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SERVERS = ("trixie/redis-server", "trixie/valkey-server")
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
TESTS = Path(__file__).resolve().parents[1]
TRIED = (
    "contract/test_contract_redis.py",
    "contract/test_contract_redis_tls.py",
    "fault_injectors/test_redis_faults.py",
)


def server(place: Path, suite: str, package: str) -> Path:
    """A program that is the server of this package; downloaded if it is not there."""
    folder = place / f"{suite}-{package}"
    program = folder / "run"
    if not program.exists():
        print(f"downloading {package} of {suite} into {place} (once)", file=sys.stderr)
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place) as fresh:
            unpacked = Path(fresh) / "unpacked"
            _unpack(Path(fresh), unpacked, suite, package)
            _write_start(unpacked, folder.resolve(), package)
            shutil.rmtree(folder, ignore_errors=True)
            unpacked.rename(folder)
    return program


def _unpack(fresh: Path, unpacked: Path, suite: str, package: str) -> None:
    """The package and all that it depends on, as if nothing were installed."""
    for name in ("lists/partial", "archives/partial", "debs"):
        (fresh / name).mkdir(parents=True)
    (fresh / "status").touch()
    (fresh / "sources.list").write_text(f"deb [signed-by={KEYS}] {mirror()} {suite} main\n")
    own = {
        "Dir::Etc::SourceList": fresh / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": fresh / "lists",
        "Dir::State::Status": fresh / "status",
        "Dir::Cache": fresh,
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in own.items() for word in ("-o", f"{name}={value}")]

    def apt(*words: str) -> str:
        command = ["apt-get", "-qq", *options, *words]
        return subprocess.run(command, cwd=fresh / "debs", stdout=subprocess.PIPE, text=True, check=True).stdout

    apt("update")
    simulated = apt("install", "--simulate", "--no-install-recommends", package)
    apt("download", *(line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")))
    for package_file in (fresh / "debs").iterdir():
        subprocess.run(["dpkg-deb", "-x", package_file, unpacked], check=True)


def mirror() -> str:
    """The mirror of Debian that apt uses here."""
    wanted = ("Identifier: Packages", "Label: Debian")
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    if not found:
        raise SystemExit("apt knows no mirror of Debian here, or none of its lists: apt-get update")
    return found[0]


def _write_start(unpacked: Path, folder: Path, package: str) -> None:
    """The loader of its own release starts it, with the libraries beside it; `folder` is where all will be."""
    there = unpacked / "usr/bin" / package
    loader = next(place for place in unpacked.glob("usr/lib/*/ld-linux*.so*"))
    words: list[Path | str] = [loader, "--library-path", loader.parent, there]
    moved = shlex.join(str(folder / word.relative_to(unpacked)) if isinstance(word, Path) else word for word in words)
    (unpacked / "run").write_text(f'#!/bin/sh\nexec {moved} "$@"\n')
    (unpacked / "run").chmod(0o755)


def main() -> int:
    """Run all."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("place", type=Path)
    asked.add_argument("servers", nargs="*", default=SERVERS, metavar="SUITE/PACKAGE")
    asked.add_argument("-k", default="", help="as pytest's")
    said = asked.parse_args()
    codes = []
    for one in said.servers:
        program = server(said.place, *one.split("/"))
        subprocess.run([program, "--version"], check=True)
        environment = os.environ | {"CHAOSRUNNER_REDIS": str(program.resolve()), "CI": "true"}
        pytest = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-k", said.k]
        codes.append(
            subprocess.run([*pytest, *(TESTS / name for name in TRIED)], env=environment, check=False).returncode
        )
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
