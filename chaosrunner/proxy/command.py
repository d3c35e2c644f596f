"""The command line of the fault proxy, spelled Toxiproxy's way (-port) or with two dashes."""

import argparse
import asyncio
import contextlib
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from chaosrunner import __version__
from chaosrunner.proxy import API_VERSION, decode
from chaosrunner.proxy.audit import audit_to
from chaosrunner.proxy.leases import LONGEST_TTL_S
from chaosrunner.proxy.refusals import RefusedError, StartError

TOKEN_VARIABLE = "CHAOSRUNNER_PROXY_TOKEN"  # noqa: S105 -- the name of a variable, not its value

LOOP_HANGS_S = 5


def run(argv: Sequence[str] | None) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP; the exit code: 0, or 2 if it could not start as asked."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as done:  # argparse has said it all: the help, the version, or what is wrong
        return int(done.code or 0)
    if options.openapi:
        return _print_document()
    _allow_many_descriptors()
    try:
        proxies = [] if options.config is None else read_config(Path(options.config))
        with _best_loop() as runner:
            runner.run(_serve(options, proxies))
    except StartError as error:
        sys.stderr.write(f"chaosrunner proxy: {error}\n")
        return 2
    return 0


def read_config(path: Path) -> list[decode.Fields]:
    """The proxies of a config file: a JSON list, as a populate call takes it.

    Raises:
        StartError: If it cannot be read, is no such list, or asks for toxics, which a config cannot set.
    """
    try:
        proxies = decode.read_list(path.read_bytes())
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from None
    except RefusedError as refusal:
        raise StartError(f"{path}: {refusal.sentence}") from None
    for proxy in proxies:
        if proxy.get("toxics"):
            raise StartError(f"{path}: a config file cannot set toxics; add them through the API")
    return proxies


async def _serve(options: argparse.Namespace, proxies: Sequence[decode.Fields]) -> None:
    from chaosrunner.proxy.api.metrics import Metrics
    from chaosrunner.proxy.server import FaultProxy

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    proxy = FaultProxy(
        options.host,
        options.port,
        token=options.token,
        seed=options.seed,
        audit=audit_to(as_json=options.log_format == "json"),
        like_toxiproxy=options.compat is not None,
        metrics=[kind for kind in get_args(Metrics) if getattr(options, f"{kind}_metrics")],
        mark=options.mark,
        reachable=options.reachable,
    )
    await proxy.start(proxies)
    if options.lasts is not None:
        loop.call_later(options.lasts, stop.set)
        signal.alarm(math.ceil(options.lasts) + LOOP_HANGS_S)  # the kernel ends us, should the loop ever hang
    with contextlib.suppress(OSError):  # whoever started us may not listen
        print(f"ready {proxy.url}", flush=True)
    await stop.wait()
    await proxy.stop()


def _print_document() -> int:
    from chaosrunner.proxy.server import FaultProxy

    with contextlib.suppress(BrokenPipeError):  # whoever reads has seen enough
        print(json.dumps(FaultProxy(metrics=["proxy"]).document(), indent=2), flush=True)
    return 0


def _allow_many_descriptors() -> None:
    # Two for each connection: running out would look like a fault of the upstream.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems refuse what they report as their limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _best_loop() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chaosrunner proxy",
        description="A TCP proxy that breaks connections on request, with Toxiproxy's HTTP API.",
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "-help", "--help", action="help", help="show this and exit")
    parser.add_argument("-host", "--host", default="localhost", help="where the API listens (default: %(default)s)")
    parser.add_argument("-port", "--port", type=_port, default=8474, help="its port, 0 for a free one (default: 8474)")
    parser.add_argument("-config", "--config", metavar="FILE", help="JSON list of proxies to create")
    parser.add_argument("-seed", "--seed", type=int, help="the same seed and traffic give the same faults")
    for kind, shows in (("proxy", "proxies and toxics"), ("runtime", "this process")):
        option = f"{kind}-metrics"
        parser.add_argument(
            f"-{option}",
            f"--{option}",
            type=_switch,
            nargs="?",
            const=True,
            default=False,
            metavar="BOOL",
            help=f"let GET /metrics tell Prometheus about {shows}",
        )
    parser.add_argument(
        "--compat",
        choices=["toxiproxy"],
        help="do as Toxiproxy does where a client could depend on what it does wrong",
    )
    parser.add_argument("--openapi", action="store_true", help="print the OpenAPI document of the API and exit")
    parser.add_argument(
        "-version",
        "--version",
        action="version",
        version=f"chaosrunner proxy version {__version__}, API of toxiproxy-server version {API_VERSION}",
    )
    parser.add_argument(
        "--token",
        default=os.environ.get(TOKEN_VARIABLE) or None,
        help=f"what every call must carry, as bearer token or as the password of the URL; needed to listen beyond this"
        f" machine (also ${TOKEN_VARIABLE})",
    )
    parser.add_argument("--for", dest="lasts", type=_seconds, metavar="SECONDS", help="end after so long")
    parser.add_argument("--mark", type=int, default=0, help="mark connections to servers (SO_MARK; CAP_NET_ADMIN)")
    parser.add_argument(
        "--reachable", action="store_true", help="let proxies, not the API, listen beyond this machine without a token"
    )
    parser.add_argument("--name", help="shown in the list of processes, for whoever wants to find this one again")
    parser.add_argument("--log-format", choices=["human", "json"], default="human", help="of the audit on stderr")
    return parser


def _switch(text: str) -> bool:
    """As Go's flag package reads a boolean."""
    if text in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    if text in {"0", "f", "F", "false", "FALSE", "False"}:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is not true or false")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= LONGEST_TTL_S:
        raise argparse.ArgumentTypeError(f"seconds are above 0 and at most {LONGEST_TTL_S:.0f}")
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is from 0 to 65535")
    return port
