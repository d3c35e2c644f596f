"""Command line of the demo: `python -m chaosrunner.demo [--fragile]`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.demo.options import DSN_VARIABLE, DemoOptions
from chaosrunner.errors import ChaosrunnerError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo until it is told to stop; see `chaosrunner.demo.serve`."""
    arguments = _parser().parse_args(argv)
    options = DemoOptions(
        base_port=arguments.base_port,
        fragile=arguments.fragile,
        directory=arguments.dir,
        dsn=arguments.dsn,
        pg_bin=arguments.pg_bin,
        system_file=arguments.system_out,
        isolated=arguments.isolated,
        own_disk=arguments.own_disk,
        cache=arguments.cache,
    )
    from chaosrunner.demo.supervisor import supervise  # after the arguments: --help and mistakes answer at once

    try:
        asyncio.run(supervise(options, until_eof=arguments.until_eof))
    except ChaosrunnerError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chaosrunner.demo", description="A small real system to break.")
    parser.add_argument("--base-port", type=int, default=18080, help="first of 31 ports (default: 18080)")
    parser.add_argument("--fragile", action="store_true", help="with the defects that real systems have")
    parser.add_argument("--isolated", action="store_true", help="the model in a network namespace (needs root)")
    parser.add_argument("--own-disk", action="store_true", help="audit trails, on a small disk only this demo has")
    parser.add_argument("--cache", action="store_true", help="replicas read through a cache, in a Redis of its own")
    parser.add_argument("--dir", type=Path, help="logs, users.csv and system file go here (default: temporary)")
    parser.add_argument(
        "--dsn",
        default=os.environ.get(DSN_VARIABLE),
        help=f"use this Postgres, in a schema of our own (default: ${DSN_VARIABLE}, else one of its own)",
    )
    parser.add_argument("--pg-bin", type=Path, help="directory of initdb and postgres (default: found)")
    parser.add_argument("--system-out", type=Path, metavar="FILE", help="write the system file here, too")
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input ends")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
