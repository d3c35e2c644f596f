"""`chaosrunner proxy`: the embedded fault proxy, a process of its own that dies last."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from chaosrunner.errors import Mistake, Mistakes

if TYPE_CHECKING:
    from chaosrunner.model.system import System


@click.command("proxy", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.option("--system", type=click.Path(path_type=Path))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(system: Path | None, args: tuple[str, ...]) -> int:
    """Run the embedded fault proxy (Toxiproxy's HTTP API v2 on 127.0.0.1:8474).

    With `--system FILE` it listens where that file says `fault_proxy`, and has a proxy for each component that says
    `proxy: at host:port`.
    """
    from chaosrunner.cli.diagnostics import configure
    from chaosrunner.logic.parse import load_system
    from chaosrunner.proxy import main
    from chaosrunner.world.files import around_here

    configure()
    if system is None:
        return main(args)
    where, proxies = asked_for(load_system(system, around_here()))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        config.write(json.dumps(proxies))
        config.flush()
        return main([*where, "-config", config.name, *args])


def asked_for(system: System) -> tuple[list[str], list[dict[str, str]]]:
    """Where the control API listens, as options, and the proxies that a system asks for, as a config holds them.

    Raises:
        Mistakes: it asks for none, or does not say where the API is.
    """
    wanted = [part for part in system.components.values() if part.proxy is not None and part.proxy.listen]
    if not wanted:
        raise Mistakes([Mistake(system.file, 1, 1, "no component says 'proxy: at 127.0.0.1:6432'")])
    if not system.fault_proxy:
        raise Mistakes(
            [Mistake(system.file, 1, 1, "say where the proxy is told: 'fault_proxy: http://127.0.0.1:8474'")]
        )
    api = urlsplit(system.fault_proxy)
    proxies = [
        {
            "name": part.name,
            "listen": part.proxy.listen,
            "upstream": part.proxy.behind[0],
            "protocol": part.proxy.protocol,
        }
        for part in wanted
        if part.proxy is not None
    ]
    return ["-host", api.hostname or "", "-port", str(api.port or 80)], proxies
