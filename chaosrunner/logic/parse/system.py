"""The system file: names → where they are; environment; protections."""

from __future__ import annotations

import re
from pathlib import PurePath

from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.dsn import read_dsn, read_redis
from chaosrunner.logic.parse.fields import Fields, filled, items, table, whole
from chaosrunner.logic.parse.own_proxy import read_own_proxy
from chaosrunner.logic.parse.rules import read_rules
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, quoted
from chaosrunner.logic.parse.system_addresses import address, base_url, ssh_host
from chaosrunner.logic.parse.target import COMPONENT
from chaosrunner.logic.parse.tls import read_tls
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar, Table
from chaosrunner.model.system import Component, Containers, Processes, System

KEYS = ("environment", "entry", "fault_proxy", "protect", "rules", "tls")
"""Keys of the file that are not components."""
COMPONENT_KEYS = ("at", "processes", "containers", "proxies", "proxy", "host", "namespaces", "dsn", "admin", "redis")
WAYS = ("ports", "pids", "pidfiles", "command")
"""Ways to find processes; exactly one is given."""
CONTAINER_WAYS = ("names", "labels", "compose", "image")
"""Ways to find containers; exactly one is given."""
LATER = ("pods",)
"""Keys that mean something in a later version."""


def read_system(desk: Desk, root: Table) -> System:
    """The system that a file describes; mistakes are noted at the desk."""
    fields = Fields(desk, root, "")
    components = {}
    for key, node in root.entries:
        if key.text not in KEYS:
            component = _component(desk, key, node)
            if component:
                components[key.text] = component
    protect = fields.texts("protect")
    for name in protect:
        if name.text not in components:
            desk.wrong(
                name, f"protect {quoted(name.source)}: no component of that name{did_you_mean(name.text, components)}"
            )
    return System(
        name=PurePath(desk.file).stem,
        file=desk.file,
        environment=fields.text("environment"),
        entry=fields.read("entry", base_url, ""),
        fault_proxy=fields.read("fault_proxy", base_url, ""),
        components=components,
        tls=read_tls(desk, fields.node("tls")),
        protect=tuple(name.text for name in protect),
        protect_line=fields.place("protect").line if protect else 0,
        rules=read_rules(desk, fields.node("rules"), components),
    )


def _component(desk: Desk, key: Scalar, node: Node) -> Component | None:
    what = quoted(key.text)
    if not isinstance(node, Table) and not (isinstance(node, Scalar) and node.value is None):
        desk.wrong(key, f"{what} is no key of a system{did_you_mean(key.text, KEYS)}, and a component is a mapping")
        return None
    if not re.fullmatch(COMPONENT, key.text):
        desk.wrong(key, f"{what} is no name for a component; expected letters, digits, '_', '-' and '.'")
    mapping = table(desk, node, what)
    assert mapping is not None
    fields = Fields(desk, mapping, what)
    for later in LATER:
        if fields.node(later):
            desk.wrong(
                fields.place(later),
                f"'{later}' is not in this version; say 'processes', 'containers', 'proxies' or 'dsn'",
            )
    fields.only((*COMPONENT_KEYS, *LATER))
    at = [desk.read(place, "at", address) for place in fields.texts("at")]
    processes, containers = fields.node("processes"), fields.node("containers")
    dsn, admin, redis = fields.node("dsn"), fields.node("admin"), fields.node("redis")
    addresses = tuple(place for place in at if place is not None)
    proxy = read_own_proxy(fields, addresses)
    proxies = (key.text,) if proxy and proxy.listen else tuple(name.text for name in fields.texts("proxies"))
    return Component(
        name=key.text,
        at=addresses,
        processes=_processes(desk, processes) if processes else None,
        containers=_containers(desk, containers) if containers else None,
        host=fields.read("host", ssh_host, ""),
        proxies=proxies,
        proxy=proxy,
        namespaces=tuple(name.text for name in fields.texts("namespaces")),
        dsn=read_dsn(desk, dsn, "dsn") if dsn else None,
        admin=read_dsn(desk, admin, "admin") if admin else None,
        redis=read_redis(desk, redis) if redis else None,
    )


def _processes(desk: Desk, node: Node) -> Processes:
    mapping = table(desk, node, "processes")
    if mapping is None:
        return Processes()
    fields = Fields(desk, mapping, "processes").only((*WAYS, "at_most"))
    ways = [key for key, _ in mapping.entries if key.text in WAYS]
    if len(ways) != 1:
        at = ways[1] if ways else mapping
        desk.wrong(
            at, "processes are found in exactly one way: 'ports', 'pids', 'pidfiles', or 'command' with 'at_most'"
        )
    command, limit = fields.node("command"), fields.node("at_most")
    if command and not limit:
        desk.wrong(
            fields.place("command"), "'command' needs 'at_most: 3', so that a loose pattern cannot hit half the host"
        )
    if limit and not command:
        desk.wrong(fields.place("at_most"), "'at_most' belongs to 'command'")
    return Processes(
        ports=_numbers(fields, "ports", 65_535),
        pids=_numbers(fields, "pids", 2**22),
        pidfiles=tuple(name.text for name in fields.texts("pidfiles")),
        command=fields.read("command", _pattern, ""),
        at_most=fields.count("at_most", 0, most=1000),
    )


def _containers(desk: Desk, node: Node) -> Containers:
    mapping = table(desk, node, "containers")
    if mapping is None:
        return Containers()
    fields = Fields(desk, mapping, "containers").only((*CONTAINER_WAYS, "at_most", "engine"))
    ways = [key for key, _ in mapping.entries if key.text in CONTAINER_WAYS]
    if len(ways) != 1:
        at = ways[1] if ways else mapping
        desk.wrong(at, "containers are found in exactly one way: 'names', 'labels', 'compose' or 'image'")
    names = [name.text for name in fields.texts("names")]
    if len(set(names)) < len(names):
        desk.wrong(fields.place("names"), "names names one twice")
    return Containers(
        names=tuple(names),
        labels=tuple(label.text for label in fields.texts("labels")),
        compose=fields.read("compose", _service, ""),
        image=fields.text("image"),
        at_most=fields.count("at_most", 0, most=1000),
        engine=fields.read("engine", _engine, ""),
    )


def _service(text: str) -> str:
    """A service of a Compose project. Raises ReadingError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise ReadingError("expected project/service, as in 'shop/api'")
    return text


def _engine(text: str) -> str:
    """The address of a Docker engine. Raises ReadingError."""
    if re.fullmatch(r"unix:///\S+", text):
        return text
    scheme, _, place = text.partition("://")
    if scheme != "tcp":
        raise ReadingError("expected the address of an engine, such as unix:///var/run/docker.sock")
    return f"tcp://{address(place)}"


def _numbers(fields: Fields, key: str, most: int) -> tuple[int, ...]:
    node = fields.node(key)
    if node is None:
        return ()
    members = items(fields.desk, node, key) if isinstance(node, Items) else (node,)
    if not members:
        fields.desk.wrong(node, f"{key} is empty")
    found = [fields.desk.read(member, key, lambda text: whole(text, 1, most)) for member in members]
    numbers = tuple(number for number in found if number is not None)
    if len(set(numbers)) < len(numbers):
        fields.desk.wrong(node, f"{key} names one twice")
    return numbers


def _pattern(text: str) -> str:
    try:
        re.compile(filled(text))
    except (re.error, OverflowError, RecursionError) as error:
        raise ReadingError(f"this is no regular expression: {error}") from None
    return text
