"""Which machine this is, so that two names of one machine do not make two of it."""

from __future__ import annotations

import hashlib
from pathlib import Path


def machine(proc: Path = Path("/proc")) -> str:
    """A word for the machine that this process sees: the kernel's boot, and the space that its pids are numbers of.

    A container with pids of its own is a machine of its own: what is called 123 there is another process than here.
    /etc/machine-id is not asked, because copies of a disk share it, and containers of one host do not.

    Args:
        proc: where the kernel tells it.

    Returns:
        16 hexadecimal digits; empty where no kernel tells it.
    """
    try:
        boot, space = (proc / "sys/kernel/random/boot_id").read_text().strip(), (proc / "self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return hashlib.sha256(f"{boot}/{space}".encode()).hexdigest()[:16]
