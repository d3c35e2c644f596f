"""Packets that are late, overtake each other or come twice: the kernel's netem as an interface's root queue.

Not every kernel has netem, and nothing here imitates it: whether this one does is tried out in a network namespace
that exists for the question only, because in a container neither /lib/modules nor a kernel's configuration can be
trusted to be this kernel's. As with any first use of a queue, the kernel may load its module for that.
"""

from __future__ import annotations

import functools
import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from chaosrunner.model.fault import Availability
from chaosrunner.model.units import Seconds, Share, human_duration
from fault_injectors import network_namespace as namespace
from fault_injectors.network_queue import Queued

LIMIT = 100_000
"""Packets that may wait at once; netem's own 1,000 would lose some of 10,000 a second at 100 ms."""
LONGEST_S = 60.0
CHANCE = 0.001
"""Copies are not counted by the kernel: so many packets must have gone that none of them copied is less likely."""
INTERFACE: dict[str, str] = {"help": "Which one; none: the only one beside loopback."}


class Netem(Queued):
    """A netem queue."""

    kind: ClassVar[str] = "netem"
    instead: ClassVar[str]
    """What there is where the kernel has no netem."""

    def available(self) -> Availability:
        """Where namespaces can be entered and the kernel has netem."""
        here = namespace.available("tc", "ip", "unshare")
        if not here.ok or not (complaint := tried()):
            return here
        return Availability(ok=False, why=why_not(complaint, self.instead))

    def differs(self, queue: Mapping[str, Any], shape: Sequence[str]) -> bool:
        """Whether the kernel has other numbers than we gave it; it keeps them in steps of its own."""
        return not same(options_of(queue), asked(shape))


class Latency(Netem):
    """Everything that the target sends is late."""

    name: ClassVar[str] = "network.latency"
    about: ClassVar[str] = (
        "Delays all packets that a network namespace sends, of any protocol, by a queue on its interface (tc netem)."
    )
    handle: ClassVar[str] = "c4a1:"
    instead: ClassVar[str] = "proxy.latency and proxy.jitter do it for TCP"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How late, and where."""

        add: Seconds = field(metadata={"help": "Time added to each packet."})
        jitter: Seconds = field(
            default=Seconds(0),
            metadata={"help": "Each packet varies by up to this, either way: packets closer together change places."},
        )
        correlation: Share = field(
            default=Share(0), metadata={"help": "How much the variation of a packet is that of the one before."}
        )
        interface: str = field(default="", metadata=INTERFACE)

        def __post_init__(self) -> None:
            """What netem can do."""
            _refuse_delay(self.add)
            if not 0 <= self.jitter <= self.add:
                raise ValueError("'jitter' is at most 'add': no packet is early")
            if not 0 <= self.correlation <= 1:
                raise ValueError("'correlation' is 0 % to 100 %")
            if self.correlation and not self.jitter:
                raise ValueError("'correlation' is of the 'jitter': say that too")

    def shape(self, params: object) -> Sequence[str]:
        """A delay."""
        assert isinstance(params, Latency.Params)
        varied = [_us(params.jitter), _percent(params.correlation)] if params.jitter else []
        return ["limit", str(LIMIT), "delay", _us(params.add), *varied]

    def does(self, params: object) -> str:
        """The fault for people."""
        assert isinstance(params, Latency.Params)
        spread = f" ± {human_duration(params.jitter)}" if params.jitter else ""
        return f"sends all packets {human_duration(params.add)}{spread} late"

    def works(self, queue: Mapping[str, Any], shape: Sequence[str]) -> tuple[bool, int, str]:
        """The kernel's own count of packets that it has held back, or holds at this moment."""
        held = int(queue["packets"]) + int(queue["qlen"])
        return bool(held), held, f"{held} packets held back{_lost(queue)} of"


class Reorder(Netem):
    """Some of what the target sends overtakes what it sent before."""

    name: ClassVar[str] = "network.reorder"
    about: ClassVar[str] = (
        "Sends a random share of a network namespace's packets ahead of others, which are delayed for that (tc netem)."
    )
    handle: ClassVar[str] = "c4a2:"
    instead: ClassVar[str] = "reordering is unavailable here, it is never imitated"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How many, and where."""

        share: Share = field(metadata={"help": "Share of the packets that is sent ahead, at once."})
        add: Seconds = field(
            default=Seconds(0.01),
            metadata={"help": "Delay of all others: who is sent ahead overtakes what was sent less than this before."},
        )
        interface: str = field(default="", metadata=INTERFACE)

        def __post_init__(self) -> None:
            """Some, not all: then none would be ahead of another."""
            _refuse_delay(self.add)
            if not 0.0001 <= self.share <= 0.99:
                raise ValueError("'share' is 0.01 % to 99 %: who is overtaken must be left")

    def shape(self, params: object) -> Sequence[str]:
        """A delay that a share is exempt from."""
        assert isinstance(params, Reorder.Params)
        return ["limit", str(LIMIT), "delay", _us(params.add), "reorder", _percent(params.share)]

    def does(self, params: object) -> str:
        """The fault for people."""
        assert isinstance(params, Reorder.Params)
        late = human_duration(params.add)
        return f"sends {_percent(params.share)} of its packets ahead of all others, which are {late} late"

    def works(self, queue: Mapping[str, Any], shape: Sequence[str]) -> tuple[bool, int, str]:
        """The kernel's own count of packets that it has put at the head of the queue, which netem calls requeues."""
        ahead = int(queue["requeues"])
        return bool(ahead), ahead, f"{ahead} packets sent ahead{_lost(queue)} of"


class Duplicate(Netem):
    """Some of what the target sends is sent twice."""

    name: ClassVar[str] = "network.duplicate"
    about: ClassVar[str] = "Sends a random share of a network namespace's packets twice (tc netem)."
    handle: ClassVar[str] = "c4a3:"
    instead: ClassVar[str] = "duplicates are unavailable here, they are never imitated"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How many, and where."""

        share: Share = field(metadata={"help": "Share of the packets that is sent twice."})
        interface: str = field(default="", metadata=INTERFACE)

        def __post_init__(self) -> None:
            """A share."""
            if not 0.0001 <= self.share <= 1:
                raise ValueError("'share' is 0.01 % to 100 %")

    def shape(self, params: object) -> Sequence[str]:
        """Copies of a share."""
        assert isinstance(params, Duplicate.Params)
        return ["limit", str(LIMIT), "duplicate", _percent(params.share)]

    def does(self, params: object) -> str:
        """The fault for people."""
        assert isinstance(params, Duplicate.Params)
        return f"sends {_percent(params.share)} of its packets twice"

    def works(self, queue: Mapping[str, Any], shape: Sequence[str]) -> tuple[bool, int, str]:
        """The kernel's own count of packets sent, copies among them: enough that some surely are copies."""
        sent, share = int(queue["packets"]), asked(shape)["duplicate"]
        return sent >= enough(share), sent, f"{sent} packets, copies among them, sent{_lost(queue)} by"


def enough(share: float) -> int:
    """Of how many packets, copies included, it is less likely than `CHANCE` that none is a copy."""
    originals = 1 if share >= 1 else math.ceil(math.log(CHANCE) / math.log1p(-share))
    return math.ceil(originals * (1 + share))


def asked(shape: Sequence[str]) -> dict[str, float]:
    """The numbers of our words for tc: `delay` and `jitter` in seconds, `reorder` and `duplicate` as shares."""
    found, name = dict.fromkeys(("delay", "jitter", "correlation", "reorder", "duplicate"), 0.0), ""
    for word in shape:
        if not word[0].isdigit():
            name = word
        elif name in found:
            found[name] = _number(word)
            name = {"delay": "jitter", "jitter": "correlation"}.get(name, "")
    return found


def options_of(queue: Mapping[str, Any]) -> dict[str, float]:
    """The same numbers of a queue as `tc -j` prints it, where what is 0 is left out."""
    options: Mapping[str, Any] = queue.get("options", {})
    delay = options.get("delay", {})
    found = {name: float(delay.get(name, 0)) for name in ("delay", "jitter", "correlation")}
    return found | {name: float(options.get(name, {}).get(name, 0)) for name in ("reorder", "duplicate")}


def same(seen: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    """Whether all numbers are the same but for the kernel's and tc's rounding."""
    return all(math.isclose(seen[name], wanted[name], rel_tol=0.01, abs_tol=2e-6) for name in wanted)


@functools.cache
def tried() -> str:
    """What was said against a netem queue in a network namespace of our own; empty when there was one."""
    attempt = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    try:
        done = subprocess.run(
            attempt,
            capture_output=True,
            text=True,
            timeout=namespace.COMMAND_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return f"unshare and tc did not end in {namespace.COMMAND_S:g} s"
    if not done.returncode:
        return ""
    return (done.stderr.strip().splitlines() or ["tc does not say why"])[0]


def why_not(complaint: str, instead: str) -> str:
    """Why netem cannot be used, in one line: the kernel has none, or it could not be found out.

    The kernel says so itself since 4.17; before, it says only that there is no such thing.
    """
    if "qdisc kind is unknown" in complaint or "No such file or directory" in complaint:
        return f"this kernel has no netem; {instead}"
    return f"whether this kernel has netem could not be tried: {complaint}"


def _refuse_delay(add: float) -> None:
    if not 0.0001 <= add <= LONGEST_S:
        raise ValueError(f"'add' is 100us to {LONGEST_S:g}s")


def _lost(queue: Mapping[str, Any]) -> str:
    """A fault that was to delay and loses as well says so."""
    return f" ({queue['drops']} lost: more than {LIMIT:,} would have waited)" if queue["drops"] else ""


def _us(seconds: float) -> str:
    return f"{round(seconds * 1e6)}us"


def _percent(share: float) -> str:
    return f"{share * 100:g}%"


def _number(word: str) -> float:
    return float(word[:-2]) / 1e6 if word.endswith("us") else float(word.rstrip("%")) / 100
