"""A server that answers after exactly 200 ms, and stands still for one second in every ten.

`python bench_frozen.py PORT` serves until it is ended. While it stands still it does nothing at all: it accepts
nothing, reads nothing, and no answer leaves. So what a client that asks evenly must see is known beforehand; with
service time s, period p and freeze f (all in seconds, s < f < p):

* a request that comes while the server stands still is read at its end, and answered s later: s to s + f in all;
* one that came less than s before is answered at its end: f to f + s;
* every other takes s.

The share that takes longer than r is therefore (f + 2s - r) / p for s <= r <= f, and 2(f + s - r) / p from there on.

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
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def expected_s(share: float) -> float:
    """The response time in seconds that this share of evenly spread requests does not exceed."""
    longer = (1 - share) * PERIOD_S
    if longer >= FREEZE_S + SERVICE_S:
        return SERVICE_S
    below = FREEZE_S + 2 * SERVICE_S - longer
    return below if below <= FREEZE_S else FREEZE_S + SERVICE_S - longer / 2


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
        while True:
            now = time.monotonic()
            if now >= freeze_at:
                time.sleep(freeze_at + FREEZE_S - now)
                freeze_at += PERIOD_S
            while self._due and self._due[0][0] <= time.monotonic():
                self._send(self._due.popleft()[1])
            next_at = min(freeze_at, self._due[0][0] if self._due else freeze_at)
            for descriptor, _ in self._poll.poll(max(0.0, next_at - time.monotonic()), 4096):
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
