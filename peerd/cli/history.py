"""What was written by whom and when: `log`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from peerd.cli import exits
from peerd.cli.arguments import Misused
from peerd.cli.status import short
from peerd.cli.text import moment
from peerd.control.client import PAGE, path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output
    from peerd.control.client import Client

_CHANGES_SHOWN: Final = 3


def add(commands: Commands) -> None:
    log = commands.add("log", "list transactions, the newest first")
    log.add_argument("space", metavar="SPACE")
    log.add_argument("--device", metavar="DEVICE", help="only those of this device: its id, its short id, or its name")
    log.add_argument("--collection", help="only those that change this collection")
    log.add_argument("--key", help="only those that change this record; needs --collection")
    log.add_argument("--limit", metavar="N", type=int, default=50, help="at most so many, 0 for all (default: 50)")
    log.set_defaults(run=run_log)


def run_log(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    if arguments.limit < 0:
        raise Misused("--limit is a number from 0")
    if arguments.key and not arguments.collection:
        raise Misused("--key needs --collection")
    query = {name: value for name in ("device", "collection", "key") if (value := getattr(arguments, name))}
    query["limit"] = str(min(arguments.limit or PAGE, PAGE))
    entries = client.pages(path("spaces", arguments.space, "log"), "transactions", query=query)
    wanted = entries if arguments.limit == 0 else islice(entries, arguments.limit)
    if out.as_json:
        out.document({"transactions": list(wanted)})
        return exits.OK
    is_empty = True
    for entry in wanted:
        is_empty = False
        who = entry["device_name"] or short(entry.get("device") or "") or "?"
        when, dot = out.styled(moment(entry["time_ms"]), ""), out.styled(_short_dot(entry["dot"], out), "dim")
        changes = out.gap.join(out.styled(text, "") for text in _summaries(entry["changes"], whole=not out.on_terminal))
        out.raw(out.gap.join([when, out.styled(who, "bold"), dot, changes]))
    if is_empty:
        out.talk("no such transactions")
    return exits.OK


def _short_dot(dot: str, out: Output) -> str:
    origin, colon, seq = dot.rpartition(":")
    return f"{origin[:8]}{colon}{seq}" if out.on_terminal else dot


def _summaries(changes: list[dict[str, Any]], *, whole: bool) -> list[str]:
    shown = changes if whole else changes[:_CHANGES_SHOWN]
    texts = [_summary(change) for change in shown]
    if len(shown) < len(changes):
        texts.append(f"and {len(changes) - len(shown):,} more")
    return texts


def _summary(change: Mapping[str, Any]) -> str:
    fields = [*change.get("set", ()), *(f"-{name}" for name in change.get("drop", ()))]
    named = f" ({', '.join(fields)})" if fields and change["kind"] == "patch" else ""
    return f"{change['kind']} {change['collection']}/{change['key']}{named}"
