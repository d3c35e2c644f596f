"""Which processes are ours: no fault may ever touch them, for they are its own way back."""

from __future__ import annotations

import os


def ours() -> frozenset[int]:
    """This process, everything it has started (watchdog, load workers), its ancestors, and pid 1."""
    import psutil

    me = psutil.Process(os.getpid())
    family = [me, *me.parents(), *me.children(recursive=True)]
    return frozenset({1, *(process.pid for process in family)})
