"""The least that a generator on this machine can do: how late is it?

`python bench_spin.py PORT RATE SECONDS` turns in a loop until the next request is due, notes how late it is, takes the
reply to an earlier request from a socket and sends the next one on it; nothing is counted, parsed or waited for. What
it is late by is taken by the machine: by other processes, by interrupts, by the host of a virtual machine, and by the
kernel's part of one `recv` and one `send`.
"""

from __future__ import annotations

import json
import socket
import sys
import time

SOCKETS = 16
"""So many requests may be under way; one that finds its socket still waiting is not sent, though its time is noted."""


def spin(port: int, rate: int, seconds: float) -> dict[str, float]:
    """The lag's p99 in µs, and how many requests a second were sent."""
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    sockets = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(SOCKETS)]
    for each in sockets:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        each.sendall(request)
        each.setblocking(False)
    clock, sent, lags_ns = time.monotonic_ns, 0, []
    began_ns = clock() + 100_000_000
    for number in range(round(rate * seconds)):
        due_ns = began_ns + number * 1_000_000_000 // rate
        while (now_ns := clock()) < due_ns:
            pass
        lags_ns.append(now_ns - due_ns)
        each = sockets[number % SOCKETS]
        try:
            each.recv(65_536)
        except BlockingIOError:
            continue
        each.send(request)
        sent += 1
    for each in sockets:
        each.close()
    return {"lag_p99_us": sorted(lags_ns)[int(len(lags_ns) * 0.99)] / 1000, "per_s": sent / seconds}


if __name__ == "__main__":
    print(json.dumps(spin(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
