"""Run a command in Debian's own kernel, which has what the kernel of this machine may lack: `boot.py PLACE COMMAND…`.

qemu emulates a machine (no KVM is needed, so it is slow) that boots Debian's kernel, downloaded into PLACE and never
installed. Its file system is this host's: read-only by 9p, with a layer in memory above it. So the command finds the
checkout and its Python under the same paths, and nothing that it writes reaches this host. It runs as root, and its
exit code becomes ours.
"""

from __future__ import annotations

import lzma
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

PACKAGE = "linux-image-amd64"
NEEDED = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""Modules without which there is no file system to load others from."""
PASSED_ON = ("PYTHONPATH", "CI", "CHAOSRUNNER_TORTURE", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")
MINUTES = 100
INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys /dev /host /memory /new
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
for module in $($b cat /modules/order); do $b insmod /modules/$module; done
$b mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,msize=262144,ro host /host
$b mount -t tmpfs -o size=75% memory /memory
$b mkdir -p /memory/upper /memory/work
$b mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work overlay /new
$b mount -t proc proc /new/proc
$b mount -t sysfs sys /new/sys
$b mount --move /dev /new/dev
$b mount -t tmpfs run /new/run
$b cp /job /new/run/job
exec $b switch_root /new /bin/sh /run/job
"""
JOB = """
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mkdir -p /dev/shm /dev/pts /lib/modules
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
ln -sfn {modules} /lib/modules/$(uname -r)
ip link set dev lo up
cd {cwd}
{environment} {command}
echo "{mark} $?"
echo o > /proc/sysrq-trigger
while :; do read -r nothing; done
"""


def kernel(place: Path) -> Path:
    """The folder of Debian's kernel package, unpacked; downloaded if it is not there."""
    folder = place / "kernel"
    if not folder.exists():
        place.mkdir(parents=True, exist_ok=True)
        shown = subprocess.run(["apt-cache", "depends", PACKAGE], capture_output=True, text=True, check=True).stdout
        [name] = re.findall(r"Depends: (linux-image-\S+)", shown)
        print(f"downloading {name} into {place} (once)", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=place) as fresh:
            subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name], cwd=fresh, check=True)
            [package] = Path(fresh).glob("*.deb")
            unpacked = Path(fresh) / "kernel"
            subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
            subprocess.run(["depmod", "-b", unpacked, modules_of(unpacked).name], check=True)
            unpacked.rename(folder)
    return folder


def modules_of(folder: Path) -> Path:
    """Where the modules of an unpacked kernel are."""
    [found] = (folder / "lib/modules").iterdir()
    return found


def closure(modules: Path) -> dict[str, bytes]:
    """The needed modules and all that they need in turn, in the order in which they can be loaded."""
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        place = next(modules.glob(f"kernel/**/{name.replace('_', '[_-]')}.ko*"), None)
        if name in found or place is None:  # what is no module is built in
            return
        code = lzma.decompress(place.read_bytes()) if place.suffix == ".xz" else place.read_bytes()
        listed = re.search(rb"\0depends=([^\0]*)\0", code)
        for one in listed[1].decode().split(",") if listed else ():
            add(one)
        found[name] = code

    for name in NEEDED:
        add(name)
    return found


def initrd(folder: Path, modules: Path, job: str) -> Path:
    """A file system for the first second: busybox, some modules, `INIT` and the job."""
    root, packed = folder / "root", folder / "initrd"
    (root / "bin").mkdir(parents=True)
    (root / "modules").mkdir()
    shutil.copy(str(shutil.which("busybox")), root / "bin/busybox")
    loaded = closure(modules)
    for name, code in loaded.items():
        (root / "modules" / name).write_bytes(code)
    (root / "modules/order").write_text("\n".join(loaded))
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    (root / "job").write_text(job)
    listed = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with packed.open("wb") as file:
        subprocess.run(
            ["busybox", "cpio", "-o", "-H", "newc"], cwd=root, input=listed.encode(), stdout=file, check=True
        )
    return packed


def boot(place: Path, command: list[str]) -> int:
    """Boot, pass on what is printed, and return the command's exit code: 124 if it took too long, 125 for none."""
    folder, mark = kernel(place), f"ended-{secrets.token_hex(8)}"
    modules = modules_of(folder).resolve()
    [image] = (folder / "boot").glob("vmlinuz-*")
    given = [f"{name}={os.environ[name]}" for name in PASSED_ON if name in os.environ]
    environment = shlex.join(["env", *given])
    job = JOB.format(
        modules=modules,
        cwd=shlex.quote(str(Path.cwd())),
        environment=environment,
        command=shlex.join(command),
        mark=mark,
    )
    with tempfile.TemporaryDirectory() as scratch:
        machine = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "4g"),
                *("-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"),
                *("-kernel", str(image), "-initrd", str(initrd(Path(scratch), modules, job))),
                *("-append", "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check"),
                *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
                *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        late = threading.Timer(MINUTES * 60, machine.kill)
        late.start()
        assert machine.stdout is not None
        code = 125
        for line in machine.stdout:
            if line.startswith(mark):
                code = int(line.split()[1])
            else:
                print(line.rstrip(), flush=True)
        machine.wait()
        if not late.is_alive():
            return 124
        late.cancel()
    return code


if __name__ == "__main__":
    sys.exit(boot(Path(sys.argv[1]), sys.argv[2:]))
