"""Toxiproxy's own command line drives the real server and ours to the same words."""

from __future__ import annotations

import subprocess

from proxy_rig import free_port
from toxiproxy_peer import DEADLINE_S, Served, our_server, peer, their_server

TALK = [
    "list",
    "create --listen 127.0.0.1:PORT --upstream 127.0.0.1:9 p",
    "create --listen 127.0.0.1:PORT --upstream 127.0.0.1:9 p",
    "create --listen 127.0.0.1:PORT --upstream 127.0.0.1:9 other",
    "create --listen 127.0.0.1:0 p",
    "list",
    "toggle p",
    "list",
    "toggle p",
    "toggle none",
    "toxic add --type latency --toxicName t --attribute latency=100 --attribute jitter=5 p",
    "toxic add --type latency --toxicName t p",
    "toxic add --type bandwidth --upstream --toxicity 0.5 --attribute rate=0 p",
    "toxic add --type slicer --attribute average_size=64 --attribute size_variation=32 --attribute delay=10 p",
    "toxic add --type timeout --attribute timeout=0 p",
    "toxic add --type reset_peer --attribute timeout=20 p",
    "toxic add --type limit_data --attribute bytes=1000 p",
    "toxic add --type slow_close --attribute delay=1 p",
    "toxic add --type gremlin p",
    "toxic add --type noop none",
    "inspect p",
    "toxic update --toxicName t --toxicity 0.25 --attribute latency=50 p",
    "toxic update --toxicName none --attribute latency=50 p",
    "inspect p",
    "inspect none",
    "toxic remove --toxicName t p",
    "toxic remove --toxicName t p",
    "inspect p",
    "list",
    "delete p",
    "delete p",
    "list",
]


def transcript(served: Served) -> str:
    """What toxiproxy-cli says to every line of the talk, with its exit codes."""
    port, said = free_port(), []
    for line in TALK:
        done = subprocess.run(
            [peer("toxiproxy-cli"), "--host", served.url, *line.replace("PORT", str(port)).split()],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        said.append(f"$ {line}\n{done.stdout}{done.stderr}= {done.returncode}\n".replace(str(port), "PORT"))
    return "".join(said)


def test_it_says_the_same_of_both() -> None:
    """Every verb, good and bad, has the same output and exit code with the real server as with ours."""
    with their_server() as theirs, our_server() as ours:
        expected = transcript(theirs)
        assert transcript(ours) == expected
    assert expected.count("= 0\n") > 15
    assert expected.count("= 1\n") > 8
