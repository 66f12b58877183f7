"""Where devices disagree: `conflicts` lists, `resolve` settles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peerd.cli import exits
from peerd.cli.arguments import Misused, from_argument_or_stdin, json_value
from peerd.cli.output import CELL_COLUMNS
from peerd.cli.status import short
from peerd.cli.text import counted, moment, one_line, width
from peerd.control.client import path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output
    from peerd.control.client import Client


def add(commands: Commands) -> None:
    listing = commands.add(
        "conflicts", "list the open conflicts with all their values", "Exit code 5 if there are any."
    )
    listing.add_argument("space", metavar="SPACE")
    listing.add_argument("--collection", help="only of this one")
    listing.add_argument("--key", help="only of this record; needs --collection")
    listing.set_defaults(run=run_conflicts)

    resolve = commands.add("resolve", "settle a conflict, on all devices")
    resolve.add_argument("space", metavar="SPACE")
    resolve.add_argument("id", metavar="ID", help="as `conflicts` shows it")
    how = resolve.add_mutually_exclusive_group(required=True)
    how.add_argument("--choose", metavar="N", type=int, help="the value with this number")
    how.add_argument("--value", metavar="JSON", help="another value; - reads stdin")
    how.add_argument("--drop", action="store_true", help="neither: drop the field, or the restored record")
    resolve.add_argument("--if-match", metavar="ETAG", help="only if it still has the values you saw, else exit 6")
    resolve.set_defaults(run=run_resolve)


def run_conflicts(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    if arguments.key and not arguments.collection:
        raise Misused("--key needs --collection")
    query = {name: getattr(arguments, name) for name in ("collection", "key") if getattr(arguments, name)}
    found = list(client.pages(path("spaces", arguments.space, "conflicts"), "conflicts", query=query))
    if out.as_json:
        out.document({"conflicts": found})
    elif out.on_terminal:
        for conflict in found:
            _show(conflict, out)
    else:
        out.table((), [_row(conflict, value) for conflict in found for value in conflict["values"]])
    if found and out.on_terminal:
        ways = "--choose N, or --value JSON, or --drop"
        if any(width(one_line(value["value"])) > CELL_COLUMNS for conflict in found for value in conflict["values"]):
            out.talk("long values are cut; --json shows them whole")
        out.talk(f"{counted(len(found), 'conflict')}; settle with: peerctl resolve {arguments.space} ID {ways}")
    elif not found and not out.as_json:
        out.talk("no conflicts")
    return exits.CONFLICTS if found else exits.OK


def _row(conflict: Mapping[str, Any], value: Mapping[str, Any]) -> list[object]:
    place = [conflict["id"], conflict["kind"], conflict["collection"], conflict["key"], conflict.get("field")]
    who = [value["device_name"], value.get("device"), moment(value["time_ms"])]
    deleter = _deleter(conflict)
    end = [f"deleted by {deleter}"] if deleter else []
    return [*place, value["n"], one_line(value["value"]), *who, "shown" if value.get("shown") else "", *end]


def _deleter(conflict: Mapping[str, Any]) -> str:
    return conflict.get("deleted_by_name") or short(conflict.get("deleted_by") or "")


def _show(conflict: Mapping[str, Any], out: Output) -> None:
    place = f"{conflict['collection']}/{conflict['key']}"
    what = {
        "field": f"field {conflict.get('field')}",
        "restored": f"edited on one device, deleted on {_deleter(conflict) or 'another'}: restored",
        "parked": "edited on one device, deleted on another: not shown yet",
    }.get(conflict["kind"], conflict["kind"])
    out.raw(f"{out.styled(place, 'bold')}  {out.styled(what, '')}  {out.styled(conflict['id'], 'dim')}")
    rows = [
        [
            value["n"],
            one_line(value["value"]),
            value["device_name"] or short(value.get("device") or ""),
            moment(value["time_ms"]),
            "shown" if value.get("shown") else "",
        ]
        for value in conflict["values"]
    ]
    out.table(("N", "VALUE", "DEVICE", "WRITTEN", ""), rows, {"shown": "green"})
    out.raw("")


def run_resolve(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    body: dict[str, Any] = {}
    if arguments.choose is not None:
        body["choose"] = arguments.choose
    elif arguments.drop:
        body["drop"] = True
    else:
        body["value"] = json_value(from_argument_or_stdin(arguments.value))
    if arguments.if_match is not None:
        body["etag"] = arguments.if_match.strip('"')
    answer = client.call("POST", path("spaces", arguments.space, "conflicts", arguments.id), body=body).body
    if out.as_json:
        out.document(answer if answer is not None else {})
    else:
        out.talk("settled; the other devices learn of it as of any change")
    return exits.OK
