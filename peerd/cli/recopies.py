"""Copies of a space that were set aside: `recopy`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peerd.cli import exits
from peerd.cli.arguments import Misused
from peerd.cli.text import counted, moment
from peerd.control.client import Client, path

if TYPE_CHECKING:
    import argparse

    from peerd.cli.arguments import Commands
    from peerd.cli.output import Output


def add(commands: Commands) -> None:
    recopy = commands.add(
        "recopy",
        "take in an old copy of a space, or another device's in place of this one",
        "What the old copy has and this one lacks is written again, by this device; what it deleted and nobody has "
        "changed since is deleted. Values of both that exclude each other become a conflict. Nothing of this copy is "
        "lost, and the old one stays in `set-aside` of the state directory. With --from, the copy that is here becomes "
        "the old one, and that device's takes its place: the way out when `status` says that two histories cannot be "
        "told apart.",
    )
    recopy.add_argument("space", metavar="SPACE")
    recopy.add_argument("--aside", metavar="FILE", help="the file of the old copy, or `latest`")
    recopy.add_argument("--from", dest="device", metavar="DEVICE", help="whose copy is to take the place of this one")
    recopy.add_argument("--list", action="store_true", help="only list the old copies, and how many records differ")
    recopy.set_defaults(run=run_recopy)


def run_recopy(arguments: argparse.Namespace, client: Client, out: Output) -> int:
    with Client(client.socket_path, timeout_s=None) as patient:  # an old copy may be large
        if arguments.list:
            return _list(arguments.space, patient, out)
        if bool(arguments.aside) == bool(arguments.device):
            raise Misused("say which copy", next_step="`--aside latest`, `--from DEVICE`, or `--list` of the old ones")
        address = path("spaces", arguments.space, "recopy")
        wish = {"aside": arguments.aside} if arguments.aside else {"device": arguments.device}
        done: dict[str, Any] = patient.call("POST", address, body=wish).body
    if out.as_json:
        out.document(done)
        return exits.OK
    if done.get("device"):
        out.talk(f"the copy of {arguments.device} took the place of the one that was here")
    out.talk(f"{counted(done['records'], 'record')} taken in; the old copy is {done['aside']} now")
    if done["unreadable"]:
        out.talk(f"{counted(done['unreadable'], 'record')} of it cannot be read", "yellow")
    return exits.OK


def _list(space: str, client: Client, out: Output) -> int:
    found: dict[str, Any] = client.call("GET", path("spaces", space, "asides")).body
    if out.as_json:
        out.document(found)
        return exits.OK
    rows = [
        [
            one["name"],
            one["records"],
            one["differing"],
            "damaged" if one["damaged"] else "",
            moment(one["written_ms"] or None),
            one.get("cause", ""),
        ]
        for one in found["asides"]
    ]
    out.table(("FILE", "RECORDS", "DIFFERING", "", "WRITTEN", ""), rows)
    if not rows:
        out.talk(f"no old copy of {space} waits to be taken in")
    return exits.OK
