"""A server that answers after exactly 200 ms, and stands still for one second in every ten.

`python bench_frozen.py PORT` serves until it is ended. While it stands still it does nothing at all: it accepts
nothing, reads nothing, and no answer leaves. So what a client that asks evenly must see is known beforehand; with
service time s, period p and freeze f (all in seconds, s < f < p):

* a request that comes while the server stands still is read at its end, and answered s later: s to s + f in all;
* one that came less than s before is answered at its end: f to f + s;
* every other takes s.

The share that takes longer than r is therefore (f + 2s - r) / p for s <= r <= f, and 2(f + s - r) / p from there on.

No server reads a thousand requests in no time. After each freeze this one prints two numbers: how much later than at
its end it read the first of those that had waited, a, and the last, b (in seconds). One that came t after the freeze
began was read at its end + a + (b - a) t / f, so that for r <= f the share is
(s + (f + s + a - r) / (1 - (b - a) / f)) / p.

No event loop: a second's connections wait to be accepted when it wakes, and must not wait for the server's own sake.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import deque

SERVICE_S = 0.2
FREEZE_S = 1.0
PERIOD_S = 10.0
FEW = 10
"""Fewer sockets than that with something to read are not what a freeze has left."""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def expected_s(share: float, first_s: float = 0.0, last_s: float = 0.0) -> float:
    """The response time in seconds that this share of evenly spread requests does not exceed.

    Args:
        share: Between 0 and 1.
        first_s: So long after a freeze the first that had waited was read; what took longer than a freeze ignores it.
        last_s: The same of the last one.
    """
    longer = (1 - share) * PERIOD_S
    slower = 1 - (last_s - first_s) / FREEZE_S
    if longer >= SERVICE_S + (FREEZE_S + first_s) / slower:
        return SERVICE_S
    below = FREEZE_S + SERVICE_S + first_s - (longer - SERVICE_S) * slower
    return below if below <= FREEZE_S else FREEZE_S + SERVICE_S - longer / 2


def behind_s(said: str) -> tuple[float, float]:
    """The mean of the two numbers over all freezes, from what the server printed. Raises ValueError without any."""
    lines = [line.split() for line in said.splitlines()]
    if not lines:
        raise ValueError("the server has not stood still")
    firsts, lasts = zip(*((float(first), float(last)) for first, last in lines), strict=True)
    return sum(firsts) / len(lines), sum(lasts) / len(lines)


class Frozen:
    """Connections whose requests have no body, each sent when the one before is answered."""

    def __init__(self, port: int) -> None:
        self._listening = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listening.setblocking(False)
        self._poll = select.epoll()
        self._poll.register(self._listening, select.EPOLLIN)
        self._open: dict[int, socket.socket] = {}
        self._due: deque[tuple[float, socket.socket]] = deque()
        """Answers in the order they are due, which is that of their requests."""

    def serve(self) -> None:
        """Answer for ever; the first freeze begins after half a period."""
        freeze_at = time.monotonic() + PERIOD_S / 2
        frozen_until, catching_up, first_s = 0.0, False, 0.0
        while True:
            now = time.monotonic()
            if now >= freeze_at:
                time.sleep(freeze_at + FREEZE_S - now)
                frozen_until, catching_up, first_s = freeze_at + FREEZE_S, True, 0.0
                freeze_at += PERIOD_S
            while self._due and self._due[0][0] <= time.monotonic():
                self._send(self._due.popleft()[1])
            next_at = min(freeze_at, self._due[0][0] if self._due else freeze_at)
            ready = self._poll.poll(max(0.0, next_at - time.monotonic()), 4096)
            if catching_up:
                late_s = time.monotonic() - frozen_until
                first_s = first_s or late_s
                if len(ready) < FEW:
                    print(first_s, late_s, flush=True)
                    catching_up = False
            for descriptor, _ in ready:
                self._ready(descriptor)

    def _ready(self, descriptor: int) -> None:
        if descriptor == self._listening.fileno():
            try:
                while True:
                    connected, _ = self._listening.accept()
                    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._open[connected.fileno()] = connected
                    self._poll.register(connected, select.EPOLLIN)
            except BlockingIOError:
                return
        connected = self._open[descriptor]
        try:
            head = connected.recv(65_536)
        except ConnectionError:
            head = b""
        if head:
            self._due.append((time.monotonic() + SERVICE_S, connected))
        else:
            del self._open[descriptor]
            connected.close()

    @staticmethod
    def _send(connected: socket.socket) -> None:
        try:
            connected.send(ANSWER)
        except OSError:
            pass  # whoever asked is gone


if __name__ == "__main__":
    Frozen(int(sys.argv[1])).serve()
