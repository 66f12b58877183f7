"""`peerd`: run the daemon in the foreground, or check its configuration."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import os
import sys
from pathlib import Path

from peerd import __version__, logs, standard_streams
from peerd.config import lacking, load
from peerd.errors import ConfigError, PeerdError


def main(arguments: list[str] | None = None) -> int:
    """Give the exit code: 0 after a stop that was asked for, 1 for a failure, 2 for a bad configuration."""
    standard_streams.fill_in()
    options = _parser().parse_args(arguments)
    if options.command == "check-config":
        return _check_config(options.config)
    try:
        settings = load(options.config, os.environ)
        logs.configure(settings.log.level, settings.log.format)
        return _run(options.config)
    except ConfigError as problem:
        for one in problem.problems:
            print(one, file=sys.stderr)
        return problem.exit_code
    except PeerdError as problem:
        print(f"peerd: {problem}", file=sys.stderr)
        if problem.next_step:
            print(f"       {problem.next_step}", file=sys.stderr)
        return problem.exit_code


def _run(config: Path | None) -> int:
    from peerd.daemon import Daemon  # noqa: PLC0415 - checking a configuration needs none of it

    faulthandler.enable()  # a watchdog that ends us leaves a traceback
    # A batch of a thousand records makes some ten thousand containers, none of them in a cycle: with Python's own
    # thresholds a third of a catch-up went into looking for cycles among them.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)

    async def run() -> None:
        settings = load(config, os.environ)
        daemon = Daemon(settings, lambda: load(config, os.environ), os.environ)
        await daemon.run()

    asyncio.run(run())
    return 0


def _check_config(config: Path | None) -> int:
    try:
        missing = lacking(load(config, os.environ))
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return error.exit_code
    for one in missing:
        print(one, file=sys.stderr)
    print("the configuration is good; this machine lacks something" if missing else "the configuration is good")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="peerd", description="Keep application data the same on every machine.")
    parser.add_argument("--version", action="version", version=f"peerd {__version__}")
    parser.add_argument(
        "--config", type=Path, default=None, help="the configuration file (default: PEERD_CONFIG or the usual places)"
    )
    parser.add_argument("command", nargs="?", choices=["check-config"], help="report all problems and end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
