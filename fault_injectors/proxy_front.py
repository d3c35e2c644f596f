"""A fault proxy put in front of a component that has none, for as long as a fault lasts.

A proxy of ours is started, and a table of nftables of our own sends to it whatever connects from now on to the
component's address. Its own connections carry a mark and are let through. Connections that are open stay as they are,
or are reset so that they come back through the proxy. The table's rules match only while an element of it lives, which
the kernel ends; the proxy ends by itself a little later: both, whoever dies. Taking it away is deleting the table,
atomically, and ending the proxy: connections through it are closed then, and come back directly.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from chaosrunner.errors import InjectorError
from fault_injectors import processes
from fault_injectors.process_targets import capable

MARK = 0x63680001
"""SO_MARK of the proxy's own connections."""
PREFIX = "chaosrunner_front_"
BEGIN_S = 15.0
COMMAND_S = 5.0
DRAIN_S = 1.5
"""How long the proxy may take to hand on what it holds; then it is killed."""
OUTLIVES_S = 5.0
"""The proxy ends so long after the kernel has stopped sending connections to it."""
CAP_NET_ADMIN = 12
AT_ONCE = 200
"""Connections that are reset by one call of ss."""
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LOOPBACK: Mapping[int, Address] = {4: ipaddress.IPv4Address("127.0.0.1"), 6: ipaddress.IPv6Address("::1")}
PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """From one address of a component to the proxy in front of it."""

    name: str
    """The proxy's."""
    to: str
    """`address:port` that clients connect to; `[address]:port` of IPv6."""
    listen: str
    """Where the proxy listens."""

    @property
    def claim(self) -> str:
        """The resource that is changed."""
        return f"redirect:{self.to}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """All that is put in front of a component; JSON in a recipe."""

    tag: str
    ways: Sequence[Way]
    port: int
    """Of the proxy's control API."""
    seconds: int
    """How long the kernel sends connections there, should nobody stop it."""
    reset_open: bool
    protocol: str

    @property
    def table(self) -> str:
        """The table of nftables."""
        return PREFIX + re.sub(r"\W", "_", self.tag.removeprefix("chaosrunner/"))

    @property
    def api(self) -> str:
        """The proxy's control API."""
        return f"http://127.0.0.1:{self.port}"


def missing() -> str:
    """Why it cannot be done on this host; empty when it can."""
    absent = [name for name in ("nft", "ss", "setsid") if shutil.which(name) is None]
    if absent:
        return f"not on PATH: {', '.join(absent)} (packages nftables, iproute2, util-linux)"
    return "" if capable(CAP_NET_ADMIN) else "sending connections elsewhere needs root (CAP_NET_ADMIN)"


def ways_of(component: str, behind: Sequence[str], tag: str) -> list[Way]:
    """A way for each address that is behind; blocking, because names are looked up.

    Raises:
        InjectorError: a name has no address, or one that means something else at each interface.
    """
    names = [component] if len(behind) == 1 else [f"{component}-{number}" for number, _ in enumerate(behind, start=1)]
    ways = []
    for name, place, port in zip(names, behind, _free_ports(tag, len(behind) + 1)[1:], strict=True):
        host, _, meant = place.rpartition(":")
        address = _address(host.strip("[]"))
        beside = address if _is_here(address) else LOOPBACK[address.version]
        ways.append(Way(name=name, to=_place(address, meant), listen=_place(beside, port)))
    return ways


def control_port(tag: str) -> int:
    """A port for the control API, another one than the ways have."""
    return _free_ports(tag, 1)[0]


def to_json(front: Front) -> dict[str, object]:
    """JSON values only."""
    return {**asdict(front), "ways": [asdict(way) for way in front.ways]}


def from_json(raw: Mapping[str, object]) -> Front:
    """What a recipe remembers."""
    fields = {**raw}
    ways = fields.pop("ways")
    assert isinstance(ways, list)
    return Front(ways=[Way(**way) for way in ways], **fields)  # type: ignore[arg-type] # as it was written


def start(front: Front) -> None:
    """Start the proxy, which has no proxies yet; blocking, bounded by `BEGIN_S`.

    Raises:
        InjectorError: it did not begin.
    """
    reachable = [] if all(way.listen.startswith(("127.", "[::1]:")) for way in front.ways) else ["--reachable"]
    # `setsid --fork`: nobody has to wait for its end, and no signal for our family reaches it.
    command = ["setsid", "--fork", sys.executable, "-m", "chaosrunner.proxy", "-port", str(front.port), *reachable]
    command += ["--mark", str(MARK), "--for", str(front.seconds + OUTLIVES_S), *_name(front)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as starter:
        assert starter.stdout is not None
        ready, _, _ = select.select([starter.stdout], [], [], BEGIN_S)
        said = starter.stdout.readline() if ready else b""
    if not said.startswith(b"ready"):
        why = "ended without a word" if ready else f"said nothing in {BEGIN_S:g} s"
        raise InjectorError(f"the proxy that was to be put in front (control API at port {front.port}) {why}")


def send_there(front: Front) -> None:
    """Have the kernel send new connections to the proxy, and reset open ones if that is wanted; blocking.

    Raises:
        InjectorError: nft would not, or the kernel resets nothing for us.
    """
    open_ones = _open(front) if front.reset_open else []
    _nft(_rules(front))
    for begin in range(0, len(open_ones), AT_ONCE):
        meant = " or ".join(f"( src {here} and dst {there} )" for here, there in open_ones[begin : begin + AT_ONCE])
        _run(["ss", "-K", "-t", *meant.split()])
    if stayed := set(open_ones) & set(_open(front)):
        raise InjectorError(f"{len(stayed)} open connections stayed: the kernel resets none for us")


def sent(front: Front) -> dict[str, int]:
    """How many connections the kernel has sent to each proxy since; empty when the table is not there; blocking."""
    printed = _run(["nft", "-j", "list", "ruleset", "inet"])
    found: dict[str, int] = {}
    for item in json.loads(printed)["nftables"] if printed else ():
        rule = item.get("rule")
        if rule is not None and rule["table"] == front.table:
            packets = sum(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)
            found[rule["comment"]] = found.get(rule["comment"], 0) + packets
    return found


def remove(front: Front) -> None:
    """Take all of it away; blocking, bounded.

    New connections go directly first. Then the proxy is ended, and only then is the table deleted: with it goes what
    the kernel knows of the connections that came through, and their clients would never hear of their end.
    """
    if front.table in tables():
        with suppress(InjectorError):  # somebody has deleted it just now
            _nft(f"flush set inet {front.table} lease\n")
    for number, wait_s in ((signal.SIGTERM, DRAIN_S), (signal.SIGKILL, COMMAND_S)):
        until = time.monotonic() + wait_s
        for process in _running(front):
            processes.send(process, number)
        while _running(front) and time.monotonic() < until:
            time.sleep(0.01)
    _nft(f"add table inet {front.table}\ndelete table inet {front.table}\n")


def left(front: Front) -> str:
    """What of it is there; empty when nothing is; blocking."""
    if front.table in tables():
        return f"the table {front.table} is left"
    return f"the proxy called {front.tag} is left" if _running(front) else ""


def leftovers() -> list[str]:
    """Tags of all that was put in front of anything on this host, by whichever run; blocking."""
    lines = [processes.command_line(int(entry.name)) for entry in processes.PROC.glob("[0-9]*")]
    found = {line[-1] for line in lines if line[-2:-1] == ["--name"] and line[-1].startswith("chaosrunner/")}
    for table in tables():
        run, _, index = table.removeprefix(PREFIX).rpartition("_")
        found.add(f"chaosrunner/{run}/{index}")
    return sorted(found)


def tables() -> list[str]:
    """All tables of ours that send connections to a proxy, whichever run they are of; blocking."""
    printed = _run(["nft", "-j", "list", "tables", "inet"])
    names = [item["table"]["name"] for item in json.loads(printed)["nftables"] if "table" in item] if printed else []
    return [name for name in names if name.startswith(PREFIX)]


def _rules(front: Front) -> str:
    lease = f"elements = {{ ipv4 timeout {front.seconds}s, ipv6 timeout {front.seconds}s }}"
    chains = "".join(
        f"  chain {hook} {{\n    type nat hook {hook} priority -110; policy accept;\n"
        + "".join(f"    meta nfproto @lease {rule}\n" for rule in _rules_at(front, hook))
        + "  }\n"
        for hook in ("output", "prerouting")
    )
    return (
        f"add table inet {front.table}\ndelete table inet {front.table}\ntable inet {front.table} {{\n"
        f'  comment "{front.tag}"\n  set lease {{ typeof meta nfproto; flags timeout; {lease}; }}\n{chains}}}\n'
    )


def _rules_at(front: Front, hook: str) -> Iterator[str]:
    for way in front.ways:
        address, _, port = way.to.rpartition(":")
        # From elsewhere only where the proxy can be reached from there, at the very address that was meant.
        if hook == "prerouting" and not way.listen.startswith(f"{address}:"):
            continue
        who = f"meta mark != {MARK}" if hook == "output" else 'iifname != "lo"'
        # Where nothing was tracked before, the kernel takes an open connection's next packet for a new one's first.
        first = "tcp flags & (fin | syn | rst | ack) == syn"
        ip = "ip6" if address.startswith("[") else "ip"
        to = f"{ip} daddr {address.strip('[]')} tcp dport {port}"
        yield f'{who} {to} {first} counter dnat {ip} to {way.listen} comment "{way.name}"'


def _open(front: Front) -> list[tuple[str, str]]:
    """Both ends of each connection to the addresses that is established now, seen from this host."""
    meant = " or ".join(f"src {way.to} or dst {way.to}" for way in front.ways)
    lines = _run(["ss", "-H", "-t", "-n", "state", "established", *f"( {meant} )".split()]).splitlines()
    return [(line.split()[2], line.split()[3]) for line in lines]


def _running(front: Front) -> list[processes.Process]:
    return processes.running(_name(front))


def _name(front: Front) -> list[str]:
    return ["--name", front.tag]


def _nft(rules: str) -> None:
    _run(["nft", "-f", "-"], rules)


def _run(command: Sequence[str], text: str = "") -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    except FileNotFoundError:
        raise InjectorError(f"{command[0]} is not on PATH any more") from None
    except subprocess.TimeoutExpired:
        raise InjectorError(f"{command[0]} did not end in {COMMAND_S:g} s") from None
    if done.returncode:
        raise InjectorError(f"{command[0]}: {(done.stderr.strip().splitlines() or ['it does not say why'])[0]}")
    return done.stdout


def _address(host: str) -> Address:
    """The address of a name, IPv4 where there is one. Raises InjectorError."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        raise InjectorError(f"{host} has no address") from None
    family, _, _, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    address = ipaddress.ip_address(str(place[0]).partition("%")[0])
    if family == socket.AF_INET6 and address.is_link_local:
        raise InjectorError(f"{host} is another one at each interface: 'proxy: for me' needs an address of all of them")
    return address


def _place(address: Address, port: int | str) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _is_here(address: Address) -> bool:
    """Whether it is an address of this host, beyond loopback or not."""
    with socket.socket(FAMILIES[address.version], socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _free_ports(tag: str, count: int) -> list[int]:
    """Ports that nobody listens at now, the same for the same tag."""
    found: list[int] = []
    for port in random.Random(tag).sample(PORTS, 100):
        if not all(_is_free(family, port) for family in FAMILIES.values()):
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise InjectorError(f"no {count} ports from {PORTS.start} to {PORTS.stop} are free")


def _is_free(family: int, port: int) -> bool:
    """Whether nobody listens at a port; so it is where there are no addresses of that family at all."""
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what was closed just now is free
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(("", port))
    except OSError as error:
        return error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
    return True
