"""Single records: `get`, `put`, `patch`, `delete`, `list`, `watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peerd.cli import arrival, exits
from peerd.cli.arguments import Misused, from_argument_or_stdin, json_object
from peerd.cli.text import counted, one_line
from peerd.control.client import NotRunning, path
from peerd.errors import PeerdError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output
    from peerd.control.client import Client

_DELETED = "(deleted)"  # what stands for the delete in a record that an edit brought back


def add(commands: Commands) -> None:
    get = commands.add("get", "print a record", "With --json also its etag and the fields that have several values.")
    _add_place(get)
    get.set_defaults(run=run_get)

    put = commands.add("put", "write a record as a whole")
    _add_place(put)
    put.add_argument("text", metavar="JSON", nargs="?", help="an object; - or nothing reads stdin")
    put.add_argument("--patch", action="store_true", help="set only the fields named, leave the others")
    put.add_argument("--create", action="store_true", help="only if there is no such record")
    _add_conditions(put)
    put.set_defaults(run=run_put)

    patch = commands.add("patch", "set and drop single fields of a record")
    _add_place(patch)
    patch.add_argument("text", metavar="JSON", nargs="?", help="the fields to set; - or nothing reads stdin")
    patch.add_argument("--drop", metavar="FIELD", action="append", default=[], help="drop a field (repeatable)")
    _add_conditions(patch)
    patch.set_defaults(run=run_patch)

    delete = commands.add("delete", "delete a record")
    _add_place(delete)
    _add_conditions(delete)
    delete.set_defaults(run=run_delete)

    listing = commands.add("list", "list the collections of a space, or the records of one")
    listing.add_argument("space", metavar="SPACE")
    listing.add_argument("collection", metavar="COLLECTION", nargs="?")
    listing.add_argument("--prefix", default="", help="only keys that begin with this")
    listing.set_defaults(run=run_list)

    watch = commands.add(
        "watch",
        "print changes as they happen, those of other devices and one's own",
        "With --json every line has the token that continues after it.",
    )
    watch.add_argument("space", metavar="SPACE")
    watch.add_argument("--since", metavar="TOKEN", default="now", help="continue after it; `start`: all records first")
    watch.add_argument("--collection", help="only this one")
    watch.set_defaults(run=run_watch)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("space", metavar="SPACE")
    parser.add_argument("collection", metavar="COLLECTION")
    parser.add_argument("key", metavar="KEY")


def _add_conditions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--if-match", metavar="ETAG", help="only if the record is still this one, else exit 6")
    parser.add_argument("--seen", metavar="ETAG", help="what you had seen: later edits of others are not overwritten")


def _place(arguments: argparse.Namespace) -> str:
    return path("spaces", arguments.space, "records", arguments.collection, arguments.key)


def _conditions(arguments: argparse.Namespace) -> dict[str, str]:
    headers = {}
    if arguments.if_match is not None:
        headers["If-Match"] = _quoted(arguments.if_match)
    if arguments.seen is not None:
        headers["Peerd-Seen"] = _quoted(arguments.seen)
    return headers


def _quoted(etag: str) -> str:
    if not etag.isascii() or not etag.isprintable():
        raise Misused("that is no etag", next_step="take it from `peerctl get --json`")
    return etag if etag == "*" or etag.startswith('"') else f'"{etag}"'


def run_get(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    record = client.call("GET", _place(arguments)).body
    out.document(record if out.as_json else record["value"])
    if fields := [field for field in record.get("conflicts", ()) if field != _DELETED]:
        out.talk(f"several values in {', '.join(fields)}: `peerctl conflicts {arguments.space}` shows them", "yellow")
    if len(fields) < len(record.get("conflicts", ())):
        out.talk(f"deleted elsewhere while it was edited: `peerctl conflicts {arguments.space}` shows it", "yellow")
    return exits.OK


def run_put(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    value = json_object(from_argument_or_stdin(arguments.text))
    headers = _conditions(arguments)
    if arguments.create:
        if arguments.patch:
            raise Misused("--create and --patch exclude each other")
        headers["If-None-Match"] = "*"
    if arguments.patch:
        return _written(client.call("PATCH", _place(arguments), body={"set": value}, headers=headers).body, out)
    return _written(client.call("PUT", _place(arguments), body=value, headers=headers).body, out)


def run_patch(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    nothing_to_set = arguments.text is None and arguments.drop
    fields = {} if nothing_to_set else json_object(from_argument_or_stdin(arguments.text))
    body = {"set": fields, "drop": arguments.drop}
    return _written(client.call("PATCH", _place(arguments), body=body, headers=_conditions(arguments)).body, out)


def run_delete(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    return _written(client.call("DELETE", _place(arguments), headers=_conditions(arguments)).body, out)


def _written(answer: Any, out: Output) -> int:
    if out.as_json:
        out.document(answer if answer is not None else {})
    return exits.OK


def run_list(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    if arguments.collection is None:
        if arguments.prefix:
            raise Misused("--prefix needs a collection")
        return _list_collections(arguments.space, client, out)
    address = path("spaces", arguments.space, "records", arguments.collection)
    query = {"prefix": arguments.prefix} if arguments.prefix else {}
    records = client.pages(address, "records", query=query)
    if out.as_json:
        out.document({"records": list(records)})
        return exits.OK
    is_empty = True
    for record in records:
        is_empty = False
        value = one_line(record["value"])
        out.raw(f"{out.styled(record['key'], 'bold')}{out.gap}{value}")
    if is_empty:
        like = f" whose keys begin with {arguments.prefix}" if arguments.prefix else ""
        out.talk(f"{arguments.space} has no records in {arguments.collection}{like}")
        arrival.tell_if_lacking(arguments.space, client, out)
    return exits.OK


def _list_collections(space: str, client: Client, out: Output) -> int:
    found = client.call("GET", path("spaces", space, "collections")).body
    if out.as_json:
        out.document(found)
        return exits.OK
    rows = [
        [view["name"], view["records"], view["conflicts"], view["settings"]["policy"], view["settings"]["merge"]]
        for view in found["collections"]
    ]
    out.table(("COLLECTION", "RECORDS", "CONFLICTS", "POLICY", "MERGE"), rows)
    if not rows:
        out.talk(f"{space} has no records yet")
    return exits.OK


def run_watch(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    query = {"follow": "1"}
    if arguments.since != "start":
        query["since"] = arguments.since
    token = ""
    seen = 0
    try:
        for event in client.stream("GET", path("spaces", arguments.space, "changes"), query=query):
            if arguments.collection is None or event.get("collection") in {None, arguments.collection}:
                _show_event(event, arguments.space, out)
                seen += 1
            token = event.get("token", token)
    except NotRunning as lost:
        if token:
            lost.next_step = f"once peerd runs again: peerctl watch {arguments.space} --since {token}"
        raise
    out.talk(f"peerd ended the feed after {counted(seen, 'event')}")
    return exits.OK


def _show_event(event: Mapping[str, Any], space: str, out: Output) -> None:
    if error := event.get("error"):
        raise PeerdError(str(error), code="feed-ended")
    if out.as_json:
        out.line_of_stream(event)
        return
    kind = event["kind"]
    if kind == "reset":
        out.talk("everything follows from the beginning: forget what was printed before")
    elif kind == "current":
        out.talk(f"up to date; watching {space}")
    else:
        value = one_line(event["value"]) if kind == "put" else ""
        place = [out.styled(event["collection"], ""), out.styled(event["key"], "bold")]
        out.raw(out.gap.join([out.styled(kind, "red" if kind == "delete" else "green"), *place, value]).rstrip())
        out.flush()
