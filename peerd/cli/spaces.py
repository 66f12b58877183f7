"""Spaces, their members and the settings of their collections: `space`, `members`, `remove`, `collection`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

from peerd.cli import exits
from peerd.cli.arguments import Misused
from peerd.cli.status import STATE_STYLES, short
from peerd.cli.text import counted, moment, size
from peerd.control.client import Problem, path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output
    from peerd.control.client import Client

TICKET_CHARS: Final = 8  # of the id of an invitation file, as people give it
POLICIES: Final = ("keep", "newest", "max", "min")


def add(commands: Commands) -> None:
    family = commands.family("space", "create, list and forget spaces")
    create = family.add("create", "create a space with this device as its only member")
    create.add_argument("name", metavar="NAME")
    create.set_defaults(run=run_create)
    listing = family.add("list", "list the spaces of this device")
    listing.set_defaults(run=run_list)

    forget = family.add(
        "forget",
        "be rid of this device's copy of a space",
        "The database is moved to `set-aside` in the state directory. Nobody is told and no other copy changes: to "
        "leave a space, `peerctl remove SPACE THIS-DEVICE` first.",
    )
    forget.add_argument("name", metavar="NAME")
    forget.add_argument("--delete", action="store_true", help="delete the database instead")
    forget.add_argument("--yes", action="store_true", help="do not ask")
    forget.set_defaults(run=run_forget)

    rebuild = family.add(
        "rebuild",
        "get a new copy of a space whose database is damaged or missing from the other members",
        "The old database is set aside. What only this copy had stays only there. Bound tables stay bound, and wait "
        "until the new copy is full.",
    )
    rebuild.add_argument("name", metavar="NAME")
    rebuild.add_argument("--yes", action="store_true", help="do not ask")
    rebuild.set_defaults(run=run_rebuild)

    members = commands.add(
        "members",
        "list the members of a space",
        "`admitted, never seen`: it has shown no sign of having a copy yet; its join may have failed. Of one that "
        "another member has let in, that one knows whether it came: `let in by another member, never seen here`. When "
        "a member was admitted is not known: statements about members carry no time. HOLDS BACK: what is older than "
        "`history_days` and kept because that member or relay lacks it, since when. `dormant`: a member that "
        "was not seen for 60 days, or a relay that has failed for as long, holds nothing back; the member gets a "
        "snapshot when it comes again. Who may still come is listed too: devices that `admit` named, and files of "
        "`invite --file` that nobody has used; `remove` withdraws them.",
    )
    members.add_argument("space", metavar="SPACE")
    members.set_defaults(run=run_members)
    remove = commands.add(
        "remove",
        "remove a member from a space for good",
        "What it wrote until now stays; what it writes from now on is not accepted. What it has, it keeps. One that "
        "`admit` was told of and that has not joined yet may not join any more. Of a file of `invite --file` give the "
        "id that `members` shows, or its first eight characters: then nobody may join by it. Who came by it before is "
        "a member, and removed as any other.",
    )
    remove.add_argument("space", metavar="SPACE")
    remove.add_argument("device", metavar="DEVICE", help="its id, its short id, or its name if only one has it")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    remove.set_defaults(run=run_remove)
    _add_collection(commands)


def _add_collection(commands: Commands) -> None:
    collection = commands.add(
        "collection",
        "show or change how a collection is read and merged",
        "The settings are the same on all devices. Policies only decide what is shown, never what is kept: "
        "keep shows the winner and lists the others as a conflict, newest shows it silently, max and min show "
        "the largest and the smallest value.",
    )
    collection.add_argument("space", metavar="SPACE")
    collection.add_argument("name", metavar="NAME")
    collection.add_argument("--policy", choices=POLICIES, help="for all fields")
    collection.add_argument(
        "--field-policy",
        metavar="FIELD=POLICY",
        action="append",
        default=[],
        help="for one field; `default` as the policy goes back to the collection's (repeatable)",
    )
    collection.add_argument(
        "--merge", choices=("field", "record"), help="merge by field or as a whole; fixed once there are records"
    )
    collection.add_argument(
        "--deletes", choices=("edit-wins", "delete-wins"), help="what happens when an edit meets a delete"
    )
    collection.set_defaults(run=run_collection)


def run_create(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    made = client.call("POST", path("spaces"), body={"name": arguments.name}).body
    if out.as_json:
        out.document(made)
    else:
        out.talk(f"created {made['name']}; `peerctl invite {made['name']}` lets another device in")
    return exits.OK


def run_list(_: argparse.Namespace, client: Client, out: Output) -> int:
    found: dict[str, Any] = client.call("GET", path("spaces")).body
    if out.as_json:
        out.document(found)
        return exits.OK
    rows = [
        [space["name"], space["id"], space["state"], space["records"], space["conflicts"], len(space["peers"])]
        for space in found["spaces"]
    ]
    out.table(("SPACE", "ID", "STATE", "RECORDS", "CONFLICTS", "PEERS"), rows, STATE_STYLES)
    if not rows:
        out.talk("no space yet: `peerctl space create NAME`, or `peerctl join CODE`")
    return exits.OK


def run_forget(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    what = "Delete this device's copy of" if arguments.delete else "Set aside this device's copy of"
    _tell_what_is_only_here(arguments.name, client, out)
    bound = _bound_to(arguments.name, client)
    if bound and not arguments.yes:
        named = ", ".join(one["name"] for one in bound)
        out.talk(f"bound to it: {named}; `peerctl tables unbind` first leaves no trace in their files", "yellow")
    if not arguments.yes and not out.ask(f"{what} {arguments.name}?"):
        out.talk("nothing forgotten")
        return exits.FAILED
    query = {"copy": "delete"} if arguments.delete else None
    gone = client.call("DELETE", path("spaces", arguments.name), query=query).body
    if out.as_json:
        out.document(gone)
    else:
        out.talk(f"forgot {gone['space']}" + (f"; its database is {gone['set_aside']}" if gone["set_aside"] else ""))
    for one in bound:
        out.talk(f"what peerd keeps in {one['database']} is there still", "yellow")
        out.talk(f"  next: peerctl tables unbind --file {shlex.quote(one['database'])}")
    return exits.OK


def _bound_to(name: str, client: Client) -> list[dict[str, Any]]:
    """The bindings of a space; none of one that cannot be read."""
    try:
        found: list[dict[str, Any]] = client.call("GET", path("spaces", name, "bindings")).body["bindings"]
    except Problem:
        return []
    return found


def _tell_what_is_only_here(name: str, client: Client, out: Output) -> None:
    """Of a copy that cannot be read nobody knows."""
    try:
        peers = client.call("GET", path("spaces", name)).body["peers"]
    except Problem:
        return
    lacking = [peer["ahead"] for peer in peers if peer.get("ahead") is not None]
    if lacking and (least := min(lacking)):
        out.talk(
            f"as far as is known here, no other device has the last {counted(least, 'transaction')} of it", "yellow"
        )


def run_rebuild(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    question = f"Set aside this device's copy of {arguments.name} and get a new one from the others?"
    _tell_what_is_only_here(arguments.name, client, out)
    if not arguments.yes and not out.ask(question):
        out.talk("nothing rebuilt")
        return exits.FAILED
    made = client.call("POST", path("spaces", arguments.name, "rebuild")).body
    if out.as_json:
        out.document(made)
        return exits.OK
    others = " or ".join(peer["name"] for peer in made["peers"])
    out.talk(f"{made['name']} has a new, empty copy; {others} fills it when met")
    return exits.OK


def run_members(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    found: dict[str, Any] = client.call("GET", path("spaces", arguments.space, "members")).body
    if out.as_json:
        out.document(found)
        return exits.OK
    rows = [
        [
            member["name"],
            member["device"],
            member["role"],
            f"{member['state']} until {moment(until)}" if (until := member.get("expires_ms")) else member["state"],
            moment(member.get("seen_ms")),
            _held(member.get("holding")),
        ]
        for member in found["members"]
    ]
    rows += [
        ["", one["id"], one["role"], f"invited by file until {moment(one['expires_ms'])}", "", ""]
        for one in found.get("tickets", ())
    ]
    rows += [[one["relay"], "", "relay", "", "", _held(one["holding"])] for one in found.get("relays", ())]
    out.table(("NAME", "DEVICE", "ROLE", "STATE", "LAST SEEN", "HOLDS BACK"), rows, STATE_STYLES)
    return exits.OK


def _held(holding: Mapping[str, Any] | None) -> str:
    """What somebody keeps from being trimmed."""
    if holding is None:
        return ""
    if not holding["active"]:
        return f"nothing: dormant for {counted(holding['silent_days'], 'day')}"
    if not holding["transactions"]:
        return "nothing"
    held = f"{counted(holding['transactions'], 'transaction')} ({size(holding['size_bytes'])})"
    since = moment(holding.get("since_ms"))
    return f"{held} since {since}" if since else held


def run_remove(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    address = path("spaces", arguments.space, "members")
    found = client.call("GET", address).body
    member, ticket = _named(found["members"], found.get("tickets", ()), arguments.device)
    if ticket:
        return _withdraw(ticket, arguments, client, out)
    device = member["device"] if member else arguments.device
    called = f"{member['name']} ({short(device)})" if member and member["name"] else device
    awaited = member is not None and member["state"] == "awaited"
    question = f"Await {called} no more" if awaited else f"Remove {called} from {arguments.space} for good"
    if not arguments.yes and not out.ask(f"{question}?"):
        out.talk("nothing removed")
        return exits.FAILED
    client.call("DELETE", f"{address}/{path(device).rpartition('/')[2]}")
    if out.as_json:
        out.document({"removed": {"device": device, "name": member["name"] if member else ""}})
    else:
        out.talk(f"{called} may not join {arguments.space}" if awaited else f"removed {called} from {arguments.space}")
    return exits.OK


def _withdraw(ticket: str, arguments: argparse.Namespace, client: Client, out: Output) -> int:
    called = f"the invitation file {ticket[:TICKET_CHARS]}"
    if not arguments.yes and not out.ask(f"Withdraw {called} to {arguments.space}?"):
        out.talk("nothing removed")
        return exits.FAILED
    client.call("DELETE", path("spaces", arguments.space, "tickets", ticket))
    if out.as_json:
        out.document({"removed": {"ticket": ticket}})
    else:
        out.talk(f"nobody may join {arguments.space} by {called} any more")
    return exits.OK


def _named(
    members: Sequence[dict[str, Any]], tickets: Iterable[dict[str, Any]], wanted: str
) -> tuple[dict[str, Any] | None, str]:
    """The one member with this id, short id or name, or the id of the one invitation file; None and "" if there is
    none. Two are an error; by its name one that was removed is meant only if no member is called so.
    """
    plain = wanted.replace("-", "").replace(" ", "").upper()
    found = [
        member for member in members if member["device"].replace("-", "") == plain or short(member["device"]) == plain
    ] or _called(members, wanted)
    files = [one["id"] for one in tickets if wanted.lower() in {one["id"], one["id"][:TICKET_CHARS]}]
    if len(found) + len(files) > 1:
        ids = ", ".join((*(short(member["device"]) for member in found), *files))
        raise Misused(f"{wanted} may be any of {ids}", code="ambiguous-device", next_step="give one of these ids")
    return found[0] if found else None, files[0] if files else ""


def _called(members: Sequence[dict[str, Any]], wanted: str) -> list[dict[str, Any]]:
    found = [member for member in members if member["name"] == wanted]
    return [member for member in found if member["state"] != "removed"] or found


def run_collection(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    change = _wanted_change(arguments)
    base = path("spaces", arguments.space, "collections")
    if change:
        settings = client.call(
            "PATCH", path("spaces", arguments.space, "collections", arguments.name), body=change
        ).body
    else:
        collections = client.call("GET", base).body["collections"]
        views = [view for view in collections if view["name"] == arguments.name]
        settings = views[0]["settings"] if views else {}
        if not views:
            out.talk(f"{arguments.name} has no records and no settings yet; the defaults hold")
    if out.as_json:
        out.document(settings)
    else:
        out.table(("SETTING", "VALUE"), _setting_rows(settings))
    return exits.OK


def _wanted_change(arguments: argparse.Namespace) -> dict[str, Any]:
    change: dict[str, Any] = {}
    if arguments.policy:
        change["policy"] = arguments.policy
    if arguments.merge:
        change["merge"] = arguments.merge
    if arguments.deletes:
        change["delete_wins"] = arguments.deletes == "delete-wins"
    fields: dict[str, str | None] = {}
    for text in arguments.field_policy:
        field, equals, policy = text.rpartition("=")
        if not equals or policy not in {*POLICIES, "default"}:
            known = ", ".join((*POLICIES, "default"))
            raise Misused(f"{text} is not FIELD=POLICY", next_step=f"policies are {known}")
        fields[field] = None if policy == "default" else policy
    if fields:
        change["fields"] = fields
    return change


def _setting_rows(settings: Mapping[str, Any]) -> list[list[object]]:
    rows: list[list[object]] = [
        ["policy", settings.get("policy", "keep")],
        ["merge", settings.get("merge", "field")],
        ["deletes", "delete-wins" if settings.get("delete_wins") else "edit-wins"],
    ]
    rows += [[f"policy of {field}", policy] for field, policy in sorted(settings.get("fields", {}).items())]
    return rows
