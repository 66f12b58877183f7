"""What was written by whom and when, and what records were: `log`, `show`."""

from __future__ import annotations

from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any, Final

from peerd.cli import exits
from peerd.cli.arguments import Misused
from peerd.cli.status import short
from peerd.cli.text import moment, one_line
from peerd.cli.times import HOW, wall_ms
from peerd.control.client import PAGE, path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output
    from peerd.control.client import Client

_CHANGES_SHOWN: Final = 3
_APART_MS: Final = 60_000
_KIND_STYLES: Final = {"created": "green", "restored": "green", "deleted": "red"}


def add(commands: Commands) -> None:
    log = commands.add(
        "log",
        "list transactions, the newest first",
        "They stand in the order in which they arrived at this device, and --since and --until go by when that was, by "
        "this device's clock. The time that is shown is the author's, by its own; where the two are more than a minute "
        "apart, the arrival stands behind it.",
    )
    log.add_argument("space", metavar="SPACE")
    log.add_argument("--device", metavar="DEVICE", help="only those of this device: its id, its short id, or its name")
    log.add_argument("--collection", help="only those that change this collection")
    log.add_argument("--key", help="only those that change this record; needs --collection")
    log.add_argument("--limit", metavar="N", type=int, default=50, help="at most so many, 0 for all (default: 50)")
    add_span(log)
    log.set_defaults(run=run_log)

    show = commands.add(
        "show",
        "show what a record was: its versions, or what it was at a time",
        "Without --at all versions that are known here, the newest first, with who made them and when; also of a "
        "record that is gone. With --at the record as this device showed it then: with what had arrived here by that "
        "time, by this device's clock. Exit code 1 if nothing is known here of such a record, or there was none then.",
    )
    show.add_argument("space", metavar="SPACE")
    show.add_argument("collection", metavar="COLLECTION")
    show.add_argument("key", metavar="KEY")
    show.add_argument("--at", metavar="TIME", help=HOW)
    show.add_argument("--limit", metavar="N", type=int, default=50, help="at most so many, 0 for all (default: 50)")
    show.set_defaults(run=run_show)


def add_span(parser: argparse.ArgumentParser) -> None:
    """The options --since and --until."""
    parser.add_argument("--since", metavar="TIME", help=f"only what arrived here since then: {HOW}")
    parser.add_argument("--until", metavar="TIME", help="only what arrived here until then")


def span_of(arguments: argparse.Namespace) -> dict[str, int]:
    """What they say, as the socket takes it. Raises Misused."""
    named = {"since_ms": arguments.since, "until_ms": arguments.until}
    found = {name: wall_ms(text) for name, text in named.items() if text is not None}
    if found.get("since_ms", 0) > found.get("until_ms", inf):
        raise Misused("--until is before --since")
    return found


def run_log(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    if arguments.limit < 0:
        raise Misused("--limit is a number from 0")
    if arguments.key and not arguments.collection:
        raise Misused("--key needs --collection")
    query = {name: value for name in ("device", "collection", "key") if (value := getattr(arguments, name))}
    query |= {name: str(value) for name, value in span_of(arguments).items()}
    query["limit"] = str(min(arguments.limit or PAGE, PAGE))
    pages = Pages(client, path("spaces", arguments.space, "log"), "transactions", query)
    wanted = iter(pages) if arguments.limit == 0 else islice(pages, arguments.limit)
    if out.as_json:
        found = list(wanted)
        out.document({"transactions": found, "begins": pages.begins})
        return exits.OK
    shown = 0
    for entry in wanted:
        shown += 1
        who = entry["device_name"] or short(entry.get("device") or "") or "?"
        when, dot = out.styled(_when(entry), ""), out.styled(short_dot(entry["dot"], out), "dim")
        changes = out.gap.join(out.styled(text, "") for text in _summaries(entry["changes"], whole=not out.on_terminal))
        out.raw(out.gap.join([when, out.styled(who, "bold"), dot, changes]))
    if shown == 0:
        out.talk("no such transactions")
    if pages.begins and pages.at_end:
        out.talk(beginning(pages.begins))
    return exits.OK


def run_show(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    address = path("spaces", arguments.space, "records", arguments.collection, arguments.key, "history")
    if arguments.at is not None:
        return _show_then(client.call("GET", f"{address}/{wall_ms(arguments.at)}").body, out)
    if arguments.limit < 0:
        raise Misused("--limit is a number from 0")
    pages = Pages(client, address, "versions", {"limit": str(min(arguments.limit or PAGE, PAGE))})
    versions = list(pages if arguments.limit == 0 else islice(pages, arguments.limit))
    known = exits.OK if versions else exits.FAILED
    if out.as_json:
        out.document({"versions": versions, "begins": pages.begins})
        return known
    for version in versions:
        who = version["device_name"] or short(version.get("device") or "") or "?"
        value = "" if version["value"] is None else one_line(version["value"])
        dot = "-" if version["dot"] is None else short_dot(version["dot"], out)
        kind = out.styled(version["kind"], _KIND_STYLES.get(version["kind"], ""))
        parts = [out.styled(_when(version) or "?", ""), out.styled(who, "bold"), out.styled(dot, "dim"), kind, value]
        out.raw(out.gap.join(parts).rstrip())
    if not versions:
        out.talk(f"nothing is known here of {arguments.collection}/{arguments.key}")
    if pages.begins and pages.at_end:
        out.talk(beginning(pages.begins))
    return known


def _show_then(then: Mapping[str, Any], out: Output) -> int:
    if out.as_json:
        out.document(then)
    elif then["value"] is not None:
        out.document(then["value"])
    if then["value"] is None:
        out.talk(f"there was no {then['collection']}/{then['key']} here at {moment(then['at_ms'])}")
    for field, values in then["values"].items():
        others = [one for one in values if not one["shown"]]
        for one in others:
            who = one["device_name"] or short(one.get("device") or "") or "?"
            out.talk(f"{field} was in conflict; {who} had written {one_line(one['value'])}", "yellow")
    if then.get("estimated"):
        out.talk("when this came here is not known any more; its author's clock was believed", "yellow")
    return exits.OK if then["value"] is not None else exits.FAILED


class Pages:
    """A list that comes in pages, and what its pages say of where it begins. `at_end`: the last page has come."""

    def __init__(self, client: Client, address: str, member: str, query: Mapping[str, str]) -> None:
        self.begins: dict[str, Any] | None = None
        self.at_end = False
        self._client = client
        self._address = address
        self._member = member
        self._query = dict(query)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while not self.at_end:
            page = self._client.call("GET", self._address, query=self._query).body
            self.begins = page.get("begins")
            self.at_end = not page.get("cursor")
            yield from page[self._member]
            self._query["cursor"] = page.get("cursor") or ""


def beginning(begins: Mapping[str, Any]) -> str:
    """Where what this device knows of the past begins, and why, in a sentence."""
    when = moment(begins["time_ms"])
    return {
        "trimmed": f"the log of this device begins at {when}: what is older was trimmed",
        "snapshot": f"the log of this device begins at {when}, when it took over the state of another one",
        "cut": f"it has more versions than are listed, from before {when}: `peerctl show --at` finds them",
        "forgotten": f"single records are known here since {when}: older history is forgotten (history_days)",
    }.get(begins["cause"], f"begins at {when}")


def _when(entry: Mapping[str, Any]) -> str:
    written_ms, arrived_ms = entry["time_ms"], entry.get("arrived_ms")
    if written_ms is None:
        return moment(arrived_ms)
    if not arrived_ms or abs(arrived_ms - written_ms) < _APART_MS:
        return moment(written_ms)
    return f"{moment(written_ms)} (here {moment(arrived_ms)})"


def short_dot(dot: str, out: Output) -> str:
    """The name of a transaction; on a terminal only the beginning of its origin."""
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
