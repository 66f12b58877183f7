"""Undoing: `revert`. It shows what would be done, asks, and then does it portion by portion."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from peerd.cli import exits
from peerd.cli.arguments import Misused
from peerd.cli.history import short_dot, span_of
from peerd.cli.status import short
from peerd.cli.text import counted, moment, one_line
from peerd.cli.times import HOW
from peerd.control.client import path
from peerd.errors import PeerdError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output
    from peerd.control.client import Client

_SHOWN: Final = 20
_STYLES: Final = {"created": "green", "deleted": "red", "changed": "", None: "yellow"}
_WORDS: Final = {"created": "create", "deleted": "delete", "changed": "change"}


def add(commands: Commands) -> None:
    revert = commands.add(
        "revert",
        "undo a transaction, a device's in a span of time, or everything since a time",
        "It is undone by new changes, which travel like any other, into bound tables too, and can be reverted "
        "themselves. Fields that somebody has changed since stay as they are and are named, but for --since without "
        "--device, which puts all records back to what they showed here at that time. Large ones are done in several "
        "transactions; half of a record is never put back. Without --yes it shows first what would be done, and asks. "
        "Exit code 6 if nothing could be undone because of later changes.",
    )
    revert.add_argument("space", metavar="SPACE")
    revert.add_argument("transaction", metavar="ORIGIN:SEQ", nargs="?", help="as `log` prints it, also cut short")
    revert.add_argument("--device", metavar="DEVICE", help="only what this device wrote: its id, short id, or name")
    revert.add_argument("--since", metavar="TIME", help=f"what arrived here since then: {HOW}")
    revert.add_argument("--until", metavar="TIME", help="only until then; needs --device")
    revert.add_argument("--collection", help="only records of this collection")
    revert.add_argument("--key", help="only this record; needs --collection")
    revert.add_argument("--anyway", action="store_true", help="also put back what was changed since")
    revert.add_argument("--dry-run", action="store_true", help="only show what would be done")
    revert.add_argument("--yes", action="store_true", help="do not ask")
    revert.set_defaults(run=run_revert)


def run_revert(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    body = _wish(arguments)
    address = path("spaces", arguments.space, "revert")
    if not arguments.yes or arguments.dry_run:
        seen = _Seen(out)
        for portion in _portions(client, address, {**body, "preview": True}):
            seen.add(portion)
        if arguments.dry_run or not seen.changes or not out.as_json:  # one document is enough
            seen.say(would=True)
        if arguments.dry_run or not seen.changes:
            return seen.code()
        if not out.ask(f"Put back {counted(seen.changes, 'record')} in {arguments.space}?"):
            out.talk("nothing was undone")
            return exits.FAILED
    done = _Seen(out, is_shown=arguments.yes)
    began_ms = time.time() * 1000
    try:
        for portion in _portions(client, address, body):
            done.add(portion)
    except PeerdError as problem:
        if done.changes:
            problem.args = (f"{counted(done.changes, 'record')} put back; then: {problem}",)
        raise
    done.say(would=False)
    if done.dots and not out.as_json:
        out.talk(f"to undo that again: peerctl revert {arguments.space} {_back(done.dots, began_ms, client, out)}")
    return done.code()


def _back(dots: list[str], began_ms: float, client: Client, out: Output) -> str:
    """What names these transactions of this device, of which the first was made then."""
    if len(dots) > 1:
        with suppress(PeerdError):
            device = client.call("GET", path("status")).body["device"]["id"]
            return f"--device {short(device)} --since {shlex.quote(moment(began_ms))}"
    return short_dot(dots[0], out) + (f" and {len(dots) - 1:,} more" if len(dots) > 1 else "")


def _wish(arguments: argparse.Namespace) -> dict[str, Any]:
    span = span_of(arguments)
    if arguments.transaction is not None and (arguments.device or span):
        given = " and ".join(f"--{name}" for name in ("device", "since", "until") if getattr(arguments, name))
        raise Misused(
            f"a transaction and {given} were given: not both",
            next_step="name the transaction alone, or with --collection and --key; or leave it out",
        )
    if arguments.transaction is None and "since_ms" not in span:
        raise Misused(
            "name a transaction, or a time with --since",
            next_step=f"`peerctl log {arguments.space}` lists the transactions",
        )
    if "until_ms" in span and not arguments.device:
        raise Misused("--until needs --device: everything can only be put back to how it was at a time")
    if arguments.key and not arguments.collection:
        raise Misused("--key needs --collection")
    named = {name: getattr(arguments, name) for name in ("transaction", "device", "collection", "key", "anyway")}
    return {**{name: value for name, value in named.items() if value}, **span}


def _portions(client: Client, address: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        portion = client.call("POST", address, body={**body, **({"cursor": cursor} if cursor else {})}).body
        yield portion
        cursor = portion.get("cursor")
        if not cursor:
            return


class _Seen:
    """What portions said, printed as far as it is worth it and counted."""

    def __init__(self, out: Output, *, is_shown: bool = True) -> None:
        self.changes = 0
        self._left = 0
        self._lines = 0
        self.dots: list[str] = []
        self._records: list[dict[str, Any]] = []
        self._out = out
        self._is_shown = is_shown

    def add(self, portion: Mapping[str, Any]) -> None:
        for record in portion["records"]:
            self.changes += record["done"] is not None
            self._left += bool(record["left"] or record["reason"])
            if self._out.as_json:
                self._records.append(record)
            elif self._is_shown:
                self._show(record)
        if portion["dot"] is not None:
            self.dots.append(portion["dot"])

    def _show(self, record: Mapping[str, Any]) -> None:
        self._lines += 1
        if self._out.on_terminal and self._lines > _SHOWN:
            return
        out = self._out
        word = out.styled(_WORDS.get(record["done"], "leave"), _STYLES[record["done"]])
        parts = [word, out.styled(f"{record['collection']}/{record['key']}", "bold")]
        if record["set"]:
            parts.append(one_line(record["set"]))
        if record["drop"]:
            parts.append(f"drop {out.styled(', '.join(record['drop']), '')}")
        if record["left"]:
            parts.append(out.styled(f"changed since: {', '.join(record['left'])}", "yellow"))
        if record["conflicts"]:
            parts.append(out.styled(f"in conflict: {', '.join(record['conflicts'])}", "yellow"))
        if record["reason"]:
            parts.append(out.styled(record["reason"], "yellow"))
        out.raw(out.gap.join(parts))

    def say(self, *, would: bool) -> None:
        """The sum of it; with --json all of it."""
        out = self._out
        if out.as_json:
            out.document({"preview": would, "transactions": self.dots, "records": self._records})
            return
        if out.on_terminal and self._is_shown and self._lines > _SHOWN:
            out.talk(f"and {self._lines - _SHOWN:,} more; --json shows all")
        done = "would be put back" if would else "put back"
        they = "it is" if self._left == 1 else "they are"
        left = f"; {counted(self._left, 'record')} left as {they}" if self._left else ""
        if not self.changes and not self._left:
            out.talk("there is nothing to undo")
            return
        out.talk(f"{counted(self.changes, 'record')} {done}{left}")

    def code(self) -> int:
        return exits.REFUSED if self._left and not self.changes else exits.OK
