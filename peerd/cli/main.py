"""The entry point of `peerctl`: read the arguments, run one command, turn what went wrong into words."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from peerd import __version__, standard_streams
from peerd.cli import (
    backups,
    bulk,
    conflicts,
    exits,
    history,
    pairing,
    recopies,
    records,
    relays,
    revert,
    scrub,
    spaces,
    status,
    tables,
    upkeep,
)
from peerd.cli.arguments import Commands, Parser, wants_json
from peerd.cli.output import Output
from peerd.control.client import BadAnswer, Client, Problem, default_socket
from peerd.errors import PeerdError

if TYPE_CHECKING:
    from collections.abc import Sequence

_FAMILIES = (
    status,
    spaces,
    pairing,
    records,
    bulk,
    conflicts,
    tables,
    relays,
    history,
    revert,
    recopies,
    backups,
    scrub,
    upkeep,
)


def parser() -> argparse.ArgumentParser:
    """The whole command line; `docs/commands.md` is written from it."""
    top = Parser(
        prog="peerctl",
        description="Ask and drive the peerd daemon on this machine.",
        epilog="`peerctl COMMAND --help` tells more; docs/commands.md has all commands and exit codes.",
        allow_abbrev=False,
    )
    _add_common(top, for_commands=False)
    top.add_argument("--version", action="version", version=f"peerctl {__version__}")
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_common(common, for_commands=True)
    commands = Commands(top.add_subparsers(dest="command", metavar="COMMAND", required=True), common)
    for family in _FAMILIES:
        family.add(commands)
    return top


def _add_common(target: argparse.ArgumentParser, *, for_commands: bool) -> None:
    # After the command they must not undo what stood before it, so there they have no default.
    absent: Any = argparse.SUPPRESS if for_commands else None
    target.add_argument("--socket", metavar="PATH", default=absent, help="the daemon's socket (PEERD_SOCKET)")
    off: Any = argparse.SUPPRESS if for_commands else False
    target.add_argument(
        "--json", action="store_true", default=off, help="JSON on stdout; streams as one document a line"
    )
    target.add_argument("--no-color", action="store_true", default=off, help="no colour (NO_COLOR)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Only argparse ends the process itself, for help and the version."""
    standard_streams.fill_in()
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return exits.INTERRUPTED
    except OSError as error:
        # What the socket can say has been turned into words by the client: this is the output itself.
        _silence_stdout()
        print(  # noqa: T201 - the way out for words is what may have failed
            f"peerctl: the output cannot be written: {error.strerror or error} [output-failed]", file=sys.stderr
        )
        return exits.FAILED


def _run(argv: Sequence[str] | None) -> int:
    given = sys.argv[1:] if argv is None else list(argv)
    as_json = wants_json(given)
    for stream in (sys.stdout, sys.stderr):
        _tolerate(stream, utf8=as_json)
    out = Output(as_json=as_json, colour="--no-color" not in given)
    try:
        arguments = parser().parse_args(given)
        out = Output(as_json=arguments.json, colour=not arguments.no_color)
        code = _asked(arguments, out)
    except PeerdError as error:
        complain(error, out)
        code = error.exit_code
    sys.stdout.flush()
    return code


def _asked(arguments: argparse.Namespace, out: Output) -> int:
    with Client(arguments.socket or default_socket()) as client:
        try:
            code: int = arguments.run(arguments, client, out)
        except (LookupError, TypeError, AttributeError) as error:
            # The commands take answers apart without looking; whoever answers may be of another version.
            raise BadAnswer(
                f"the answer is not what this command expects ({type(error).__name__}: {error})",
                next_step="check that the daemon and peerctl are of the same version; if they are, report it",
            ) from error
    return code


def complain(error: PeerdError, out: Output) -> None:
    """Say what was wrong and what to do next; with `--json` also as a document on stdout."""
    if out.as_json:
        document: dict[str, Any] = error.document if isinstance(error, Problem) else {}
        out.line_of_stream(
            {"error": {**document, "code": error.code, "detail": str(error), "next_step": error.next_step}}
        )
    first, *more = f"{error} [{error.code}]".splitlines()
    out.talk(f"peerctl: {first}", "red")
    for line in more:
        out.talk(f"  {line}", "red")
    if error.next_step:
        out.talk(f"  next: {error.next_step}")


def _tolerate(stream: Any, *, utf8: bool) -> None:
    """Print what the locale cannot as escapes instead of failing; JSON is UTF-8 in every locale."""
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="backslashreplace", encoding="utf-8" if utf8 else None)


def _silence_stdout() -> None:
    # The interpreter flushes stdout once more at its end, and would complain about the broken pipe then.
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def entry() -> NoReturn:
    """Run as a script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
