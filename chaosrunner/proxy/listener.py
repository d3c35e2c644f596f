"""Listening addresses: resolving, binding, accepting, and keeping a port while nobody may connect to it."""

import asyncio
import contextlib
import errno
import ipaddress
import os
import resource
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from chaosrunner.proxy.audit import Audit
from chaosrunner.proxy.refusals import RefusedError, bad_value

BACKLOG = 1024
# Accepted in one turn of the loop, so that a storm of connects leaves time for the others.
ACCEPTS_PER_TURN = 64
# Descriptors that clients leave to the control API, so that toxics can be removed when there are too many clients.
RESERVED_DESCRIPTORS = 32
# Out of descriptors: look again after this time instead of spinning on a socket that stays readable.
RETRY_ACCEPT_S = 0.2
# Saying it once is enough for a while.
QUIET_S = 60.0
RESOLVE_TIMEOUT_S = 0.8
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Accepted = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port as text shows them; the port may be 0 for one that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A resolved address that can be bound."""

    family: socket.AddressFamily
    address: Address

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.address.host.partition("%")[0]).is_loopback


def parse_address(text: str, key: str) -> Address:
    """The address in `host:port`, `[v6]:port` or `:port` (every interface).

    Args:
        text: The address.
        key: The name of the field, for the sentence.

    Raises:
        RefusedError: 400 if it is none.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    well_formed = colon and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    if not well_formed or (":" in host and not bracketed) or not _plausible_host(host):
        raise bad_value(f"{key} must be host:port with a port from 0 to 65535, not {text!r}")
    return Address(host, int(port))


async def resolve(address: Address) -> Endpoint:
    """Where `address` can be bound on this machine; IPv4 first, as Toxiproxy does.

    Raises:
        RefusedError: 400 if the host is not known.
    """
    loop = asyncio.get_running_loop()
    flags = socket.AI_PASSIVE
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            found = await loop.getaddrinfo(
                address.host or "0.0.0.0",  # noqa: S104 -- what an absent host means; guarded by the token
                address.port,
                type=socket.SOCK_STREAM,
                flags=flags,
            )
    except (OSError, ValueError) as error:
        raise bad_value(f"cannot listen on {address}: {error or 'name resolution timed out'}") from None
    family, _, _, _, place = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return Endpoint(family, Address(str(place[0]), int(place[1])))


class Listener:
    """A listening address that hands over accepted sockets, or refuses while it is suspended.

    Suspended, it keeps the port bound without listening: the kernel refuses connects, and no other program can take
    the port meanwhile, so that listening again does not fail.
    """

    def __init__(self, endpoint: Endpoint, audit: Audit) -> None:
        """Listen; clients wait in the kernel until `accept` is called.

        Raises:
            RefusedError: 500, as Toxiproxy says it, if the address cannot be bound.
        """
        self._audit = audit
        self._retry: asyncio.TimerHandle | None = None
        self._accepted: Accepted | None = None
        self._reading = False
        self._quiet_until = 0.0
        self._socket = _bound(endpoint)
        host, port = self._socket.getsockname()[:2]
        self.endpoint = Endpoint(endpoint.family, Address(host, port))
        self.listen()

    def listen(self) -> None:
        """Listen, again after being suspended; clients wait in the kernel until `accept` is called.

        Raises:
            RefusedError: 500 if somebody else has the port; the port is not held then.
        """
        if self._socket.fileno() < 0:
            self._socket = _bound(self.endpoint)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.listen(BACKLOG)
        except OSError as error:
            self._socket.close()
            raise _cannot_bind(self.endpoint, error) from None

    def accept(self, accepted: Accepted) -> None:
        """Hand accepted sockets to `accepted` from now on."""
        self._accepted = accepted
        self._watch()

    def suspend(self) -> None:
        """Refuse connects, also those that wait to be accepted, and keep the port."""
        self.close()
        # Failing to hold the port harms nothing now; listening again will bind anew, and say so if it cannot.
        with contextlib.suppress(RefusedError):
            self._socket = _held(self.endpoint)

    def detach(self) -> socket.socket:
        """The listening socket, for somebody else to accept from and to close."""
        return self._socket

    def close(self) -> None:
        """Give the port up."""
        self._unwatch()
        self._socket.close()

    def _watch(self) -> None:
        if not self._reading:
            self._reading = True
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def _unwatch(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self._socket)

    def _accept(self) -> None:
        assert self._accepted is not None
        for taken in range(ACCEPTS_PER_TURN):
            # Whoever was taken in this turn still needs a second descriptor, towards the server.
            if not _descriptors_left(self._socket, needed=taken):
                self._pause("too few file descriptors are left")
                return
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._pause(str(error))
                    return
                continue  # a client that gave up before it was accepted
            accepted.setblocking(False)
            self._accepted(accepted)

    def _pause(self, error: str) -> None:
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + QUIET_S
            self._audit.error("cannot accept, trying until it works", listen=str(self.endpoint.address), error=error)
        self._unwatch()
        self._retry = asyncio.get_running_loop().call_later(RETRY_ACCEPT_S, self._watch)


def _descriptors_left(any_open: socket.socket, needed: int) -> bool:
    """Whether a client, after `needed` other descriptors, would leave those that are reserved."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return True
    try:
        lowest_free = os.dup(any_open.fileno())  # the kernel gives the lowest number: all below are in use
    except OSError:
        return False
    os.close(lowest_free)
    return lowest_free + needed < most - min(RESERVED_DESCRIPTORS, most // 8)


def _plausible_host(host: str) -> bool:
    return host.isascii() and host.isprintable() and " " not in host and len(host) <= 253


def _bound(endpoint: Endpoint) -> socket.socket:
    """A socket that has the address and does not listen; connections of before may still be fading out.

    Raises:
        RefusedError: 500 if somebody else has it.
    """
    return _bind(endpoint, reuse=True)


def _held(endpoint: Endpoint) -> socket.socket:
    """A socket that keeps the address from everybody else and does not listen.

    Raises:
        RefusedError: 500 if somebody else has it.
    """
    # Two sockets that both reuse the address may share it as long as none listens; one that does not reuse it
    # shares it with nobody, but cannot be bound while old connections fade out. So: reuse only to get it.
    try:
        return _bind(endpoint, reuse=False)
    except RefusedError:
        held = _bind(endpoint, reuse=True)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return held


def _bind(endpoint: Endpoint, *, reuse: bool) -> socket.socket:
    try:
        # asyncio turns Nagle's algorithm off for what was accepted only if the socket says that it is TCP.
        bound = socket.socket(endpoint.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise _cannot_bind(endpoint, error) from None
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        bound.bind((endpoint.address.host, endpoint.address.port))
    except OSError as error:
        bound.close()
        raise _cannot_bind(endpoint, error) from None
    return bound


def _cannot_bind(endpoint: Endpoint, error: OSError) -> RefusedError:
    return RefusedError(500, f"listen tcp {endpoint.address}: bind: {(error.strerror or str(error)).lower()}")
